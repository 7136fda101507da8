"""Runs of players in the place of models: finished ones are taken, unfinished ones are refused in a sentence."""

import json
import re
from pathlib import Path

import pytest

import lmscope
from lmscope.cli.main import main
from lmscope.cli.run_names import model_name
from lmscope.jobs.othello_train import OthelloRecipe, train_othello
from lmscope.runs.listing import list_runs
from lmscope.runs.run import Run

PAGE = Path(lmscope.__file__).parents[2] / "docs" / "explanation" / "errors.md"
TINY = {
    "device": "cpu",
    "games": {"n_games": 64, "batch_games": 16, "held_out_games": 4},
    "shape": {"n_layers": 1, "d_model": 16, "n_heads": 2, "d_hidden": 16},
    "bootstrap": {"n_resamples": 10},
}


class Stopping:
    """Stops a training after its first step."""

    def on_event(self, event, fields):
        pass

    def on_metrics(self, step, metrics):
        raise KeyboardInterrupt

    def on_progress(self, phase, done, total, fields):
        pass


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    runs = folder / "runs"
    recipe = OthelloRecipe.from_mapping({**TINY, "name": "player"})
    train_othello(recipe, root=runs).path.rename(runs / "player")
    with pytest.raises(KeyboardInterrupt):
        train_othello(recipe, root=runs, listeners=[Stopping()])
    (stopped,) = [e.path for e in list_runs(runs) if e.path.name != "player"]
    assert Run.open(stopped).status in ("interrupted", "failed")
    stopped.rename(runs / "stopped")
    return folder


SITES = "--corpus othello:6@60 --context-length 32 --site attn_out@0 --latents 24 --k 4"
PLAIN = "--set evaluation.tokens=0 --set stream.batch_tokens=256"


@pytest.mark.parametrize(
    "command",
    [
        "othello label stopped",
        "othello label runs/stopped",
        "othello circuits stopped",
        f"train --model stopped {SITES}",
        f"train --model runs/stopped {SITES} --dry-run",
        "trace c2 --model stopped --dictionaries none",
        "trace c2 --model player --dictionaries stopped",
        "othello circuits --model stopped --dictionaries none",
    ],
)
def test_an_unfinished_training_ends_in_a_sentence_that_says_how_to_go_on(
    command, root, monkeypatch, capsys
):
    monkeypatch.chdir(root)
    before = sorted(Path("runs").iterdir())
    assert main(command.split()) == 1
    caught = capsys.readouterr()
    (said,) = [line for line in caught.err.splitlines() if not line.startswith("Run folder: ")]
    assert said.endswith("go on with it by `lmscope othello train --resume runs/stopped`.")
    rows = PAGE.read_text(encoding="utf-8").splitlines()
    told = [row.split("|")[-2].strip() for row in rows if "go on with it by" in row]
    assert any(re.fullmatch(re.escape(one).replace(r"\.\.\.", ".*"), said) for one in told), said
    assert sorted(Path("runs").iterdir()) == before


def test_a_finished_player_is_told_to_need_dictionaries(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    assert main(["othello", "label", "player"]) == 1
    said = capsys.readouterr().err
    assert "'runs/player' holds no dictionary but a model" in said
    assert "`lmscope train --model runs/player`" in said


def test_a_run_means_its_model_wherever_one_is_asked_for(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(root)
    out = ["--runs-dir", str(tmp_path)]
    assert main(["trace", "c2", "--model", "runs/player", "--dictionaries", "none", *out]) == 0
    found = "othello circuits player --games 1 --places 1 --set bootstrap.n_resamples=10 --json"
    capsys.readouterr()
    assert main([*found.split(), "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "runs/player/artifacts/model"
    assert main(f"train --model player {SITES} {PLAIN} --name of-player".split()) == 0
    (run,) = [e.run for e in list_runs(Path("runs")) if e.path.name.find("of-player") > 0]
    assert run.recipe_values["model"]["name"] == "runs/player/artifacts/model"
    label = "--n 8 --permutations 0 --family move --model player"
    assert main(["othello", "label", run.path.name, *label.split()]) == 0


def test_other_names_stay_as_they_are(root, monkeypatch):
    monkeypatch.chdir(root)
    for name in ("garden", "owner/model", "runs/player/artifacts/model", "absent"):
        assert model_name(name, Path("runs")) == name
    assert model_name(None, Path("runs")) is None
