"""What every job does around its work: the run folder, who listens, and the plan of a dry run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lmscope.core.errors import ArtifactError, DataError, ModelError, RecipeError, SiteError
from lmscope.core.mesh import started_processes
from lmscope.core.processes import ALONE, Processes
from lmscope.core.protocols import Listener
from lmscope.core.rng import stream_seed
from lmscope.display.tables import Table
from lmscope.runs.followed import FollowedRun
from lmscope.runs.listing import remove_run
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal

PlanValue = str | int | float | bool | None
PlanRow = Mapping[str, PlanValue]
_WRONG_INPUT = (RecipeError, SiteError, ModelError, DataError, ArtifactError)


@dataclass(frozen=True)
class Plan:
    """What a job would do, as named figures; nothing was done to find out but reading.

    Attributes:
        values: By name, units in the names.
        tables: Rows of equal keys, by the table's name.
        shown: The tables for people; the others are for programs.
    """

    values: Mapping[str, PlanValue]
    tables: Mapping[str, Sequence[PlanRow]] = field(default_factory=dict)
    shown: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, PlanValue]]:
        """Name and figure, in the order of importance."""
        return list(self.values.items())

    def shown_tables(self) -> list[Table]:
        """The tables for people."""
        found = []
        for name in self.shown:
            rows = self.tables[name]
            columns = tuple(rows[0]) if rows else ()
            found.append(Table(columns, tuple(tuple(row.values()) for row in rows), caption=name))
        return found

    def to_mapping(self) -> dict[str, Any]:
        """Figures and all tables as JSON holds them."""
        tables = {name: [dict(row) for row in rows] for name, rows in self.tables.items()}
        return {**self.values, **tables}


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
    processes: Processes = ALONE,
) -> Iterator[tuple[Run, StopSignal]]:
    """A run folder, new or resumed, with its listeners; SIGTERM and Ctrl-C only ask it to stop.

    A new run that proves impossible before it made anything (a site that the model has not got, text
    that cannot be read) leaves no folder. Of several processes the first makes the run, hears its
    listeners and writes down what happens; the others follow it.

    Raises:
        RunError: The folder is in use, done, or began with another recipe.
        RecipeError: Several processes were started for a job of one.
    """
    if processes.world.size == 1 and (n := started_processes()) > 1:
        raise RecipeError(
            f"{n} processes were started, but the job '{recipe.job}' runs in one: leave torchrun out."
        )
    run = _open_run(recipe, root, resume, processes)
    for listener in listeners if processes.is_first else ():
        run.listen(listener)
    # Nothing of ours draws from torch's global generator; checkpoints hold it, and so equal runs have equal ones.
    torch.manual_seed(stream_seed(recipe.seed, "global"))
    try:
        with StopSignal() as stop, run:
            yield run, stop
    except _WRONG_INPUT:
        if resume is None and processes.is_first and run.made_nothing:
            remove_run(run.path)
        raise


def _open_run(
    recipe: Recipe, root: Path | str, resume: Path | str | None, processes: Processes
) -> Run:
    if not processes.is_first:
        return FollowedRun.of(processes.world.first(""))
    run = Run.create(root, recipe) if resume is None else Run.resume(resume, recipe)
    processes.world.first(str(run.path))
    return run
