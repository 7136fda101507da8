"""A folder of runs with a player of Othello, dictionaries of it and what they say of the game."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lmscope.jobs.othello_labels import TruthChoice, label_othello
from lmscope.jobs.othello_train import OthelloRecipe, train_othello
from lmscope.jobs.running import Silent
from lmscope.jobs.train import TrainRecipe, train
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.server.library.library import Library

LABELS = "othello-labels.json"


@dataclass(frozen=True)
class OthelloLibrary:
    """A folder of runs.

    Attributes:
        root: The folder to serve.
        player: Id of the run that trained a player on 6 by 6 squares.
        features: Id of the run that trained two dictionaries of it; labels of both lie in its artifacts.
        stopped: Id of a training of a player that was interrupted.
        other: Id of a run of something else.
        dictionaries: Ids of the two dictionaries.
    """

    root: Path
    player: str
    features: str
    stopped: str
    other: str
    dictionaries: tuple[str, str]

    @property
    def labels(self) -> Path:
        """The file of labels."""
        return self.root / self.features / "artifacts" / LABELS

    def at(self, root: Path) -> "OthelloLibrary":
        """The same in a copy of the folder."""
        return replace(self, root=root)


@pytest.fixture(scope="session")
def othello_library(tmp_path_factory) -> OthelloLibrary:
    """To read only: all tests share it; to change one take `own_othello`."""
    root = tmp_path_factory.mktemp("othello") / "runs"
    player = train_othello(_player_recipe(), root=root)
    features = train(_features_recipe(player.artifacts / "model"), root=root)
    truth = {"sources": [str(features.path)], "n_games": 40, "scores": {"n_permutations": 0}}
    found = label_othello(TruthChoice.from_mapping(truth, "the test"), Silent())
    found.save(features.artifacts / LABELS)
    with (
        suppress(KeyboardInterrupt),
        Run.create(root, _player_recipe(), name="stopped") as stopped,
    ):
        raise KeyboardInterrupt
    with Run.create(root, Recipe(job="lm", name="other"), name="other") as other:
        other.event("phase", phase="train")
    ids = tuple(one.id for one in Library([root]).dictionaries())
    assert len(ids) == 2
    return OthelloLibrary(
        root, player.path.name, features.path.name, stopped.path.name, other.path.name, ids
    )


@pytest.fixture
def own_othello(othello_library, tmp_path) -> OthelloLibrary:
    """A copy of the library that this test may spoil."""
    return othello_library.at(Path(shutil.copytree(othello_library.root, tmp_path / "runs")))


@pytest.fixture(scope="session")
def relabel() -> Callable[[OthelloLibrary, str], None]:
    """`relabel(library, label)`: let every latent that fires say one thing."""
    return say_one_thing


def say_one_thing(library: OthelloLibrary, label: str) -> None:
    """Replace all labels by one."""
    values = json.loads(library.labels.read_text())
    said = {"label": label, "threshold": 0.0, "f1": 0.9, "precision": 0.9, "recall": 0.9}
    for one in values["dictionaries"]:
        for latent in one["latents"]:
            latent["labels"], latent["precise"] = [{**said, "chosen_f1": 0.9}], []
    library.labels.write_text(json.dumps(values))


def _player_recipe() -> OthelloRecipe:
    return OthelloRecipe.from_mapping(
        {
            "name": "small-player",
            "games": {"n_games": 512, "batch_games": 64, "held_out_games": 32},
            "shape": {"n_layers": 1, "d_model": 16, "n_heads": 2, "d_hidden": 32},
            "device": "cpu",
            "bootstrap": {"n_resamples": 20},
        }
    )


def _features_recipe(model: Path) -> TrainRecipe:
    return TrainRecipe.from_mapping(
        {
            "name": "features",
            "model": {"name": str(model), "device": "cpu"},
            "text": {"source": "othello:6@200", "context_length": 32, "held_out_fraction": 0.3},
            "dictionary": {
                "sites": ["attn_out@0", "mlp_out@0"],
                "n_latents": [32],
                "sparsity": [{"kind": "topk", "k": 4}],
            },
            "stream": {
                "batch_tokens": 64,
                "block_contexts": 8,
                "forward_contexts": 4,
                "calibration_tokens": 512,
            },
            "training": {"steps": 30, "log_every": 10, "checkpoint": {"every_minutes": 0}},
            "evaluation": {
                "tokens": 512,
                "scored_tokens": 128,
                "baseline_tokens": 256,
                "batch_contexts": 8,
                "bootstrap": {"n_resamples": 20},
            },
        }
    )
