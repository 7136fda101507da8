"""Any stretch of the list of features, in any order, equals what plain Python picks from all records."""

from contextlib import closing

import numpy as np
import pytest
from starlette.testclient import TestClient

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.columns import ORDERS, Figures
from lmscope.atlas.notes import Note
from lmscope.core.errors import RecipeError
from lmscope.server.app import create_app
from lmscope.server.failures import NotFound
from lmscope.server.schemas.dictionary import FeatureRows
from lmscope.server.settings import ServeSettings
from lmscope.server.views.features import Asked, feature_rows

NAME = "resid_post-1-64-topk-4"


@pytest.fixture
def atlas(small_library):
    with Atlas.open(small_library.atlas, name=NAME) as atlas:
        yield atlas


def latents(atlas, **asked) -> list[int]:
    return [row.latent for row in feature_rows(atlas, Asked(limit=200, **asked)).rows]


@pytest.mark.parametrize("order", [*ORDERS, *(f"-{name}" for name in ORDERS)])
def test_stretches_of_every_order_make_the_whole_list(atlas, order):
    whole = feature_rows(atlas, Asked(order=order, limit=200))
    parts = [feature_rows(atlas, Asked(order=order, offset=i, limit=7)) for i in range(0, 70, 7)]
    assert [row for part in parts for row in part.rows] == whole.rows
    assert {part.total for part in parts} == {whole.total} == {64}
    name = order.removeprefix("-")
    values = [getattr(row, name) for row in whole.rows]
    there = [one for one in values if one is not None]
    assert there == sorted(there, reverse=order.startswith("-"))
    assert values[: len(there)] == there
    assert sorted(row.latent for row in whole.rows) == list(range(64))


def test_figures_of_a_line_are_those_of_the_record(atlas):
    for row in feature_rows(atlas, Asked(limit=200)).rows:
        record, feature = atlas.record(row.latent), atlas[row.latent]
        assert (row.n_fired, row.density, row.mean) == (record.n_fired, record.density, record.mean)
        assert (row.label, row.known) == (feature.label, feature.known)
        assert row.dead == record.is_dead
        assert (row.peak is None) == (record.peak_token is None)
        assert row.value is None


def test_filters_hold_together(atlas):
    records = list(atlas.records())
    median = float(np.median([one.density for one in records]))
    known = {i for i in range(64) if atlas[i].known}
    wanted = [one.latent for one in records if one.density >= median and one.latent not in known]
    assert latents(atlas, figures=Figures(min_density=median, known=False)) == wanted
    assert 0 < len(wanted) < 64
    assert latents(atlas, figures=Figures(known=True)) == sorted(known)
    dead = [one.latent for one in records if one.is_dead]
    assert latents(atlas, figures=Figures(dead=True)) == dead
    assert latents(atlas, figures=Figures(min_density=2.0)) == []


def test_near_goes_by_cosine_without_the_latent_itself(atlas):
    rows = atlas.vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows[5]
    found = feature_rows(atlas, Asked(near=5, offset=3, limit=4))
    expected = [i for i in np.argsort(-cosines, kind="stable") if i != 5]
    assert [row.latent for row in found.rows] == expected[3:7]
    assert [row.value for row in found.rows] == pytest.approx(cosines[expected[3:7]], abs=1e-5)
    assert (found.total, found.value_name) == (63, "cosine")
    by_density = feature_rows(atlas, Asked(near=5, order="-density", limit=200))
    assert [row.density for row in by_density.rows] == sorted(
        (row.density for row in by_density.rows), reverse=True
    )
    assert by_density.rows[0].value == pytest.approx(cosines[by_density.rows[0].latent], abs=1e-5)
    with pytest.raises(NotFound, match="has no latent 64"):
        feature_rows(atlas, Asked(near=64))


def test_token_and_label_searches_count_all_and_can_be_filtered(small_library):
    with Atlas.open(small_library.hostile) as atlas:
        script = "<script>alert(1)</script>"
        found = feature_rows(atlas, Asked(token=script))
        assert [(row.latent, row.value) for row in found.rows] == [(0, atlas.record(0).n_fired)]
        assert found.value_name == "fires on it"
        assert latents(atlas, label="script alert 1") == [0]
        assert sorted(latents(atlas, label="alert")) == [0, 2, 7]
        assert latents(atlas, label="alert", token=script) == [0]
        assert latents(atlas, token="not a token of it") == []
        assert latents(atlas, label="alert", figures=Figures(known=False)) == []
        assert latents(atlas, label="שלום") == [10]
        assert latents(atlas, label="al\0ert") == []


def test_stars_and_tags_filter_and_mark_lines(own_library):
    with Atlas.open(own_library.atlas, name=NAME) as atlas:
        digest = atlas.meta.dictionary_digest
        assert latents(atlas, starred=True) == []
        atlas.notes.replace(Note(digest, 7, "", True, ("rivers",)))
        atlas.notes.replace(Note(digest, 9, "text", False, ("rivers",)))
        atlas.notes.replace(Note("e" * 64, 3, "", True))
        assert latents(atlas, starred=True) == [7]
        assert latents(atlas, tag="rivers") == [7, 9]
        assert latents(atlas, tag="rivers", starred=False) == [9]
        assert len(latents(atlas, starred=False)) == 63
        marked = [row.latent for row in feature_rows(atlas, Asked(limit=200)).rows if row.starred]
        assert marked == [7]
    with Atlas.open(own_library.packed) as atlas:
        assert latents(atlas, starred=True) == latents(atlas, tag="rivers") == []


def test_labels_that_are_not_there_cannot_be_searched(small_library):
    with (
        Atlas.open(small_library.atlas, name="resid_post-1-128-topk-4") as atlas,
        pytest.raises(RecipeError, match="no labels to search"),
    ):
        feature_rows(atlas, Asked(label="rivers"))


def test_the_list_over_http_is_checked_and_paged(small_library):
    app = create_app(ServeSettings(folders=(small_library.root,)))
    with closing(TestClient(app, base_url="http://127.0.0.1:8710")) as client:
        address = f"/api/dictionaries/{small_library.narrow}/features"
        answer = client.get(address, params={"order": "-max", "offset": 60, "limit": 10})
        rows = FeatureRows.model_validate_json(answer.content)
        assert (rows.total, rows.offset, len(rows.rows)) == (64, 60, 4)
        tag = {"If-None-Match": answer.headers["etag"]}
        same = {"order": "-max", "offset": 60, "limit": 10}
        assert client.get(address, params=same, headers=tag).status_code == 304
        for wrong in ({"order": "size"}, {"limit": 201}, {"offset": -1}, {"min_density": "nan"}):
            assert client.get(address, params=wrong).status_code == 422
        for huge in ({"near": 10**30}, {"offset": 10**25}):
            assert client.get(address, params=huge).status_code == 422
        assert client.get(address, params={"near": 10**9}).status_code == 404
        assert client.get(address, params={"offset": 10**9}).json()["rows"] == []
