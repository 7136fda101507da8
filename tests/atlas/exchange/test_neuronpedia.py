import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.atlas.exchange.neuronpedia import json_line, write_neuronpedia, write_uploads
from lmscope.atlas.exchange.neuronpedia_lint import lint_export, lint_upload
from lmscope.atlas.exchange.neuronpedia_rows import NeuronpediaOptions, truncated
from lmscope.core.errors import ArtifactError, RecipeError

OPTIONS = NeuronpediaOptions(source_set="res-7", suffix="b")


def lines(path):
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture
def place(content, tmp_path):
    return write_neuronpedia(content, tmp_path / "out", OPTIONS)


def test_an_export_has_the_files_of_the_importer_and_passes_the_lint(place):
    assert place.parts[-2:] == ("smollm2-135m", "3-res-7__b")
    files = sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file())
    batches = [
        f"{table}/batch-0.jsonl.gz"
        for table in ("activations", "explanations", "features", "lmscope")
    ]
    singles = ["model.jsonl", "release.jsonl", "source.jsonl", "sourceset.jsonl"]
    assert files == sorted([*batches, "lmscope/atlas.json", *singles])
    assert lint_export(place) == []


def test_a_feature_row_holds_the_record(place, content):
    record = next(e.record for e in content.entries() if e.record.latent == 5)
    row = next(r for r in lines(place / "features/batch-0.jsonl.gz") if r["index"] == "5")
    assert (row["modelId"], row["layer"], row["sourceSetName"]) == (
        "smollm2-135m",
        "3-res-7__b",
        "res-7",
    )
    assert row["maxActApprox"] == 7.0
    assert row["freq_hist_data_bar_heights"] == list(record.histogram)
    assert row["topkCosSimIndices"] == [one.id for one in record.neighbours]
    assert row["pos_values"] == pytest.approx([one.value for one in record.top_logits], abs=1e-4)
    assert row["vector"] == pytest.approx(content.vectors[5].tolist(), abs=1e-4)
    assert row["hookName"] == "blocks.3.hook_resid_post"
    assert row["frac_nonzero"] == pytest.approx(record.density, abs=1e-8)


def test_activations_are_grouped_as_the_page_reads_them(place, content):
    rows = [r for r in lines(place / "activations/batch-0.jsonl.gz") if r["index"] == "1"]
    # Latent 1 has a maximum of 3; the top group's bound is one step above it.
    assert [(r["binMin"], r["binMax"], r["binContains"]) for r in rows] == [
        (-1, 3.0001, -1),
        (-1, 3.0001, -1),
        (1.5, 3.0, 0.5),
        (0.3, 1.2001, 0.5),  # 0.30005 and 1.20020 in float16
    ]
    example = (
        next(e.record for e in content.entries() if e.record.latent == 1).groups[0].examples[0]
    )
    assert rows[0]["values"] == pytest.approx(example.activations().tolist(), abs=1e-4)
    assert rows[0]["maxValueTokenIndex"] == example.peak
    assert rows[0]["dataIndex"] == "0"
    assert rows[0]["tokens"][3:8] == [" the", "<0xE2>", "<0x80>", "<0x99>", "s"]
    assert len({r["id"] for r in rows}) == 4


def test_only_known_labels_are_explanations(place):
    rows = lines(place / "explanations/batch-0.jsonl.gz")
    assert [(r["index"], r["description"]) for r in rows] == [("1", "the word </script> cat")]
    assert json.loads(rows[0]["notes"])["scores"][0]["scorer"] == "detection"


def test_equal_atlases_give_equal_bytes(content, tmp_path):
    first, second = (write_neuronpedia(content, tmp_path / name, OPTIONS) for name in ("a", "b"))
    for path in (p for p in first.rglob("*") if p.is_file()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_many_latents_are_split_into_batches(content, tmp_path, monkeypatch):
    monkeypatch.setattr("lmscope.atlas.exchange.neuronpedia.LATENTS_IN_A_BATCH", 2)
    place = write_neuronpedia(content, tmp_path / "out", OPTIONS)
    found = [[r["index"] for r in lines(place / f"features/batch-{n}.jsonl.gz")] for n in range(3)]
    assert found == [["0", "1"], ["2", "3"], ["5"]]
    assert lint_export(place) == []


def test_the_importer_can_replace_its_escape_in_any_line(place):
    # The importer does this to the whole text before it parses it.
    for path in place.rglob("*.gz"):
        text = gzip.decompress(path.read_bytes()).decode()
        assert text.replace("\\u0000", " ") == text
    tokens = {t for r in lines(place / "activations/batch-0.jsonl.gz") for t in r["tokens"]}
    assert "\\u0000" in tokens  # the text of a token, backslash and all


@given(st.text(alphabet='\\u0x "n', max_size=20))
def test_a_line_means_the_same_with_and_without_the_escape(text):
    line = json_line({"a": text}).decode()
    assert json.loads(line) == {"a": text}
    assert json.loads(line.replace("\\u0000", " ")) == {"a": text}


@given(st.floats(-1e4, 1e4))
def test_truncation_moves_toward_zero_by_less_than_a_step_and_never_to_zero(value):
    cut = truncated(value)
    assert abs(cut - value) <= 1.0001e-4
    assert (cut == 0) == (value == 0)
    assert np.sign(cut) == np.sign(value)
    assert cut == round(cut, 4)


def test_uploads_leave_dead_latents_out_and_pass_the_lint(content, tmp_path):
    assert write_uploads(content, tmp_path / "up", OPTIONS) == [0]
    payload = json.loads((tmp_path / "up/batch-0.json").read_text())
    assert lint_upload(payload) == []
    assert [feature["index"] for feature in payload["features"]] == [1, 2, 3, 5]
    first = payload["features"][0]
    assert first["explanations"] == [{"text": "the word </script> cat"}]
    assert "quantileFraction" not in first["activations"][0]
    assert first["activations"][2]["quantileFraction"] == 0.5
    assert payload["features"][1]["explanations"] == []


def test_an_upload_of_dead_latents_only_says_so(content, tmp_path):
    entry = next(iter(content.entries()))
    only = replace(content, entries=lambda: [entry], n_entries=1)
    with pytest.raises(ArtifactError, match="None of the chosen latents ever fired"):
        write_uploads(only, tmp_path / "up", OPTIONS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["a__b", "16384"])
def test_a_source_set_that_would_be_misread_is_refused(content, tmp_path, wrong):
    with pytest.raises(RecipeError, match="cannot name a source set"):
        write_neuronpedia(content, tmp_path / "out", NeuronpediaOptions(source_set=wrong))


def test_capital_letters_are_refused_where_the_site_makes_them_small():
    with pytest.raises(RecipeError, match="source_set"):
        NeuronpediaOptions.from_mapping({"source_set": "Res"})


def test_something_at_the_place_stays(content, tmp_path):
    with pytest.raises(ArtifactError, match="exists already"):
        write_neuronpedia(content, tmp_path, OPTIONS)
