"""`lmscope prompt` from the words to what it prints."""

import json
import random

import pytest

from lmscope.cli.main import main
from lmscope.models.miniature import miniature
from lmscope.runs.listing import list_runs

TASK = """
name = "letters"
title = "Which letter stands out"
language = "en"
labels = ["a", "b"]

[forms.postfix]
template = "{text}.{prompt}:"
words = ["a", "b"]
instruction = "say it"
"""
TUNE = (
    "prompt --model llama --device cpu --task letters.toml --train train.jsonl --test test.jsonl --shots 4 --calls 8 "
    "--set search.popsize=4 --set projection.d_subspace=6 --seed"
)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A folder with two runs."""
    root = tmp_path_factory.mktemp("prompt")
    (root / "letters.toml").write_text(TASK, encoding="utf-8")
    drawn = random.Random(0)
    for name, n in (("train", 60), ("test", 12)):
        labels = [drawn.choice("ab") for _ in range(n)]
        rows = [{"text": f"{name}{i}{label * 3}", "label": label} for i, label in enumerate(labels)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / f"{name}.jsonl").write_text(text, encoding="utf-8")
    model = miniature("llama")
    model.hf.save_pretrained(root / "llama")
    model.tokenizer.save_pretrained(root / "llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for seed in ("1", "2"):
            assert main([*TUNE.split(), seed]) == 0
    return root


def test_a_run_is_done_and_says_what_came_of_it(tuned, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tuned)
    runs = list_runs(tuned / "runs")
    assert [entry.run.status for entry in runs] == ["done", "done"]
    assert {entry.run.record.job for entry in runs} == {"prompt"}
    assert main([*TUNE.split(), "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["n_calls"], said["n_test"], said["n_numbers"]) in ((8, 12, 6), (8, 12, 0))


def test_texts_are_told(tuned, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tuned)
    assert main(["prompt", "apply", "last", "xaaa", "xbbb", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["text"] for one in found["texts"]] == ["xaaa", "xbbb"]
    assert main(["prompt", "apply", "last", "xaaa"]) == 0
    assert "xaaa" in capsys.readouterr().out


def test_runs_stand_beside_each_other(tuned, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tuned)
    names = [entry.path.name for entry in list_runs(tuned / "runs")][:2]
    assert main(["prompt", "compare", *names]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in names)
    assert "less the first" in said


def test_baselines_are_measured_for_a_run(tuned, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tuned)
    words = ["prompt", "baselines", "last", "--only", "label_bias", "--only", "prototype"]
    assert main([*words, "--out", "baselines.json"]) == 0
    said = capsys.readouterr().out
    assert "label_bias" in said
    held = json.loads((tuned / "baselines.json").read_text(encoding="utf-8"))
    assert {"label_bias", "prototype"} <= {one["name"] for one in held["baselines"]}


def test_tasks_that_ship_are_listed(capsys) -> None:
    assert main(["prompt", "tasks", "--json"]) == 0
    assert {"sst2", "trec", "eprstmt"} <= set(json.loads(capsys.readouterr().out))
    assert main(["prompt", "tasks"]) == 0
    assert "SST-2" in capsys.readouterr().out
