"""Two dictionaries side by side, and maps: figures by hand, and the same as `lmscope geometry`."""

import json
import math

import numpy as np
import pytest
import torch

from lmscope.atlas.atlas import Atlas
from lmscope.core.errors import DataError
from lmscope.jobs.geometry import GeometryRecipe, geometry
from lmscope.server.live.directions import Comparisons, Directions, compare, draw, page, read
from lmscope.server.live.protocol import Rows
from lmscope.server.schemas.dictionary import FeatureMap
from lmscope.server.schemas.search import Comparison


@pytest.fixture
def client(served, small_library):
    return served(small_library.root)


def ask(client, a, b, **query):
    return client.get("/api/compare", params={"a": a, "b": b, **query})


def directions(rows, density=None) -> Directions:
    values = torch.tensor(rows, dtype=torch.float32)
    known = None if density is None else np.array(density, dtype=np.float64)
    return Directions(values, np.arange(10, 10 + len(rows)), known)


def planted(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_the_page_has_the_figures_of_the_geometry_command(client, small_library, tmp_path):
    found = Comparison.model_validate(ask(client, small_library.wide, small_library.narrow).json())
    assert (found.narrow.id, found.wide.id) == (small_library.narrow, small_library.wide)
    recipe = GeometryRecipe(dictionaries=(str(small_library.train),), analyses=("splitting",))
    run = geometry(recipe, root=tmp_path)
    (report,) = run.artifacts.glob("geometry/splitting/*/report.json")
    wanted = json.loads(report.read_text())["figures"]
    assert found.threshold == pytest.approx(wanted["threshold"])
    shares = {share.name: share for share in found.shares}
    for name in ("new", "split", "carried_over", "lost"):
        share = shares[name.replace("_", " ")]
        assert share.value == pytest.approx(wanted["shares"][name])
        assert share.null == pytest.approx(wanted["shares_null"][name])
        assert share.meaning
    assert found.provenance.snippets[0].text.startswith("lmscope geometry ")


def test_groups_are_paged_by_kind_and_each_child_lies_above_the_threshold(client, small_library):
    ids = small_library.narrow, small_library.wide
    all_ = Comparison.model_validate(ask(client, *ids, limit=200).json())
    assert all_.total == len(all_.groups)
    counts = [len(group.children) for group in all_.groups]
    assert counts == sorted(counts, reverse=True)
    for group in all_.groups:
        cosines = [child.cosine for child in group.children]
        assert cosines == sorted(cosines, reverse=True)
        assert all(cosine > all_.threshold for cosine in cosines)
    second = ask(client, *ids, offset=2, limit=3).json()
    assert second["groups"] == [group.model_dump() for group in all_.groups[2:5]]
    for kind in ("split", "carried over", "lost"):
        found = ask(client, *ids, kind=kind, limit=200).json()
        wanted = [group.latent for group in all_.groups if group.kind == kind]
        assert [group["latent"] for group in found["groups"]] == wanted
        assert found["total"] == len(wanted)


def test_latents_have_the_labels_and_densities_of_their_atlases(client, small_library):
    found = ask(client, small_library.narrow, small_library.wide, limit=200).json()
    with Atlas.open(small_library.atlas, name="resid_post-1-64-topk-4") as atlas:
        for group in found["groups"]:
            assert group["label"] == atlas[group["latent"]].label
            assert group["density"] == pytest.approx(atlas[group["latent"]].record.density)


def test_what_cannot_be_compared_is_refused(client, small_library):
    same = ask(client, small_library.narrow, small_library.narrow)
    assert same.status_code == 422
    assert "with itself" in same.json()["error"]["message"]
    other = ask(client, small_library.narrow, small_library.hostile_id)
    assert other.status_code == 422
    assert "cannot be compared" in other.json()["error"]["message"]
    assert ask(client, small_library.narrow, "nothing").status_code == 404


def test_the_snippet_gives_the_numbers_of_the_page(client, small_library, capsys):
    found = ask(client, small_library.narrow, small_library.wide).json()
    (code,) = [s["text"] for s in found["provenance"]["snippets"] if s["language"] == "python"]
    exec(code, {})
    assert capsys.readouterr().out.startswith(str(found["threshold"]))


def test_planted_children_are_found_and_new_ones_told():
    narrow = planted(20, 32, 0)
    near = narrow[3] + 0.05 * planted(2, 32, 1)
    wide = torch.cat([near, narrow[4:6], planted(36, 32, 2)])
    density = np.linspace(0.5, 0.01, 40)
    found = compare(
        Directions(narrow, np.arange(20), None), Directions(wide, np.arange(40), density)
    )
    first = page(found, None, 0, 20)
    by_latent = {group["latent"]: group for group in first["groups"]}
    assert {0, 1} <= {child["latent"] for child in by_latent[3]["children"]}
    assert by_latent[3]["kind"] == "split"
    assert 2 in {child["latent"] for child in by_latent[4]["children"]}
    new = [one["latent"] for one in found.figures["new"]]
    assert not {0, 1, 2, 3} & set(new)
    assert new == sorted(new)  # those that fire most first, and density falls with the number
    assert sum(found.figures["cosines"]["counts"]) == 40
    assert sum(found.figures["cosines_null"]["counts"]) == 40


def test_a_comparison_is_made_once_and_paged_from_memory(small_library, monkeypatch):
    folder = small_library.train / "artifacts" / "dictionaries"
    payload = {
        name: vars(Rows(digest=name, folder=str(folder / f"resid_post-1-{n}-topk-4")))
        for name, n in (("narrow", 64), ("wide", 128))
    }
    comparisons = Comparisons()
    first = comparisons.compare({**payload, "kind": None, "offset": 0, "limit": 1})
    monkeypatch.setattr("lmscope.server.live.directions.read", None)
    second = comparisons.compare({**payload, "kind": None, "offset": 1, "limit": 1})
    assert first["threshold"] == second["threshold"]
    assert first["groups"] != second["groups"]


def test_a_map_has_every_latent_that_fires_with_what_the_atlas_says(client, small_library):
    answer = client.get(f"/api/dictionaries/{small_library.narrow}/map")
    found = FeatureMap.model_validate(answer.json())
    with Atlas.open(small_library.atlas, name="resid_post-1-64-topk-4") as atlas:
        labels = [atlas[latent].label for latent in found.latents]
        densities = [atlas[latent].record.density for latent in found.latents]
    assert found.labels == labels
    assert found.density == pytest.approx(densities)
    assert len(found.x) == len(found.y) == len(found.latents)
    assert found.method == "pca"


def test_a_map_without_weights_or_labels_is_drawn_from_the_atlas(client, small_library):
    found = client.get(f"/api/dictionaries/{small_library.hostile_id}/map").json()
    assert len(found["labels"]) == len(found["latents"]) == 12
    assert client.get("/api/dictionaries/nothing/map").status_code == 404
    wrong = client.get(f"/api/dictionaries/{small_library.narrow}/map?atlas=ffff")
    assert wrong.status_code == 404


def test_a_wide_map_is_thinned_at_even_distances(monkeypatch):
    monkeypatch.setattr("lmscope.server.live.directions.MAX_DRAWN", 10)
    found = draw(directions(planted(25, 4, 0).tolist()))
    assert found["latents"] == [10, 13, 16, 19, 22, 25, 28, 31, 34]
    assert found["density"] is None
    assert all(math.isfinite(x) for x in found["x"])


def test_rows_that_are_nowhere_are_refused():
    with pytest.raises(DataError, match="neither in its atlas nor here"):
        read(Rows("a" * 64))
