import json
import signal

import pytest
import torch

from lmscope.core.errors import DataError, RecipeError
from lmscope.evaluation.legal_moves import check_plays
from lmscope.jobs.othello_train import (
    OthelloGames,
    OthelloRecipe,
    held_out_games,
    plan_othello,
    train_othello,
)
from lmscope.models.language_model import LanguageModel
from lmscope.runs.run import Run
from lmscope.runs.signals import Interrupted
from lmscope.text.worlds.games import GameStream
from lmscope.text.worlds.othello import Othello

STEPS = 60


@pytest.fixture(scope="module")
def recipe():
    return OthelloRecipe.from_mapping(
        {
            "games": {"n_games": 16 * STEPS + 5, "batch_games": 16, "held_out_games": 30},
            "shape": {
                "family": "gpt2",
                "n_layers": 1,
                "d_model": 32,
                "n_heads": 2,
                "d_hidden": 64,
                "max_positions": 32,
            },
            "device": "cpu",
            "bootstrap": {"n_resamples": 100},
            "training": {"lr": 1e-2},
        }
    )


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    return train_othello(recipe, root=tmp_path_factory.mktemp("runs"))


def losses(run):
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["othello/loss"] for line in lines]


def test_a_model_learns_which_moves_are_legal(trained):
    figures = trained.results()["held_out"]
    assert figures["n_games"] == 30
    assert figures["n_moves"] == 30 * 31
    assert figures["legal_top1"]["low"] > figures["legal_by_chance"]
    assert figures["divergence_nats"]["value"] > 0
    first, *_, last = losses(trained)
    assert last < first - 0.3


def test_the_folder_loads_as_any_other_model_and_has_its_report_beside_it(trained):
    folder = trained.artifacts / "model"
    model = LanguageModel.load(str(folder), device="cpu")
    check_plays(model, Othello(6))
    assert trained.record.weights == {"othello": model.weights_hash}
    report = json.loads((folder / "held_out.json").read_text(encoding="utf-8"))
    assert report == trained.results()["held_out"]
    assert [score["move"] for score in report["by_move"]] == list(range(2, 33))


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
        train_othello(recipe, root=tmp_path, listeners=[StopsAt(25)])
    (folder,) = tmp_path.iterdir()
    resumed = train_othello(recipe, root=tmp_path, resume=folder)
    assert Run.open(folder).status == "done"
    assert losses(resumed) == losses(trained)
    assert resumed.record.weights == trained.record.weights
    assert resumed.results()["held_out"] == trained.results()["held_out"]


def test_labels_change_what_is_learnt(recipe, trained, tmp_path):
    hard = train_othello(recipe.model_copy(update={"labels": "hard"}), root=tmp_path)
    assert hard.record.weights != trained.record.weights


def test_held_out_games_are_as_many_as_asked_for_and_not_those_of_the_training(recipe):
    world = Othello(6)
    games = OthelloGames(n_games=300, batch_games=300, held_out_games=300)
    batches = list(held_out_games(world, games, 0, batch_games=128))
    assert [len(batch.tokens) for batch in batches] == [128, 128, 44]
    held_out = torch.cat([batch.tokens for batch in batches])
    again = torch.cat([b.tokens for b in held_out_games(world, games, 0, batch_games=7)])
    assert torch.equal(held_out, again)
    seen = next(GameStream(world, batch_games=300, n_games=300, seed=0)).tokens
    assert not {tuple(row) for row in seen.tolist()} & {tuple(row) for row in held_out.tolist()}


def test_what_a_recipe_does_not_say_of_shape_and_training_is_that_of_a_player():
    recipe = OthelloRecipe.from_mapping({"shape": {"n_layers": 3}, "training": {"steps": 7}})
    assert (recipe.shape.family, recipe.shape.d_model, recipe.shape.max_positions) == (
        "gpt2",
        64,
        32,
    )
    assert (recipe.training.lr, recipe.training.schedule.decay) == (2e-3, "cosine")
    warm = OthelloRecipe.from_mapping({"training": {"schedule": {"warmup": 0.1}}}).training
    assert (warm.lr, warm.schedule.warmup, warm.schedule.decay_fraction) == (2e-3, 0.1, 0.98)
    assert OthelloRecipe.from_mapping(recipe.to_mapping()) == recipe


def test_a_plan_writes_nothing_and_counts_games_and_steps(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = dict(plan_othello(recipe).rows())
    assert (values["n_steps"], values["n_games"]) == (STEPS, 16 * STEPS)
    assert (values["n_vocabulary"], values["tokens_per_step"]) == (33, 16 * 32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "failure", "said"),
    [
        (
            {"shape": {"max_positions": 20}},
            RecipeError,
            "has 32 moves, and the model has positions for 20: set shape.max_positions to 32",
        ),
        (
            {"games": {"size": 8}},
            RecipeError,
            "8 by 8 has 60 moves, and the model has positions for 32",
        ),
        ({"games": {"size": 7}}, RecipeError, "'games.size' of the recipe is wrong"),
        ({"games": {"batch_games": 4000}}, DataError, "A batch of 4000 games cannot be had from"),
        ({"labels": "mushy"}, RecipeError, "'labels' of the recipe is wrong"),
        (
            {"training": {"steps": 1001}},
            RecipeError,
            "1,001 steps need 1,001 batches of .* take at least .* or set training.steps lower",
        ),
        (
            {"training": {"accumulate": 2000}},
            RecipeError,
            "One step needs 2,000 batches of .* or set training.accumulate lower",
        ),
    ],
)
def test_what_cannot_work_is_one_sentence(change, failure, said, recipe, tmp_path):
    values = recipe.to_mapping()
    for part, keys in change.items():
        values[part] = {**values[part], **keys} if isinstance(keys, dict) else keys
    with pytest.raises(failure, match=said):
        train_othello(OthelloRecipe.from_mapping(values), root=tmp_path)
    assert not list(tmp_path.iterdir())
