"""Curves of a run, thinned to what a screen shows."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from lmscope.core.errors import did_you_mean
from lmscope.server.failures import NotFound
from lmscope.server.library.journals import Curve, Metrics
from lmscope.server.schemas.common import Line

MOST_POINTS: Final = 400_000
"""Of one answer; with more lines each has fewer."""
_FEWEST: Final = 10


def lines(
    metrics: Metrics, names: Sequence[str], points: int, *, after: int = -1, prefix: str = ""
) -> list[Line]:
    """Metrics as lines.

    Args:
        metrics: Of a run.
        names: Which; all where none is named.
        points: Of each line, at most.
        after: Only what comes after this step; lines without such points are left out.
        prefix: What is taken from the beginning of their names.

    Raises:
        NotFound: There is no such metric.
    """
    known = metrics.names
    if missing := [name for name in names if name not in set(known)]:
        raise NotFound(
            f"The run has no metric '{missing[0][:200]}'.{did_you_mean(missing[0], known)}"
        )
    wanted = list(dict.fromkeys(names)) or known
    points = max(_FEWEST, min(points, MOST_POINTS // max(1, len(wanted))))
    found = ((name, thin(metrics.curve(name, after), points)) for name in wanted)
    return [
        Line(name=name.removeprefix(prefix), x=curve.x.tolist(), y=_plain(curve.y))
        for name, curve in found
        if after < 0 or len(curve.x)
    ]


def thin(curve: Curve, points: int) -> Curve:
    """Of each stretch of a curve its least and its largest value, so that no peak is lost.

    The first and the last point stay. A stretch without a finite value keeps its first point.

    Args:
        curve: By rising x.
        points: At most so many, at least 4.
    """
    n = len(curve.x)
    if n <= points:
        return curve
    size = -(-(n - 2) // ((points - 2) // 2))
    starts = np.arange(1, n - 1, size)
    inner = np.full(len(starts) * size, np.nan)
    inner[: n - 2] = curve.y[1:-1]
    stretches = inner.reshape(-1, size)
    known = np.isfinite(stretches)
    # Where no value is finite both are the first point.
    least = np.where(known, stretches, np.inf).argmin(axis=1)
    largest = np.where(known, stretches, -np.inf).argmax(axis=1)
    chosen = np.unique(np.concatenate([[0, n - 1], starts + least, starts + largest]))
    return Curve(curve.x[chosen], curve.y[chosen])


def _plain(values: np.ndarray) -> list[float | None]:
    found = values.tolist()
    if np.isfinite(values).all():
        return found
    return [value if math.isfinite(value) else None for value in found]
