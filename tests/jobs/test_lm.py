import json
import random
import signal

import pytest
import torch

from lmscope.core.errors import DataError, RecipeError
from lmscope.jobs.lm import LmRecipe, plan_lm, train_lm
from lmscope.models.language_model import LanguageModel
from lmscope.runs.run import Run
from lmscope.runs.signals import Interrupted

SENTENCE = "the river runs past old mills and new bridges while rain falls on stone"
WORDS = SENTENCE.split()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Documents of words in a fixed cycle from a random start: each word tells the next one."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("text") / "cycle.jsonl"
    lines = []
    for _ in range(60):
        start = draw.randrange(len(WORDS))
        text = " ".join(WORDS[(start + i) % len(WORDS)] for i in range(60))
        lines.append(json.dumps({"text": text}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def recipe(corpus):
    text = {"source": str(corpus), "vocabulary": 280, "context_length": 32, "batch_contexts": 4}
    shape = {"n_layers": 1, "d_model": 32, "n_heads": 2, "d_hidden": 48, "max_positions": 64}
    training = {"steps": 60, "lr": 1e-2}
    return LmRecipe.from_mapping(
        {
            "text": {**text, "passes": 20, "held_out_fraction": 0.2},
            "shape": shape,
            "training": training,
        }
    )


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    return train_lm(recipe, root=tmp_path_factory.mktemp("runs"))


def test_a_model_learns_what_text_is_certain_of(trained):
    figures = trained.results()["held_out"]
    assert figures["nats_per_token"]["value"] < 0.5 * figures["unigram_nats"]
    estimate = figures["nats_per_token"]
    assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_the_folder_loads_as_any_other_model_and_predicts_the_next_word(trained):
    model = LanguageModel.load(str(trained.artifacts / "model"), dtype="float32")
    logits = model(model.batch("the river runs past old")).logits[0, -1]
    wanted = model.tokenizer(" mills", add_special_tokens=False)["input_ids"][0]
    assert int(logits.argmax()) == wanted
    assert trained.record.weights == {"lm": model.weights_hash}


class StopsAt:
    """Ends the process's work as SIGTERM does, at one step."""

    def __init__(self, step):
        self.step = step

    def on_event(self, event, fields):
        pass

    def on_metrics(self, step, metrics):
        pass

    def on_progress(self, phase, done, total, fields):
        if phase == "train" and done == self.step:
            signal.raise_signal(signal.SIGTERM)


def test_stopped_and_resumed_equals_uninterrupted(recipe, trained, tmp_path):
    with pytest.raises(Interrupted):
        train_lm(recipe, root=tmp_path, listeners=[StopsAt(25)])
    (folder,) = tmp_path.iterdir()
    resumed = train_lm(recipe, root=tmp_path, resume=folder)
    mine, other = (
        LanguageModel.load(str(run.artifacts / "model")).hf.state_dict()
        for run in (resumed, trained)
    )
    assert all(torch.equal(mine[name], other[name]) for name in other)
    assert Run.open(folder).status == "done"


def test_a_plan_writes_nothing_and_counts_the_steps(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = dict(plan_lm(recipe).rows())
    assert values["n_steps"] == 60
    assert values["tokens_per_step"] == 4 * 32
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "failure", "said"),
    [
        ({"shape": {"max_positions": 16}}, RecipeError, "do not fit a model with 16 positions"),
        ({"text": {"vocabulary": 5000}}, DataError, "is too short for 5000 tokens, it gives"),
        (
            {"text": {"batch_contexts": 4000}},
            DataError,
            "A batch of 4000 contexts is more than the",
        ),
    ],
)
def test_what_cannot_work_is_one_sentence(change, failure, said, recipe, tmp_path):
    values = recipe.to_mapping()
    for part, keys in change.items():
        values[part] = {**values[part], **keys}
    with pytest.raises(failure, match=said):
        train_lm(LmRecipe.from_mapping(values), root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_key_of_training_leaves_the_others_as_the_job_has_them():
    own = LmRecipe().training
    changed = LmRecipe.from_mapping({"training": {"schedule": {"warmup": 0.1}, "log_every": 5}})
    assert changed.training.lr == own.lr == 2e-3
    assert (changed.training.schedule.decay, changed.training.schedule.warmup) == ("cosine", 0.1)
    assert (changed.training.schedule.end_factor, changed.training.log_every) == (0.05, 5)
