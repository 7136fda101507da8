"""The page of a dictionary: its report beside baselines, curves, distributions, and what it compares with."""

import json
import shutil
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from starlette.testclient import TestClient

from lmscope.atlas.atlas import Atlas
from lmscope.core.errors import ArtifactError
from lmscope.jobs.reports import read_health
from lmscope.runs.run import Run
from lmscope.server.app import create_app
from lmscope.server.library.library import Library
from lmscope.server.schemas.common import Histogram
from lmscope.server.schemas.dictionary import DictionaryPage
from lmscope.server.settings import ServeSettings
from lmscope.server.views.dictionary import DictionaryPages, comparable, norms
from lmscope.server.views.health import evaluation, trimmed

NARROW = "resid_post-1-64-topk-4"


@pytest.fixture
def library(small_library):
    with closing(Library([small_library.root])) as library:
        yield library


@pytest.fixture
def page(library, small_library) -> DictionaryPage:
    return DictionaryPages().page(library, library.dictionary(small_library.narrow))


def test_every_figure_of_the_report_is_in_the_table(page, small_library):
    report = read_health(small_library.train / "artifacts/health" / NARROW)
    (shown,) = page.evaluations
    arms = {one.name: one for one in shown.arms}
    mine = arms["dictionary"]
    for part in (report.reconstruction, report.loss):
        for name, value in part.to_mapping().items():
            assert mine.figures[name].model_dump() == {"low": None, "high": None} | value
    assert mine.n_active == report.sparsity.l0.value
    for name, baseline in report.baselines.items():
        assert arms[name].n_active == baseline.n_active
        found = baseline.reconstruction.explained_variance_centred
        assert arms[name].figures["explained_variance_centred"].value == found.value
    assert arms["model alone"].figures["ce"].value == report.ablation.ce_clean.value
    assert arms["zero ablation"].figures["ce"].value == report.ablation.ce_zero.value
    assert (shown.n_dead, shown.n_dense) == (report.sparsity.n_dead, report.sparsity.n_dense)
    assert sum(shown.l0.counts) == sum(report.sparsity.l0_histogram.counts)
    assert [(one.first, one.last) for one in shown.positions] == [
        (one.first, one.last) for one in report.positions
    ]


def test_curves_are_those_of_the_dictionary_alone(page, small_library):
    rows = Run.open(small_library.train).metrics_rows()
    by_name = {line.name: line for line in page.curves}
    assert {"loss", "l0", "explained_variance_centred"} <= set(by_name)
    assert by_name["loss"].y == [row[f"{NARROW}/loss"] for row in rows]


def test_distributions_are_those_of_the_atlas(page, small_library):
    with Atlas.open(small_library.atlas, name=NARROW) as atlas:
        records = list(atlas.records())
        lengths = np.linalg.norm(atlas.vectors.astype(np.float32), axis=1)
    n_dead = sum(record.is_dead for record in records)
    assert page.n_dead == n_dead
    assert page.n_dense == sum(record.density > 0.1 for record in records)
    assert sum(page.density.counts) == 64 - n_dead
    assert sum(page.norms.counts) == 64
    assert page.norms.edges[0] <= lengths.min() <= lengths.max() <= page.norms.edges[-1]


def test_decoder_rows_of_one_norm_are_one_bin(small_library):
    rows = np.zeros((12, 4), dtype=np.float16)
    rows[:, 1] = np.linspace(0.9995, 1.0005, 12)
    with Atlas.open(small_library.hostile) as atlas:
        vars(atlas)["vectors"] = rows
        counts = norms(atlas).counts
    assert sorted(counts) == [0, 0, 0, 0, 12]


def test_atlases_say_what_they_are_made_of(page, library, small_library):
    (line,) = page.atlases
    entry = library.dictionary(small_library.narrow).atlases[0]
    assert (line.id, line.n_tokens) == (entry.digest[:12], entry.meta.n_counted)
    assert (line.n_labels, line.explainers) == (12, ["statistics"])
    assert line.n_examples_kept == 8 + 4 * 3
    assert line.where == str(entry.path.relative_to(small_library.root.parent))


def test_others_are_those_of_the_same_model_and_stream(page, small_library):
    assert [one.id for one in page.others] == [small_library.wide]


def test_others_at_nearer_sites_come_first(library, small_library, monkeypatch):
    mine = library.dictionary(small_library.narrow)
    made = [
        replace(mine, id=name, config={**mine.config, "reads": [site], "writes": [site]})
        for name, site in (
            ("far", "resid_post@9"),
            ("beside", "mlp_out@1"),
            ("next", "resid_post@2"),
            ("same", "resid_post@1"),
            ("unknown", ""),
        )
    ]
    other_model = replace(made[3], id="other", model="another")
    narrower = replace(made[3], id="narrow", config={**mine.config, "d_write": 8})
    monkeypatch.setattr(library, "dictionaries", lambda: (*made, mine, other_model, narrower))
    found = [one.id for one in comparable(library, mine)]
    assert found == ["same", "beside", "next", "far", "unknown"]


def test_what_is_only_an_atlas_has_a_page_too(library, small_library):
    page = DictionaryPages().page(library, library.dictionary(small_library.packed_id))
    assert (page.evaluations, page.curves) == ([], [])
    assert page.density is not None
    assert page.line.status == "atlas only"
    assert all("evaluate" not in one.text for one in page.provenance.snippets)


def test_a_damaged_part_is_a_problem_and_the_rest_is_shown(own_library):
    with closing(Library([own_library.root])) as library:
        library.refresh()
        report = own_library.train / "artifacts/health" / NARROW / "report.json"
        report.write_text('{"subject": {}}')
        census = own_library.atlas / "artifacts/atlas" / NARROW / "census.sqlite"
        census.write_bytes(b"nothing that it was")
        page = DictionaryPages().page(library, library.dictionary(own_library.narrow))
    assert len(page.problems) == 2
    assert all("damaged" in one.message for one in page.problems)
    assert page.curves
    assert page.evaluations == []
    assert page.n_dead is None


def test_python_of_a_dictionary_gives_the_numbers_of_its_page(page, capsys):
    for snippet in page.provenance.snippets:
        if snippet.language == "python":
            exec(snippet.text, {})
    said = capsys.readouterr().out
    value = page.evaluations[0].arms[0].figures["explained_variance_centred"].value
    assert f"'explained_variance_centred': {value!r}" in said


def test_a_report_of_another_text_says_which(library, small_library):
    entry = library.dictionary(small_library.narrow)
    runs = dict(library.catalogue.runs)
    runs["again"] = replace(
        runs[small_library.train.name], recipe={"text": {"source": "other.jsonl"}}
    )
    report = replace(entry.reports[0], run="again", own=False, model="tuned")
    title = evaluation(entry, report, runs).title
    assert title == "On other.jsonl, contexts of 32 tokens, model tuned"
    with pytest.raises(ArtifactError, match="cannot be read"):
        evaluation(entry, replace(report, folder=small_library.root), runs)


def test_empty_ends_of_a_histogram_are_cut_off():
    wide = Histogram(edges=[0, 1, 2, 3, 4, 5], counts=[0, 2, 0, 1, 0])
    assert trimmed(wide) == Histogram(edges=[1, 2, 3, 4], counts=[2, 0, 1])
    empty = Histogram(edges=[0, 1, 2], counts=[0, 0])
    assert trimmed(empty) == empty


def test_pages_over_http_fit_their_type(own_library):
    shutil.rmtree(own_library.explained)
    app = create_app(ServeSettings(folders=(own_library.root,)))
    with closing(TestClient(app, base_url="http://127.0.0.1:8710")) as client:
        for name in ("narrow", "wide", "hostile_id", "packed_id"):
            answer = client.get(f"/api/dictionaries/{getattr(own_library, name)}")
            assert DictionaryPage.model_validate_json(answer.content).line.has_atlas
        text = answer.text
        assert json.loads(text)["line"]["model"] == "<b>miniature</b>"
        assert client.get("/api/dictionaries/nothing").status_code == 404
