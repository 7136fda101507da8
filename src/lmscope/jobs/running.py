"""What every job does around its work: the run folder, who listens, and the plan of a dry run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmscope.core.errors import DataError, ModelError, RecipeError, SiteError
from lmscope.core.protocols import Listener
from lmscope.core.rng import stream_seed
from lmscope.runs.listing import remove_run
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal

PlanValue = str | int | float | bool | None
_WRONG_INPUT = (RecipeError, SiteError, ModelError, DataError)


@dataclass(frozen=True)
class Plan:
    """What a job would do, as named figures; nothing was done to find out but reading.

    Attributes:
        values: By name, units in the names.
    """

    values: Mapping[str, PlanValue]

    def rows(self) -> list[tuple[str, PlanValue]]:
        """Name and figure, in the order of importance."""
        return list(self.values.items())

    def to_mapping(self) -> dict[str, PlanValue]:
        """The figures as JSON holds them."""
        return dict(self.values)


class Silent:
    """A listener that hears nothing."""

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Nothing."""

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """Nothing."""


@contextmanager
def running(
    recipe: Recipe,
    root: Path | str,
    listeners: Sequence[Listener],
    resume: Path | str | None,
) -> Iterator[tuple[Run, StopSignal]]:
    """A run folder, new or resumed, with its listeners; SIGTERM and Ctrl-C only ask it to stop.

    A new run that proves impossible before it made anything (a site that the model has not got, text
    that cannot be read) leaves no folder.

    Raises:
        RunError: The folder is in use, done, or began with another recipe.
    """
    run = Run.create(root, recipe) if resume is None else Run.resume(resume, recipe)
    for listener in listeners:
        run.listen(listener)
    # Nothing of ours draws from torch's global generator; checkpoints hold it, and so equal runs have equal ones.
    torch.manual_seed(stream_seed(recipe.seed, "global"))
    try:
        with StopSignal() as stop, run:
            yield run, stop
    except _WRONG_INPUT:
        if resume is None and run.made_nothing:
            remove_run(run.path)
        raise
