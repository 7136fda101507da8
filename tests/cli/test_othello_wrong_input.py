"""What a person gets wrong with `lmscope othello` is one sentence, which stands in docs/explanation/errors.md."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import lmscope
from lmscope.cli.main import main
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.othello_train import PlayerShape
from lmscope.models.fresh import fresh_model
from lmscope.text.worlds.notation import othello_tokenizer

PAGE = Path(lmscope.__file__).parents[2] / "docs" / "explanation" / "errors.md"
TRAIN = "othello train --dry-run"
CIRCUITS = "othello circuits --games 1 --places 1"


def sentences():
    """Patterns of the sentences on the page, for each exit code."""
    section = PAGE.read_text(encoding="utf-8").split("## Othello")[1]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in section.splitlines()]
    told = [(row[1], row[2]) for row in rows if len(row) == 3 and row[1].isdigit()]
    return [(int(code), re.escape(text).replace(r"\.\.\.", ".*")) for code, text in told]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A player of random weights, and dictionaries of it that fire and that never do."""
    root = tmp_path_factory.mktemp("wrong")
    shape = PlayerShape(n_layers=1, d_model=16, n_heads=2, d_hidden=16)
    draw = torch.Generator().manual_seed(0)
    made = fresh_model(shape, othello_tokenizer(6), name="player", seed=1)
    made.hf.save_pretrained(root / "player")
    made.tokenizer.save_pretrained(root / "player")
    for name, shift in (("fires", 0.0), ("silent", -1e6)):
        dictionary = Dictionary(
            DictionaryConfig(
                reads=("mlp_out@0",),
                writes=("mlp_out@0",),
                d_read=16,
                d_write=16,
                n_latents=24,
                sparsity=ReLU(),
                normalisation="none",
                model=str(root / "player"),
            )
        )
        with torch.no_grad():
            dictionary.W_enc.copy_(torch.randn(24, 16, generator=draw))
            dictionary.b_enc.fill_(shift)
        dictionary.save(root / name)
    (root / "broken.json").write_text("{")
    return root


WRONG = (
    "othello play --size 7",
    "othello play --size 6 'e4 g7'",
    "othello play 'f5 d6 a1'",
    "othello play 'f5' --n 3",
    f"othello play --size 6 '{' '.join(['c2'] * 33)}'",
    "train --model player --corpus othello:six --context-length 32 --site attn_out@0 --k 4",
    "train --model player --corpus othello:6@60 --set text.column=moves --site attn_out@0 --k 4",
    "trace 'paris' --model player --dictionaries none",
    f"{TRAIN} --set games.size=8",
    f"{TRAIN} --width 10 --heads 3",
    f"{TRAIN} --set shape.family=llama --heads 4 --set shape.n_kv_heads=3",
    f"{TRAIN} --set shape.n_kv_heads=2",
    f"{TRAIN} --set shape.rope_theta=10",
    f"{TRAIN} --games 100",
    f"{TRAIN} --games 512 --set training.steps=1000",
    f"{TRAIN} --games 512 --set training.accumulate=100",
    f"{TRAIN} garden",
    "othello label fires --model garden",
    "othello label none --model player",
    "othello label fires --only absent",
    "othello label fires --family mime",
    "othello label fires --n 2",
    "othello label silent --n 8",
    "othello circuits player --dictionaries fires",
    "othello circuits fires --find logit",
    "othello circuits player --labels labels.json",
    "othello circuits fires --labels absent.json",
    "othello circuits fires --labels broken.json",
    f"{CIRCUITS} player --set places.earliest=40",
)


@pytest.mark.parametrize("command", WRONG)
def test_it_is_one_sentence_of_the_page(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    code = main(shlex.split(command))
    caught = capsys.readouterr()
    told = ("Run folder: ", "Dictionaries stand at ")
    (sentence,) = [line for line in caught.err.splitlines() if not line.startswith(told)]
    assert caught.out == ""
    assert any(
        code == known and re.fullmatch(pattern, sentence) for known, pattern in sentences()
    ), f"not on the page with exit code {code}: {sentence}"


def test_labels_of_other_dictionaries_and_bad_ones_are_refused_in_sentences_of_the_page(
    folder, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    label = "othello label fires --n 20 --permutations 0 --family move --out labels.json"
    assert main(label.split()) == 0
    for more in ("silent --labels labels.json", "fires --labels labels.json --least-f1 0.99"):
        capsys.readouterr()
        code = main(f"othello circuits {more}".split())
        (sentence,) = capsys.readouterr().err.splitlines()
        assert any(code == known and re.fullmatch(text, sentence) for known, text in sentences()), (
            sentence
        )
