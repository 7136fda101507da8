"""Every rule is broken once."""

import gzip
import json
import shutil

import pytest

from lmscope.atlas.exchange.neuronpedia import write_neuronpedia, write_uploads
from lmscope.atlas.exchange.neuronpedia_lint import lint_export, lint_upload
from lmscope.atlas.exchange.neuronpedia_rows import NeuronpediaOptions
from lmscope.core.errors import ArtifactError

OPTIONS = NeuronpediaOptions(source_set="res-7")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def place(content, tmp_path, kept):
    if not (kept / "out").exists():
        write_neuronpedia(content, kept / "out", OPTIONS)
    shutil.copytree(kept / "out", tmp_path / "out")
    return tmp_path / "out" / "smollm2-135m" / "3-res-7"


def edit(place, table, number, **changes):
    """Change keys of one line; None removes a key."""
    path = place / table / "batch-0.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines()
    row = json.loads(lines[number])
    for key, value in changes.items():
        row[key] = value
        if value is REMOVED:
            del row[key]
    text = json.dumps(row)
    if "u0000" not in str(changes) and changes != {"vectorLabel": "\x00"}:
        text = text.replace(
            "\\\\u0000", "\\u005cu0000"
        )  # as exporters must write a token of the corpus
    lines[number] = text.encode()
    path.write_bytes(gzip.compress(b"\n".join(lines)))


REMOVED = object()


@pytest.mark.parametrize(
    ("table", "changes", "said"),
    [
        ("features", {"vectorLabel": REMOVED}, "'vectorLabel' is missing"),
        ("features", {"colour": 1}, "'colour' is no column"),
        ("features", {"vector": None}, "a list is read"),
        ("features", {"layer": "3"}, "not to this source"),
        ("features", {"modelId": "gpt2"}, "not to this source"),
        ("features", {"index": 1}, "a string of digits"),
        ("features", {"index": "0"}, "there twice"),
        ("features", {"pos_str": ["a"]}, "differ in length: pos_str 1, pos_values 3"),
        ("features", {"frac_nonzero": 1.5}, "a share from 0 to 1"),
        ("features", {"hasVector": False}, "hasVector is False with a vector of 4"),
        ("features", {"hookName": None}, "without hookName"),
        ("features", {"maxActApprox": 1.23456}, "four decimals"),
        ("features", {"vectorLabel": "\x00"}, r"holds \\u0000"),
        ("features", {"vectorLabel": "\\u0000"}, r"holds \\u0000"),
        ("features", {"vectorLabel": "\ud800"}, "half of a surrogate pair"),
        ("features", {"maxActApprox": float("nan")}, "NaN is no JSON number"),
        ("activations", {"index": "6"}, "has no line in features"),
        ("activations", {"tokens": ["a"]}, "1 tokens and 16 values"),
        ("activations", {"maxValue": 2.5}, "are not those of its values"),
        ("activations", {"maxValueTokenIndex": 0}, "the largest value is at"),
        ("activations", {"id": "c" * 26}, "not 25 small letters"),
        ("activations", {"binMax": None}, "under no heading"),
        ("activations", {"binContains": 0.5}, "both are -1"),
        ("activations", {"binMax": 3.0}, "would move it into the strongest interval"),
        ("activations", {"binMin": 2.0, "binMax": 1.0, "binContains": 0.5}, "is none"),
        ("activations", {"binMin": 0.0, "binContains": 25.0}, "a share from 0 to 1"),
        (
            "activations",
            {"values": [0.0] * 16, "maxValue": 0.0, "maxValueTokenIndex": 0, "minValue": 0.0},
            "fires nowhere",
        ),
        ("explanations", {"description": " "}, "is empty"),
        ("explanations", {"embedding": [0.5]}, "256 or null"),
    ],
)
def test_each_rule_is_found_where_it_is_broken(place, table, changes, said):
    edit(place, table, 1 if table == "features" else 0, **changes)
    (finding, *rest) = lint_export(place)
    assert said.replace("\\\\", "\\") in finding
    assert finding.startswith(f"{table}/batch-0.jsonl.gz, line {2 if table == 'features' else 1}: ")
    if table != "features":
        assert rest == []


def test_two_activations_of_one_id_are_found(place):
    path = place / "activations/batch-0.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines()
    path.write_bytes(gzip.compress(b"\n".join([*lines, lines[0]])))
    assert "there twice" in lint_export(place)[0]


def test_missing_files_and_wrong_names_are_found(place):
    (place / "model.jsonl").unlink()
    assert lint_export(place) == ["model.jsonl is missing."]


def test_names_that_contradict_each_other_are_found(place):
    row = json.loads((place / "source.jsonl").read_text())
    (place / "source.jsonl").write_text(json.dumps(row | {"setName": "res-8"}) + "\n")
    findings = lint_export(place)
    assert findings[0] == "The source '3-res-7' says set 'res-7', its row 'res-8'."


def test_another_folder_than_the_importer_looks_in_is_found(place):
    moved = place.rename(place.with_name("elsewhere"))
    assert any("looks in 'smollm2-135m/3-res-7'" in one for one in lint_export(moved))


def test_a_damaged_batch_and_a_foreign_file_are_found(place):
    (place / "features/batch-0.jsonl.gz").write_bytes(b"no gzip")
    (place / "features/notes.txt").write_text("x")
    findings = lint_export(place)
    assert "features/batch-0.jsonl.gz is no gzip file." in findings
    assert "features/notes.txt: files are called batch-N.jsonl.gz." in findings


def test_findings_end_at_a_hundred(place):
    path = place / "activations/batch-0.jsonl.gz"
    path.write_bytes(gzip.compress(b"x\n" * 500))
    assert len(lint_export(place)) == 100


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ArtifactError, match="There is no folder"):
        lint_export(tmp_path / "none")


@pytest.fixture
def payload(content, tmp_path):
    write_uploads(content, tmp_path / "up", OPTIONS)
    return json.loads((tmp_path / "up/batch-0.json").read_text())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.update(source="3-Res"), "makes letters small"),
        (lambda p: p.pop("modelId"), "'modelId' is missing"),
        (lambda p: p.update(features=[]), "there are 0 features"),
        (lambda p: p.update(features=p["features"] * 40), "there are 160 features"),
        (lambda p: p["features"].append(p["features"][0]), "twice"),
        (lambda p: p["features"][0].update(index=10**8), "up to 10,000,000"),
        (lambda p: p["features"][0].update(density=2.0), "density is 2.0"),
        (
            lambda p: p["features"][0].update(topLogits=p["features"][0]["topLogits"] * 7),
            "21 tokens, 20",
        ),
        (
            lambda p: p["features"][0]["topLogits"][0].update(token=""),
            "topLogits has an empty token",
        ),
        (lambda p: p["features"][0].update(explanations=[{"text": "x" * 513}]), "more than 512"),
        (lambda p: p["features"][0].update(activations=[]), "no activation"),
        (
            lambda p: p["features"][0]["activations"][0]["tokens"].append("x"),
            "17 tokens and 16 values",
        ),
        (
            lambda p: p["features"][0]["activations"][0]["tokens"].__setitem__(0, ""),
            "activation 0 has an empty token",
        ),
        (lambda p: p["features"][0]["activations"][0]["values"].__setitem__(0, None), "no number"),
        (
            lambda p: p["features"][0]["activations"][0].update(quantileFraction=-1),
            "quantileFraction -1",
        ),
        (
            lambda p: p["features"][0]["activations"][0].update(
                tokens=["x"] * 1025, values=[1.0] * 1025
            ),
            "1025 tokens",
        ),
    ],
)
def test_what_the_upload_route_refuses_is_found_first(payload, change, said):
    assert lint_upload(payload) == []
    change(payload)
    assert said in lint_upload(payload)[0]
