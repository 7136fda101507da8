"""Tuning: generation after generation until the budget is spent, with stops, checkpoints and a choice by held-out examples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.core.protocols import Listener
from lmscope.prompting.blocks import BlockSearch, Generation
from lmscope.prompting.oracle import DevScore, Oracle
from lmscope.training.checkpoint import Checkpoint, Checkpoints

Numbers = tuple[Float64[np.ndarray, "subspace"] | None, ...]
"""The numbers of each block; None where nothing is added."""
_PHASE: Final = "tune"


class ChoiceOptions(Config):
    """Which of all prompts that were met is the result."""

    by: Literal["means", "standing", "candidate"] = "means"
    """What is tried on the dev examples: the middle of the searches, what stands of each block, or (as in the reference) the
    candidate that happens to be the call's."""
    every_calls: Annotated[int, Field(ge=1)] = 100
    """A try after so many calls, at the end of a generation, and at the very end."""


class Tried(NamedTuple):
    """A prompt that was tried on the dev examples.

    Attributes:
        n_asked: Training calls by then.
        score: What it had.
        numbers: Its numbers.
    """

    n_asked: int
    score: DevScore
    numbers: Numbers


@dataclass
class Tuner:
    """A search with its oracle, and the best prompt so far by the dev examples.

    The manual prompt is tried first, so the result is never one that the dev examples like less.

    Attributes:
        search: Proposes.
        oracle: Answers.
        choice: How the result is chosen.
        chosen: The best that was tried.
        n_generations: Generations so far.
        best_loss: The lowest loss of any candidate.
    """

    search: BlockSearch
    oracle: Oracle
    choice: ChoiceOptions = field(default_factory=ChoiceOptions)
    chosen: Tried | None = None
    n_generations: int = 0
    best_loss: float = float("inf")
    _n_tried: int = field(default=0, repr=False)

    def run(
        self,
        *,
        listener: Listener,
        checkpoints: Checkpoints | None = None,
        every_generations: int = 10,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Go on until no generation fits the budget any more.

        Args:
            listener: Hears `tune` progress in calls, and metrics of each generation: `loss` (mean over
                candidates), `lowest_loss`, `best_loss`, `n_calls`, and where something was tried
                `dev_metric` and `dev_loss`.
            checkpoints: Where the state is written.
            every_generations: How often.
            stop: Polled before each generation.

        Returns:
            Whether it came to the end; False when it was stopped, its state saved.

        Raises:
            RecipeError: The budget is smaller than one generation.
        """
        if self.search.next_calls > self.oracle.n_calls:
            raise RecipeError(
                f"A budget of {self.oracle.n_calls} calls is less than one generation of {self.search.next_calls}: "
                f"give at least {self.search.next_calls} calls, or a smaller popsize."
            )
        if self.chosen is None:
            self._try_out(tuple(None for _ in self.search.blocks))
        while self.search.next_calls <= self.oracle.n_left:
            if stop():
                self._save(checkpoints)
                return False
            self._generation(listener)
            if checkpoints is not None and self.n_generations % every_generations == 0:
                self._save(checkpoints)
        self._save(checkpoints)
        return True

    def _generation(self, listener: Listener) -> None:
        before = self.oracle.n_asked
        others = self.search.numbers("standing")
        made = self.search.step(self.oracle)
        self.n_generations += 1
        self.best_loss = min(self.best_loss, float(made.losses.min()))
        metrics = {
            "loss": float(made.losses.mean()),
            "lowest_loss": float(made.losses.min()),
            "best_loss": self.best_loss,
            "n_calls": float(self.oracle.n_asked),
        }
        every = self.choice.every_calls
        ended = self.search.next_calls > self.oracle.n_left
        if self.oracle.dev is None:
            self._try_out(tuple(self.search.numbers("means")))
        elif before // every < self.oracle.n_asked // every or ended:
            score = self._try_out(self._tried(made, others, before))
            metrics |= {"dev_metric": score.metric, "dev_loss": score.loss}
        listener.on_metrics(self.n_generations, metrics)
        shown = {"loss": metrics["loss"]}
        if self.oracle.dev is not None and self.chosen is not None:
            shown["dev"] = self.chosen.score.metric
        listener.on_progress(_PHASE, self.oracle.n_asked, self.oracle.n_calls, shown)

    def _tried(self, made: Generation, others: list[Any], before: int) -> Numbers:
        if self.choice.by != "candidate":
            return tuple(self.search.numbers(self.choice.by))
        every = self.choice.every_calls
        at = (self.oracle.n_asked // every) * every - before - 1
        at = at if 0 <= at < len(made.numbers) else len(made.numbers) - 1
        found = list(others)
        found[made.block] = made.numbers[at]
        return tuple(found)

    def _try_out(self, numbers: Numbers) -> DevScore:
        """Try a prompt, and keep it where it is better; without dev examples it is kept untried."""
        if self.oracle.dev is None:
            score = DevScore(0.0, 0.0)
            self.chosen = Tried(self.oracle.n_asked, score, numbers)
            return score
        (score,) = self.oracle.choose_by(self.search.prompts_of(numbers))
        self._n_tried += 1
        if score.better_than(None if self.chosen is None else self.chosen.score):
            self.chosen = Tried(self.oracle.n_asked, score, numbers)
        return score

    def state(self) -> dict[str, Any]:
        """All that goes on, as checkpoints hold it: plain values and tensors."""
        chosen = None
        if self.chosen is not None:
            score = self.chosen.score
            chosen = {
                "n_asked": self.chosen.n_asked,
                "metric": score.metric,
                "loss": score.loss,
                "numbers": list(self.chosen.numbers),
            }
        return as_tensors(
            {
                "search": self.search.state(),
                "oracle": self.oracle.state(),
                "chosen": chosen,
                "n_generations": self.n_generations,
                "best_loss": self.best_loss,
                "n_tried": self._n_tried,
            }
        )

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        state = as_arrays(state)
        self.search.load_state(state["search"])
        self.oracle.load_state(state["oracle"])
        self.n_generations = int(state["n_generations"])
        self.best_loss = float(state["best_loss"])
        self._n_tried = int(state["n_tried"])
        held = state["chosen"]
        self.chosen = None
        if held is not None:
            numbers = tuple(None if z is None else np.asarray(z) for z in held["numbers"])
            score = DevScore(float(held["metric"]), float(held["loss"]))
            self.chosen = Tried(int(held["n_asked"]), score, numbers)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of `run`."""
        self.load_state(checkpoint.shared)

    def _save(self, checkpoints: Checkpoints | None) -> None:
        if checkpoints is not None:
            checkpoints.save(self.n_generations, self.state(), {})


def as_tensors(tree: Any) -> Any:
    """A tree of plain values with tensors in the place of arrays."""
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(tree.copy())
    if isinstance(tree, Mapping):
        return {key: as_tensors(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [as_tensors(value) for value in tree]
    return tree


def as_arrays(tree: Any) -> Any:
    """The same with arrays again in the place of tensors."""
    if isinstance(tree, torch.Tensor):
        return tree.numpy().copy()
    if isinstance(tree, Mapping):
        return {key: as_arrays(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [as_arrays(value) for value in tree]
    return tree
