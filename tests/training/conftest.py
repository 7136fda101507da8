"""Toy objectives and a toy stream, small enough to check by hand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from lmscope.core.rng import generator
from lmscope.training.objective import Loss, ParameterGroup


class ToyStream:
    """`total` batches of rows; batch t is a pure function of (seed, t)."""

    def __init__(self, total: int = 1000, rows: int = 8, seed: int = 0, known: bool = True) -> None:
        self.total, self.rows, self.seed, self.at = total, rows, seed, 0
        self.total_batches = total if known else None

    def __iter__(self) -> "ToyStream":
        return self

    def __next__(self) -> torch.Tensor:
        if self.at >= self.total:
            raise StopIteration
        self.at += 1
        return torch.randn(self.rows, 4, generator=generator(self.seed, "toy", self.at - 1))

    def state(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.at = state["at"]


class ToyObjective:
    """Squared error of a linear map, with global-generator noise and a counter that feeds back."""

    def __init__(self, name: str = "toy", *, noise: float = 0.1, coupled: bool = False) -> None:
        self.name = name
        self.batch_coupled = coupled
        self.noise = noise
        self.weight = nn.Parameter(torch.zeros(4, 3))
        self.bias = nn.Parameter(torch.zeros(3))
        self.steps_seen = torch.zeros((), dtype=torch.int64)
        self.batches_seen: list[torch.Tensor] = []

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup({"weight": self.weight}), ParameterGroup({"bias": self.bias}, 0.5)]

    def batches(self, stream: Iterator[Any]) -> Iterator[Any]:
        return stream

    def loss(self, batch: torch.Tensor, step: int) -> Loss:
        self.batches_seen.append(batch)
        target = batch.sum(-1, keepdim=True)
        noise = self.noise * torch.randn(batch.shape[0], 3) * (1 + self.steps_seen)
        error = batch @ self.weight + self.bias + noise - target
        squares = error.pow(2).sum()
        mean = squares.detach() / len(batch)
        return Loss(squares, len(batch), {"mse": mean})

    def after_step(self, step: int) -> None:
        self.steps_seen += 1

    def state(self) -> dict[str, Any]:
        return {"steps_seen": self.steps_seen}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.steps_seen = state["steps_seen"].clone()


@dataclass
class Recorder:
    """A listener that keeps what it hears."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    progress: list[tuple[str, int, int | None, dict[str, float]]] = field(default_factory=list)

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        self.events.append((event, dict(fields)))

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        self.metrics.append((step, dict(metrics)))

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        self.progress.append((phase, done, total, dict(fields)))


class StopAfter:
    """Asks to stop once the listener has heard of `steps` more steps."""

    def __init__(self, steps: int, recorder: Recorder) -> None:
        self.recorder = recorder
        self.at = len(recorder.progress) + steps

    @property
    def requested(self) -> bool:
        return len(self.recorder.progress) >= self.at


@pytest.fixture
def toy_stream() -> type[ToyStream]:
    return ToyStream


@pytest.fixture
def toy_objective() -> type[ToyObjective]:
    return ToyObjective


@pytest.fixture
def stop_after() -> type[StopAfter]:
    return StopAfter


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
