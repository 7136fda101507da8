"""A miniature model and a small corpus on disk, and recipes that run on them in a second."""

import json
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lmscope.cli.options import overlay
from lmscope.jobs.train import TrainRecipe, train
from lmscope.models.miniature import miniature
from lmscope.runs.run import Run

N_DOCUMENTS = 40


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def save_model(model, folder: Path) -> Path:
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def write_corpus(path: Path, letters: str, n_documents: int = N_DOCUMENTS, length: int = 300):
    draw = random.Random(letters)
    texts = ["".join(draw.choices(letters, k=length)) for _ in range(n_documents)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """A folder with `model`, `tuned` (the same shape), `wide` (another) and two corpora."""
    folder = tmp_path_factory.mktemp("shelf")
    save_model(miniature("llama"), folder / "model")
    save_model(miniature("llama", seed=1), folder / "tuned")
    save_model(miniature("llama", hidden_size=48), folder / "wide")
    write_corpus(folder / "text.jsonl", "etaoin shrdlu.")
    write_corpus(folder / "other.jsonl", "0123456789+-*/=")
    return folder


@pytest.fixture(scope="session")
def values(shelf):
    """`values(**{"training.steps": 60})`: a small recipe's plain values, changed by keys with dots."""

    def values(**changes: Any) -> dict[str, Any]:
        small = {
            "model": {"name": str(shelf / "model"), "device": "cpu"},
            "text": {
                "source": str(shelf / "text.jsonl"),
                "context_length": 32,
                "held_out_fraction": 0.3,
            },
            "dictionary": {
                "sites": ["resid_post@1"],
                "n_latents": [64],
                "sparsity": [{"kind": "topk", "k": 4}],
                "objective": {"dead_after_tokens": 600},
            },
            "stream": {
                "batch_tokens": 32,
                "block_contexts": 8,
                "forward_contexts": 4,
                "calibration_tokens": 512,
                "passes": 3,
            },
            "training": {"steps": 30, "log_every": 10, "checkpoint": {"every_minutes": 0}},
            "evaluation": {
                "tokens": 1024,
                "scored_tokens": 256,
                "baseline_tokens": 512,
                "batch_contexts": 8,
                "bootstrap": {"n_resamples": 50},
            },
        }
        return overlay(small, changes, ())

    return values


@pytest.fixture(scope="session")
def recipe(values):
    """The same as a TrainRecipe."""

    def recipe(**changes: Any) -> TrainRecipe:
        return TrainRecipe.from_mapping(values(**changes))

    return recipe


class StopAt:
    """Sends this process SIGTERM when training has done a number of steps, or at an event."""

    def __init__(self, step: int | None = None, event: str | None = None) -> None:
        self.step, self.event = step, event

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        if event == self.event:
            self._stop()

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        if phase == "train" and done == self.step:
            self._stop()

    def _stop(self) -> None:
        self.event = self.step = None
        signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="session")
def stop_at() -> type[StopAt]:
    return StopAt


@pytest.fixture(scope="session")
def interrupted(recipe):
    """`interrupted(recipe, root, step)`: a run that SIGTERM stopped after a step, as resumable folder."""

    def interrupted(wanted: TrainRecipe, root: Path, step: int) -> Run:
        with pytest.raises(KeyboardInterrupt):
            train(wanted, root=root, listeners=[StopAt(step)])
        (folder,) = (path for path in root.iterdir() if path.is_dir())
        run = Run.open(folder)
        assert run.status == "interrupted"
        return run

    return interrupted


@pytest.fixture(scope="session")
def trained(recipe, tmp_path_factory) -> Run:
    """One finished training run."""
    return train(recipe(), root=tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def content():
    """`content(run)`: SHA-256 of everything a run computed, by path; its metrics byte for byte."""

    def content(run: Run) -> dict[str, Any]:
        files: dict[str, Any] = {"metrics": (run.path / "metrics.jsonl").read_bytes()}
        for path in sorted(run.path.rglob("manifest.json")):
            files[str(path.parent.relative_to(run.path))] = json.loads(path.read_text())["files"]
        return files

    return content


@pytest.fixture
def desk(tmp_path, monkeypatch, shelf, recipe) -> Path:
    """The working folder of a user: `model`, `text.jsonl` and so on, and `recipe.toml` beside them."""
    for path in shelf.iterdir():
        (tmp_path / path.name).symlink_to(path)
    here = recipe(
        **{
            "model.name": "model",
            "text.source": "text.jsonl",
            "training.checkpoint.every_steps": 10,
        }
    )
    (tmp_path / "recipe.toml").write_text(here.to_toml(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path
