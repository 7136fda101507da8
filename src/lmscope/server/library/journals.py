"""What runs write while they go on: metrics and events, of which each look reads only what is new."""

import threading
from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from jaxtyping import Float64, Int64

METRICS_FILE: Final = "metrics.jsonl"
EVENTS_FILE: Final = "events.jsonl"
EVENTS_KEPT: Final = 200
_RUNS_KEPT: Final = 8


class Curve(NamedTuple):
    """One metric by step; NaN where it was not finite."""

    x: Int64[np.ndarray, "point"]
    y: Float64[np.ndarray, "point"]


class _Tail:
    """The whole lines of a file that only grows; read from the start again when it was written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode, self._offset, self._time = -1, 0, -1

    def read(self) -> tuple[bool, list[Any]]:
        """Whether it begins from the start, and the rows since the last look; damaged lines are left out."""
        try:
            found = self._path.stat()
        except OSError:
            anew, self._inode, self._offset = self._offset > 0, -1, 0
            return anew, []
        anew = found.st_ino != self._inode or found.st_size < self._offset
        if anew:
            self._inode, self._offset = found.st_ino, 0
        elif found.st_size == self._offset:
            return False, []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        end = data.rfind(b"\n") + 1  # what follows is still being written
        self._offset += end
        return anew, list(_rows(data[:end]))


def _rows(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n"):
        try:
            row = orjson.loads(line) if line else None
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict):
            yield row


class _Block:
    """Rows that hold the same metrics."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.steps = array("q")
        self.values = array("d")

    def column(self, name: str) -> Curve:
        # Copied out at once: an array that is looked into cannot grow.
        values = np.frombuffer(self.values).reshape(-1, len(self.names))
        return Curve(np.array(self.steps, dtype=np.int64), values[:, self.names.index(name)].copy())


class Metrics:
    """The metrics of a run, as `metrics.jsonl` has them by now."""

    def __init__(self, path: Path) -> None:
        self._tail = _Tail(path)
        self._lock = threading.Lock()
        self._blocks: dict[tuple[str, ...], _Block] = {}
        self._last: dict[str, float] = {}
        self._step = 0

    def refresh(self) -> None:
        """Read what was written since the last look."""
        with self._lock:
            anew, rows = self._tail.read()
            if anew:
                self._blocks, self._last, self._step = {}, {}, 0
            for row in rows:
                self._add(row)

    @property
    def step(self) -> int:
        """The last step there is; 0 before the first."""
        return self._step

    @property
    def names(self) -> list[str]:
        """All metrics, in the order in which they came."""
        return list(self._last)

    @property
    def last(self) -> dict[str, float]:
        """The last value of each; NaN where it was not finite."""
        return dict(self._last)

    def curve(self, name: str, after: int = -1) -> Curve:
        """One metric, the points after a step.

        Raises:
            KeyError: There is no such metric.
        """
        with self._lock:
            found = [block.column(name) for block in self._blocks.values() if name in block.names]
        if not found:
            raise KeyError(name)
        x = np.concatenate([one.x for one in found])
        y = np.concatenate([one.y for one in found])
        if len(found) > 1:
            order = np.argsort(x, kind="stable")
            x, y = x[order], y[order]
        first = int(np.searchsorted(x, after, side="right"))
        return Curve(x[first:], y[first:])

    def _add(self, row: Mapping[str, Any]) -> None:
        step = row.get("step")
        values = {
            name: float("nan") if value is None else float(value)
            for name, value in row.items()
            if name != "step" and (value is None or isinstance(value, int | float))
        }
        if not isinstance(step, int) or not values:
            return
        names = tuple(values)
        block = self._blocks.get(names)
        if block is None:
            block = self._blocks[names] = _Block(names)
        block.steps.append(step)
        block.values.extend(values.values())
        self._last |= values
        self._step = max(self._step, step)


class Events:
    """The events of a run, as `events.jsonl` has them by now; of all but the last the sum only."""

    def __init__(self, path: Path) -> None:
        self._tail = _Tail(path)
        self._lock = threading.Lock()
        self._clear()

    def refresh(self) -> None:
        """Read what was written since the last look."""
        with self._lock:
            anew, rows = self._tail.read()
            if anew:
                self._clear()
            for row in rows:
                self._add(row)

    def since(self, number: int) -> list[dict[str, Any]]:
        """Those from a number on, as far as they are kept; 0 is the first one."""
        with self._lock:
            kept = list(self.kept)
        return kept[max(0, len(kept) - max(0, self.n - number)) :]

    def _clear(self) -> None:
        self.n = 0
        self.kept: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self.results: dict[str, dict[str, Any]] = {}
        self.phase: dict[str, Any] = {}
        self.n_steps: int | None = None

    def _add(self, row: dict[str, Any]) -> None:
        self.n += 1
        self.kept.append(row)
        if row.get("event") == "result" and isinstance(row.get("figures"), dict):
            self.results[str(row.get("name"))] = row["figures"]
        if row.get("event") == "phase":
            self.phase = row
            if isinstance(row.get("n_steps"), int):
                self.n_steps = row["n_steps"]


class Journals:
    """Metrics and events of the runs that were looked at last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[Metrics, Events]] = OrderedDict()

    def of(self, run: Path) -> tuple[Metrics, Events]:
        """Those of a run's folder, as they are by now."""
        with self._lock:
            if run not in self._known:
                self._known[run] = (Metrics(run / METRICS_FILE), Events(run / EVENTS_FILE))
            self._known.move_to_end(run)
            while len(self._known) > _RUNS_KEPT:
                self._known.popitem(last=False)
            metrics, events = self._known[run]
        metrics.refresh()
        events.refresh()
        return metrics, events
