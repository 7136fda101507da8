"""`lmscope atlas show`, `query` and `pack` as a person calls them."""

import json
import shutil

import pytest

from lmscope.cli.main import main


@pytest.fixture
def desk(atlas_run, monkeypatch):
    """The folder above `runs`, in which the run has a whole run.json."""
    record = {
        "format_version": 1,
        "status": "done",
        "job": "atlas",
        "name": "census",
        "recipe_digest": "80dcf13e68310a4d",
        "machine": {"kind": "x86_64-cpu-2", "n_threads": 1, "versions": {}},
        "created": "2026-01-01T00:00:00Z",
    }
    (atlas_run / "run.json").write_text(json.dumps(record))
    monkeypatch.chdir(atlas_run.parents[1])
    return atlas_run.parents[1]


@pytest.fixture
def ask(desk, capsys):
    """Run `lmscope atlas` and give what it printed as JSON."""

    def run(*words: str):
        assert main(["atlas", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def latents(found) -> list[int]:
    return [row["latent"] for row in found["latents"]]


def test_show_describes_the_atlas_and_a_latent(ask, capsys):
    whole = ask("show", "last")
    assert whole["n_latents"] == 6
    assert whole["n_labels_known"] == 2
    assert ask("show", "last", "0")["label"] == "names of rivers"
    assert main(["atlas", "show", "last"]) == 0
    assert "n_labels_known" in capsys.readouterr().out
    assert main(["atlas", "show", "last", "1"]) == 0
    shown = capsys.readouterr().out
    assert "not known" in shown
    assert "guess" not in shown
    assert "largest peaks" in shown


def test_query_asks_by_label_token_neighbour_and_figures(ask):
    assert latents(ask("query", "last", "--label", "river names")) == [0]
    assert latents(ask("query", "last", "--near", "2", "--limit", "5")) != []
    assert latents(ask("query", "last", "--known", "--order", "-detection")) == [0, 3]
    assert latents(ask("query", "last", "--unknown")) == [1, 2, 4, 5]
    assert latents(ask("query", "last", "--alive", "--limit", "2")) == [0, 1]
    rows = ask("query", "last", "--sql", "SELECT id, shown(id) FROM latent ORDER BY id LIMIT 2")[
        "rows"
    ]
    assert rows == [[0, "names of rivers"], [1, "not known"]]


def test_query_prints_tables_for_people(desk, capsys):
    assert main(["atlas", "query", "last", "--known"]) == 0
    shown = capsys.readouterr().out
    assert "names of rivers" in shown
    assert main(["atlas", "query", "last", "--sql", "SELECT 1 AS one"]) == 0
    assert "one" in capsys.readouterr().out
    assert main(["atlas", "query", "last", "--label", "nowhere"]) == 0
    assert "No latent fits." in capsys.readouterr().err


def test_pack_writes_a_file_that_answers_alone(ask, desk):
    packed = ask("pack", "last", "made.atlas")
    assert packed["latents"] == 6
    shutil.rmtree("runs")
    assert ask("show", "made.atlas", "0")["label"] == "names of rivers"
    assert latents(ask("query", "made.atlas", "--label", "rivers")) == [0]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("query last", 2, "Ask one thing"),
        ("query last --label a --token b", 2, "--label and --token was asked"),
        ("query last --label a --known", 2, "--label and --known was asked"),
        ("query last --known --dictionary x", 2, "--dictionary has an effect with --text only"),
        ("query last --known --limit 0", 2, "--limit is a number of rows of at least 1"),
        ("query last --order densty", 2, "Did you mean density?"),
        ("query last --token zzzz", 2, "No latent fires most on a token 'zzzz'"),
        ("query last --sql DROP", 2, "The query cannot be run"),
        ("query last --near 6", 1, "There is no latent 6"),
        ("query last --text hello", 2, "give --dictionary"),
        ("query nothing --known", 1, "There is no run 'nothing'"),
        ("show last 99", 1, "has 6, from 0 to 5"),
        ("show last --name other", 1, "has no atlas 'other'"),
        ("pack last made.zip", 1, "ends in .atlas"),
        ("show last --labels nothing", 1, "There is no run 'nothing'"),
    ],
)
def test_a_wrong_question_is_one_sentence(desk, capsys, words, code, said):
    assert main(["atlas", *words.split()]) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_labels_that_cannot_be_read_are_named_on_stderr(desk, labelled, capsys):
    run = desk / "runs" / "20260101-000000-census"
    place = labelled(run, "20260103-000000-explain", {0: ("lakes", 0.9)})
    (place / "labels.sqlite").write_bytes(b"")
    assert main(["atlas", "show", "20260101", "0", "--json"]) == 0
    shown = capsys.readouterr()
    assert "Left out: " in shown.err
    assert json.loads(shown.out)["label"] == "names of rivers"
