"""`lmscope geometry` as a person calls it."""

import json
from pathlib import Path

import pytest
import torch

from lmscope.cli.main import main
from lmscope.core.rng import generator
from lmscope.dictionaries.config import DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary


def save(path: Path, n_latents: int) -> None:
    config = DictionaryConfig(
        reads=("resid_post@3",),
        writes=("resid_post@3",),
        d_read=12,
        d_write=12,
        n_latents=n_latents,
        sparsity=TopK(k=2),
    )
    rows = torch.randn(n_latents, 12, generator=generator(0))
    tensors = Dictionary(config).state_dict() | {"W_dec": rows, "W_enc": rows}
    Dictionary.from_tensors(config, tensors).save(path)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `narrow` and `wide`, which begins with narrow's rows."""
    save(tmp_path / "narrow", 20)
    save(tmp_path / "wide", 50)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = ["--set", "options.null_rows=50"]


def test_tables_go_to_stdout_and_sentences_to_stderr(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["geometry", "narrow", "wide", "--analysis", "splitting", "statistics", "map"]
    assert main([*words, *SMALL]) == 0
    shown = capsys.readouterr()
    assert "Splitting: shares of latents" in shown.out
    assert "Statistics: against at most 10 % inactive" in shown.out
    assert "Maps" in shown.out
    assert "Matching" not in shown.out
    assert "All figures, and what each latent was matched with: " in shown.err


def test_json_is_one_object(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["geometry", "narrow", "wide", "--analysis", "matching", "--analysis", "neighbours"]
    assert main([*words, *SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["analyses"]) == ["matching", "neighbours"]
    figures = found["analyses"]["matching"]["narrow.with.wide"]
    assert figures["mean_max_cosine_a_in_b"] == pytest.approx(1, abs=1e-5)
    assert figures["mean_max_cosine_a_in_b_null_moments"] < 0.95


def test_a_dry_run_shows_the_comparisons_and_writes_nothing(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["geometry", "wide", "narrow", "--dry-run"]) == 0
    assert "narrow.with.wide" in capsys.readouterr().out
    assert sorted(path.name for path in desk.iterdir()) == ["narrow", "wide"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("geometry", 2, "There is nothing to compare: name runs"),
        ("geometry demo narrow", 2, "'demo' is a recipe, which names its dictionaries itself"),
        ("geometry narow", 1, "There is no run 'narow'"),
        ("geometry narrow --analysis spliting", 2, 'Did you mean "splitting"?'),
        ("geometry narrow --analysis splitting", 2, "'splitting' needs two dictionaries"),
        ("geometry narrow wide --set options.null_row=3", 2, "Did you mean null_rows?"),
        ("geometry demo", 2, "use `lmscope demo`"),
        ("geometry narrow --resume x", 2, "--resume goes on with the run's own recipe"),
    ],
)
def test_wrong_words_are_one_sentence(
    desk: Path, words: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not (desk / "runs").exists()
