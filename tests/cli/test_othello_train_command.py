import json

import pytest

from lmscope.cli.main import main
from lmscope.runs.listing import list_runs

TINY = ["--layers", "1", "--width", "16", "--heads", "2", "--hidden", "16"]


def test_a_dry_run_shows_games_and_steps_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["othello", "train", "--games", "1k", "--batch-games", "50", "--dry-run", "--json"]
    assert main([*words, *TINY]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["n_steps"], plan["n_games"], plan["n_vocabulary"]) == (20, 1000, 33)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "vocabulary", "positions"), [(6, 33, 32), (8, 61, 60)])
def test_positions_follow_the_board(size, vocabulary, positions, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["othello", "train", "--size", str(size), "--games", "512", "--dry-run", "--json"]
    assert main([*words, *TINY]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["n_vocabulary"] == vocabulary
    layer = 4 * 16 + 4 * 16**2 + 4 * 16 + 2 * 16 * 16 + 16 + 16
    assert plan["n_parameters"] == 2 * vocabulary * 16 + positions * 16 + 2 * 16 + layer


def test_it_trains_and_says_how_well_the_model_keeps_to_the_rules(tmp_path, capsys):
    words = ["othello", "train", "--games", "64", "--batch-games", "16", "--runs-dir"]
    sets = ["--set", "games.held_out_games=8", "--set", "bootstrap.n_resamples=20"]
    assert main([*words, str(tmp_path), *TINY, *sets, "--device", "cpu", "--name", "try"]) == 0
    said = capsys.readouterr().out
    assert "legal_top1.value" in said
    assert "by_move" not in said
    (entry,) = list_runs(tmp_path)
    assert (entry.run.status, entry.run.record.job) == ("done", "othello")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--labels", "mushy"], "mushy"),
        (["--size", "7"], "7"),
        (["othello-9x9"], "No recipe is called 'othello-9x9'"),
        (["garden"], "is one of the job 'lm'"),
    ],
)
def test_wrong_words_are_one_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["othello", "train", *words, "--dry-run"]) in (1, 2)
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message
