"""Curves of a run, thinned to what a screen shows."""

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
    inner = np.arange(1, n - 1)
    stretches = np.array_split(inner, (points - 2) // 2)
    kept = [0, n - 1]
    for stretch in stretches:
        values = curve.y[stretch]
        if np.isfinite(values).any():
            kept += [int(stretch[np.nanargmin(values)]), int(stretch[np.nanargmax(values)])]
        else:
            kept.append(int(stretch[0]))
    chosen = np.unique(kept)
    return Curve(curve.x[chosen], curve.y[chosen])


def _plain(values: np.ndarray) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]
