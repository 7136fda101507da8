"""The script that makes a fine-tuned model, on a miniature."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from lmscope.models.language_model import LanguageModel

SCRIPT = Path(__file__).parents[2] / "scripts" / "fine_tune.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fine_tune", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(shelf, out, *more):
    return [
        "--out", str(out), "--model", str(shelf / "model"), "--corpus", str(shelf / "other.jsonl"),
        "--device", "cpu", "--context-length", "32", "--batch-contexts", "4", "--steps", "12",
        "--lr", "3e-3", *more,
    ]  # fmt: skip


def test_the_tuned_model_predicts_the_text_better_and_loads_by_its_folder(
    script, shelf, tmp_path, capsys
):
    assert script.main(words(shelf, tmp_path / "tuned")) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ce_after"] < said["ce_before"]
    own, tuned = (LanguageModel.load(str(p)) for p in (shelf / "model", tmp_path / "tuned"))
    assert tuned.weights_hash == said["tuned_weights_hash"] != own.weights_hash
    assert (tuned.n_layers, tuned.d_model, tuned.dtype) == (own.n_layers, own.d_model, own.dtype)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(own.hf.parameters(), tuned.hf.parameters(), strict=True)
    )


def test_a_folder_that_is_there_is_not_written_over(script, shelf, tmp_path, capsys):
    assert script.main(words(shelf, tmp_path)) == 1
    assert "exists already" in capsys.readouterr().err


def test_too_little_text_is_one_sentence(script, shelf, tmp_path, capsys):
    asked = words(shelf, tmp_path / "tuned", "--tokens", "128")
    assert script.main(asked) == 1
    assert "do not fill one batch of 4" in capsys.readouterr().err
