"""`lmscope othello circuits` on a player of random weights."""

import json

import pytest
import torch

from lmscope.cli.main import main
from lmscope.jobs.othello_train import PlayerShape
from lmscope.models.fresh import fresh_model
from lmscope.text.worlds.notation import othello_tokenizer


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    shape = PlayerShape(n_layers=1, d_model=16, n_heads=2, d_hidden=16)
    made = fresh_model(shape, othello_tokenizer(6), name="random", seed=1)
    path = tmp_path_factory.mktemp("cli") / "model"
    with torch.no_grad():
        made.hf.save_pretrained(path)
    made.tokenizer.save_pretrained(path)
    return str(path)


FEW = ["--games", "3", "--places", "2", "--device", "cpu", "--set", "bootstrap.n_resamples=10"]


def test_attention_of_a_player_is_told_without_dictionaries(player, tmp_path, capsys):
    words = ["othello", "circuits", player, *FEW, "--runs-dir", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_places"], found["size"], found["dictionaries"]) == (6, 6, [])
    assert [(one["layer"], one["head"]) for one in found["attention"]["heads"]] == [(0, 0), (0, 1)]
    assert sum(e["value"] for e in found["attention"]["heads"][0]["explained"].values()) == (
        pytest.approx(1)
    )
    assert main(words) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert "moves of the player who moves next" in table


def test_a_dry_run_writes_nothing(player, tmp_path, capsys):
    words = ["othello", "circuits", player, *FEW, "--runs-dir", str(tmp_path / "runs"), "--dry-run"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == "attention"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--find", "logit"], "nobody knows which features speak of a line"),
        (["--labels", "absent.json"], "Without a dictionary there is no feature"),
        (["--dictionaries", "last"], "leave one of them out"),
    ],
)
def test_what_does_not_go_together_is_said_in_a_sentence(player, more, sentence, tmp_path, capsys):
    words = ["othello", "circuits", player, *more, "--runs-dir", str(tmp_path)]
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert sentence in said
    assert "Traceback" not in said
