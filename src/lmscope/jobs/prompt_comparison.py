"""Runs that tuned prompts for one task, beside each other on the same test examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError, RunError
from lmscope.core.rng import numpy_generator
from lmscope.display.tables import Table
from lmscope.evaluation.statistics import Estimate
from lmscope.jobs.prompt import REPORT_FILE
from lmscope.jobs.prompt_report import PromptReport
from lmscope.prompting.losses import METRICS
from lmscope.runs.run import Run

_RESAMPLES = 1000


class ComparedRun(Config):
    """One run."""

    run: str
    method: str
    seed: int
    n_numbers: int
    n_calls: int
    train_loss: float
    dev_metric: float
    metric: Estimate | None = None
    """On the test examples."""
    less_first: Estimate | None = None
    """The metric less the first run's, on the same examples."""


class Comparison(Config):
    """All of them."""

    task: str
    metric: str
    runs: tuple[ComparedRun, ...]

    def table(self) -> Table:
        """One row a run."""
        columns = ("run", "method", "numbers", "calls", "train loss", "dev", self.metric)
        rows = tuple(
            (
                Path(one.run).name,
                one.method,
                one.n_numbers,
                one.n_calls,
                f"{one.train_loss:.4f}",
                f"{one.dev_metric:.4f}",
                None if one.metric is None else str(one.metric),
                None if one.less_first is None else str(one.less_first),
            )
            for one in self.runs
        )
        return Table((*columns, "less the first"), rows, caption=self.task)


def compare_prompts(paths: Sequence[Path]) -> Comparison:
    """Read the reports of runs and compare what is comparable.

    Raises:
        RecipeError: Fewer than two runs, or runs of several tasks.
        RunError: A run has not tuned a prompt to its end.
    """
    if len(paths) < 2:
        raise RecipeError(f"{len(paths)} runs were named: name two or more to compare.")
    reports = [_report(path) for path in paths]
    first = reports[0]
    if others := [r.task for r in reports if r.task != first.task]:
        raise RecipeError(
            f"Runs of '{first.task}' and '{others[0]}' cannot be compared: name runs of one task."
        )
    rows = tuple(_row(path, one, first) for path, one in zip(paths, reports, strict=True))
    return Comparison(task=first.task, metric=first.metric, runs=rows)


def _report(path: Path) -> PromptReport:
    file = path / "artifacts" / REPORT_FILE
    if not file.is_file():
        raise RunError(
            f"'{path}' has not tuned a prompt to its end: finish it with `lmscope prompt --resume {path}`, or name "
            "another run."
        )
    return PromptReport.load(file)


def _row(path: Path, report: PromptReport, first: PromptReport) -> ComparedRun:
    recipe: dict[str, Any] = Run.open(path).recipe_values
    method = recipe.get("method", {})
    group = method.get("group", 1)
    name = method.get("kind", "bbt") + (f", groups of {group}" if group > 1 else "")
    return ComparedRun(
        run=str(path),
        method=name,
        seed=int(recipe.get("seed", 0)),
        n_numbers=report.n_numbers,
        n_calls=report.n_calls,
        train_loss=report.train_loss,
        dev_metric=report.dev_metric,
        metric=None if report.tuned is None else report.tuned.metric,
        less_first=_difference(report, first),
    )


def _difference(report: PromptReport, first: PromptReport) -> Estimate | None:
    """The paired difference, where both were measured on the same examples."""
    one, two = report.examples, first.examples
    if report is first or not one or [e.label for e in one] != [e.label for e in two]:
        return None
    labels = torch.tensor([e.label for e in one])
    scores = [torch.tensor([e.tuned for e in examples]) for examples in (one, two)]
    measure, n = METRICS[report.metric], len(labels)

    def gap(chosen: Int[Tensor, "draw"]) -> float:
        found = [float(measure(_one(s[chosen]), labels[chosen])) for s in scores]
        return found[0] - found[1]

    rng = numpy_generator(0, "prompt-comparison")
    draws = [gap(torch.from_numpy(rng.integers(0, n, n))) for _ in range(_RESAMPLES)]
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(value=gap(torch.arange(n)), low=float(low), high=float(high), n=n)


def _one(scores: Float[Tensor, "example label"]) -> Float[Tensor, "1 example label"]:
    return scores[None]
