"""`lmscope othello label` as a person sees it."""

import json

import pytest
import torch

from lmscope.cli.main import main
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.othello_label_report import OthelloTruthReport
from lmscope.models.fresh import ModelShape, fresh_model
from lmscope.models.miniature import miniature
from lmscope.text.worlds.notation import othello_tokenizer

FEW = ["--n", "20", "--permutations", "1", "--family", "move", "--family", "black"]


def dictionary(model_name, width):
    config = DictionaryConfig(
        reads=("mlp_out@0",),
        writes=("mlp_out@0",),
        d_read=width,
        d_write=width,
        n_latents=24,
        sparsity=ReLU(),
        normalisation="none",
        model=model_name,
    )
    made, draw = Dictionary(config), torch.Generator().manual_seed(0)
    with torch.no_grad():
        made.W_enc.copy_(torch.randn(24, width, generator=draw))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("player")
    shape = ModelShape(
        family="gpt2", n_layers=1, d_model=16, n_heads=2, d_hidden=16, max_positions=32
    )
    model = fresh_model(shape, othello_tokenizer(6), name="player", seed=0)
    model.hf.save_pretrained(root / "model")
    model.tokenizer.save_pretrained(root / "model")
    dictionary(str(root / "model"), 16).save(root / "mlp_out-0")
    return root / "mlp_out-0"


def test_tables_are_printed_and_everything_is_written(folder, tmp_path, capsys):
    out = tmp_path / "labels.json"
    assert main(["othello", "label", str(folder), *FEW, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Latents whose best label of a family has F1 above 0.9" in said
    assert "mlp_out-0" in said
    assert OthelloTruthReport.load(out).dictionaries[0].latents


def test_json_is_one_object_without_single_latents(folder, capsys):
    assert main(["othello", "label", str(folder), *FEW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["size"], found["n_games"]) == (6, 20)
    (one,) = found["dictionaries"]
    assert [family["family"] for family in one["families"]] == ["move", "black"]
    assert "latents" not in one


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nosuch"], 1, "There is no run 'nosuch'"),
        (["FOLDER", "--family", "mime"], 1, "'mime' is no family of labels. Did you mean mine?"),
        (["FOLDER", "--n", "3"], 2, "'n_games' of the command is wrong"),
        (["FOLDER", "--permutations", "-1"], 2, "'scores.n_permutations' of the command is wrong"),
        (["FOLDER", "--model", "smollm3"], 1, "smollm3"),
        (["none", "--model", "garden"], 2, "no latent to label"),
    ],
)
def test_each_wrong_input_is_one_sentence(words, code, said, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [str(folder) if word == "FOLDER" else word for word in words]
    assert main(["othello", "label", *words]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_model_of_text_plays_no_othello(tmp_path, capsys):
    text_model = miniature("gpt2")
    text_model.hf.save_pretrained(tmp_path / "text")
    text_model.tokenizer.save_pretrained(tmp_path / "text")
    dictionary(str(tmp_path / "text"), text_model.d_model).save(tmp_path / "mlp")
    assert main(["othello", "label", str(tmp_path / "mlp")]) == 1
    assert "plays no Othello" in capsys.readouterr().err
