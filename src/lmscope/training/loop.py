"""The one training loop: it minimises every Objective and knows none."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from lmscope.core.errors import DataError, RecipeError, RunError
from lmscope.core.processes import ALONE, Processes
from lmscope.core.protocols import Listener
from lmscope.training.checkpoint import Checkpoint, Checkpoints, check_objective_name
from lmscope.training.config import TrainingConfig
from lmscope.training.fan_out import FanOut
from lmscope.training.objective import Objective, Stream
from lmscope.training.schedule import lr_factor, warmup_steps
from lmscope.training.trainee import Trainee, random_state, set_random_state


@runtime_checkable
class Stop(Protocol):
    """Tells the loop to end early, e.g. on SIGTERM."""

    @property
    def requested(self) -> bool:
        """Asked before each step."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        steps: Steps done since the very start.
        interrupted: Whether it was stopped before its last step.
        checkpoint: Where its state lies; None when there are no checkpoints.
    """

    steps: int
    interrupted: bool
    checkpoint: Path | None


def fit(  # noqa: PLR0913 - each says one thing about a training, and all but three have a default
    objectives: Sequence[Objective],
    stream: Stream,
    options: TrainingConfig,
    *,
    checkpoints: Checkpoints | None,
    listener: Listener,
    stop: Stop | None = None,
    resume: Checkpoint | None = None,
    seed: int = 0,
    processes: Processes = ALONE,
) -> Outcome:
    """Train objectives side by side on one stream.

    Each has its own optimiser, schedule, clip and random numbers, so that together equals alone,
    and training on from a checkpoint equals training without a break, bit for bit (on a CPU at
    equal thread count).

    Args:
        objectives: What is minimised; names are unique.
        stream: Batches for all of them.
        options: Steps, learning rate and so on, for each.
        checkpoints: Where the state is written: as `options.checkpoint` says, when stopped, and
            at the end. None writes nothing.
        listener: Hears metrics every `log_every` steps (`NAME/loss`, `NAME/TERM`, `lr`), progress
            after each step (phase `train`; fields `tokens_per_s`, and the latest metrics averaged over the
            objectives), and events `checkpoint` and `interrupted`.
        stop: Polled before each step.
        resume: Go on from here.
        seed: The recipe's.
        processes: Who trains together. Each calls this with the objectives that it trains and with its
            part of the batches; sums, clips and steps are then those of one process, and metrics reach
            the listener of the first.

    Raises:
        RecipeError: The options do not fit the objectives or the stream.
        DataError: The stream ended before the steps that were asked for.
        RunError: A loss is not finite (the last checkpoint stays), `resume` is of another run, or
            another process ended early.
        ArtifactError: A checkpoint cannot be written (the one before stays).
    """
    loop = _Loop(objectives, stream, options, checkpoints, listener, seed, processes)
    if resume is not None:
        loop.resume(resume)
    return loop.run(stop)


class _Loop:
    def __init__(
        self,
        objectives: Sequence[Objective],
        stream: Stream,
        options: TrainingConfig,
        checkpoints: Checkpoints | None,
        listener: Listener,
        seed: int,
        processes: Processes,
    ) -> None:
        _check_names(objectives)
        self.processes = processes
        self.stream = stream
        self.options = options
        self.checkpoints = checkpoints
        self.listener = listener
        self.steps = planned_steps(stream, options)
        warmup_steps(self.steps, options.schedule)  # refuses what does not fit, before any work
        self.fan_out = FanOut(stream)
        self.trainees = [
            Trainee(objective, options, seed, self.fan_out.tap(objective.name), processes)
            for objective in objectives
        ]
        _check_nothing_shared(self.trainees)
        self.device = self.trainees[0].device
        self.step = 0
        self.last_saved: tuple[int, Path] | None = None
        self.saved_at = time.monotonic()
        self.is_late = False
        self.rate = _Rate()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Put everything back as it was when the checkpoint was written."""
        mine = [trainee.name for trainee in self.trainees]
        names = {name for part in self.processes.world.values(mine) for name in part}
        if names != checkpoint.objectives.keys() or checkpoint.step > self.steps:
            raise RunError(
                f"The checkpoint '{checkpoint.path}' holds step {checkpoint.step} of "
                f"{sorted(checkpoint.objectives)}, but this recipe trains {sorted(names)} for {self.steps} "
                "steps: resume with the recipe that the run was started with."
            )
        for trainee in self.trainees:
            trainee.load_state(checkpoint.objectives[trainee.name])
        self.stream.load_state(checkpoint.shared["stream"])
        set_random_state(checkpoint.shared["random"], self.device)
        self.step = checkpoint.step
        self.last_saved = (checkpoint.step, checkpoint.path)

    def run(self, stop: Stop | None) -> Outcome:
        """Take the steps that are left."""
        while self.step < self.steps:
            if self._all_hear(stop):
                path = self._save()
                self.listener.on_event("interrupted", {"step": self.step})
                return Outcome(self.step, interrupted=True, checkpoint=path)
            self._take_step()
            self._report()
            if self._checkpoint_is_due():
                self._save()
        return Outcome(self.step, interrupted=False, checkpoint=self._save())

    def _all_hear(self, stop: Stop | None) -> bool:
        """Whether any process was asked to stop, or has a checkpoint due by the clock; one question a step."""
        minutes = self.options.checkpoint.every_minutes
        late = minutes > 0 and time.monotonic() - self.saved_at >= 60 * minutes
        asked = torch.tensor([stop is not None and stop.requested, late], dtype=torch.uint8)
        asked = self.processes.world.max_(asked.to(self.device))
        self.is_late = bool(asked[1])
        return bool(asked[0])

    def _take_step(self) -> None:
        for trainee in self.trainees:
            trainee.begin_step()
        for _ in range(self.options.accumulate):
            for trainee in self.trainees:
                if not trainee.backward(self.step):
                    raise DataError(
                        f"The batches of '{trainee.name}' ended at step {self.step} of {self.steps}: "
                        f"take more text or passes, or set training.steps to {self.step}. {self._kept()}"
                    )
        lr = self.options.lr * lr_factor(self.step, self.steps, self.options.schedule)
        for trainee in self.trainees:
            trainee.step(self.step, lr)
        self._check_enough(self.fan_out.settle())
        self.step += 1
        self.rate.add(self.trainees[0].weight)

    def _check_enough(self, drawn: int) -> None:
        """Say at the first step, not at the last one, that the stream is too short."""
        total = self.stream.total_batches
        if total is not None and drawn * self.steps > total:
            raise DataError(
                f"{self.steps} steps of {drawn} batches need {drawn * self.steps} batches, but the "
                f"stream has {total}: take more text or passes, or set training.steps to "
                f"{total // drawn}."
            )

    def _report(self) -> None:
        due = self.step % self.options.log_every == 0 or self.step in (1, self.steps)
        if due or self.device.type == "cpu":  # elsewhere the check waits for the device
            self._check_finite()
        if due:
            own = {trainee.name: trainee.metrics() for trainee in self.trainees}
            parts = self.processes.world.values(own)
            metrics = {name: figures for part in parts for name, figures in part.items()}
            lr = self.options.lr * lr_factor(self.step - 1, self.steps, self.options.schedule)
            flat = {f"{name}/{key}": v for name, m in metrics.items() for key, v in m.items()}
            self.listener.on_metrics(self.step, {**flat, "lr": lr})
            self.rate.update(_means(list(metrics.values())))
        self.listener.on_progress("train", self.step, self.steps, self.rate.fields)

    def _check_finite(self) -> None:
        for trainee in self.trainees:
            trainee.check_finite(self._kept())

    def _kept(self) -> str:
        if self.last_saved is None:
            return "No checkpoint had been written."
        return f"The last checkpoint is '{self.last_saved[1]}'."

    def _checkpoint_is_due(self) -> bool:
        every = self.options.checkpoint.every_steps
        return self.is_late or (every is not None and self.step % every == 0)

    def _save(self) -> Path | None:
        """Write the state unless it is written already; a state that is not finite never is."""
        self._check_finite()
        if self.checkpoints is None:
            return None
        if self.last_saved is None or self.last_saved[0] != self.step:
            shared = {"stream": self.stream.state(), "random": random_state(self.device)}
            states = {trainee.name: trainee.state() for trainee in self.trainees}
            self.last_saved = (self.step, self.checkpoints.save(self.step, shared, states))
            self.saved_at = time.monotonic()
            path = str(self.last_saved[1])
            self.listener.on_event("checkpoint", {"step": self.step, "path": path})
        return self.last_saved[1]


class _Rate:
    """Tokens per second since the last look, kept so that no step waits for the device."""

    def __init__(self) -> None:
        self.fields: dict[str, float] = {}
        self._tokens: Any = 0.0
        self._since = time.perf_counter()

    def add(self, tokens: torch.Tensor) -> None:
        self._tokens = self._tokens + tokens

    def update(self, metrics: dict[str, float]) -> None:
        now = time.perf_counter()
        rate = float(self._tokens) / max(now - self._since, 1e-9)
        self.fields = {"tokens_per_s": rate, **metrics}
        self._tokens, self._since = 0.0, now


def planned_steps(stream: Stream, options: TrainingConfig) -> int:
    """Optimiser steps of a training: those asked for, or as many as the stream has batches for.

    Raises:
        RecipeError: The stream does not know its end and no steps are given.
        DataError: The stream does not fill one step.
    """
    if options.steps is not None:
        return options.steps
    total = stream.total_batches
    if total is None:
        raise RecipeError(
            "This stream does not know its end, which the schedule needs: give training.steps."
        )
    if total < options.accumulate:
        raise DataError(
            f"One step needs {options.accumulate} batches, but the stream has {total}: take more "
            "text or passes, or lower training.accumulate."
        )
    return total // options.accumulate


def _check_names(objectives: Sequence[Objective]) -> None:
    if not objectives:
        raise RecipeError("There is no objective to train: give at least one.")
    names = [objective.name for objective in objectives]
    for name in names:
        check_objective_name(name)
        if names.count(name) > 1:
            raise RecipeError(f"Two objectives are called '{name}': give each its own name.")


def _check_nothing_shared(trainees: Sequence[Trainee]) -> None:
    owner: dict[int, str] = {}
    for trainee in trainees:
        for parameter in trainee.optimiser.parameters.values():
            other = owner.setdefault(id(parameter), trainee.name)
            if other != trainee.name:
                raise RecipeError(
                    f"'{other}' and '{trainee.name}' train the same parameter: merge them into one "
                    "objective."
                )


def _means(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """Each metric averaged over the objectives that have it."""
    keys = dict.fromkeys(key for one in metrics for key in one)
    return {k: sum(m[k] for m in metrics if k in m) / sum(k in m for m in metrics) for k in keys}
