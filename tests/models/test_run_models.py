"""The folder of a run stands for the model that it trained."""

import re

import pytest
import torch

from lmscope.core.errors import ModelError
from lmscope.models.fresh import ModelShape, fresh_model
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import character_tokenizer
from lmscope.models.run_models import MODEL, model_of
from lmscope.models.skeleton import skeleton
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run


def run_of(job, root):
    return Run.create(root, Recipe(job=job, name="made"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = run_of("lm", tmp_path_factory.mktemp("runs"))
    with run:
        shape = ModelShape(n_layers=1, d_model=16, n_heads=2, d_hidden=16)
        made = fresh_model(shape, character_tokenizer(), name="made", seed=0)
        made.hf.save_pretrained(run.path / MODEL)
        made.tokenizer.save_pretrained(run.path / MODEL)
    return run.path


def test_a_run_is_loaded_as_its_model(trained):
    by_run, by_folder = (
        LanguageModel.load(str(path), device="cpu") for path in (trained, trained / MODEL)
    )
    assert by_run.weights_hash == by_folder.weights_hash
    batch = by_run.batch("ab")
    assert torch.equal(by_run(batch).logits, by_folder(batch).logits)
    assert skeleton(str(trained)).d_model == 16


def test_a_model_folder_stands_for_itself(trained, tmp_path):
    assert model_of(trained / MODEL) == trained / MODEL
    assert model_of(tmp_path) == tmp_path  # and is refused later, for what it lacks


@pytest.mark.parametrize(("job", "words"), [("othello", "othello train"), ("lm", "lm train")])
def test_an_unfinished_training_says_how_to_go_on(job, words, tmp_path):
    run = run_of(job, tmp_path)
    with pytest.raises(KeyboardInterrupt), run:
        raise KeyboardInterrupt
    said = (
        f"'{run.path}' holds no model yet: its training is not finished (interrupted), go on with it by `lmscope {words} "
        f"--resume {run.path}`."
    )
    with pytest.raises(ModelError, match=re.escape(said)):
        LanguageModel.load(str(run.path))


def test_a_training_that_runs_is_waited_for(tmp_path):
    with (
        run_of("othello", tmp_path) as run,
        pytest.raises(ModelError, match="its training still runs, so wait until it is done"),
    ):
        model_of(run.path)


def test_a_run_that_makes_no_model_is_refused(tmp_path):
    run = run_of("atlas", tmp_path)
    with pytest.raises(ModelError, match="is a run of `lmscope atlas build`, which makes no model"):
        model_of(run.path)
