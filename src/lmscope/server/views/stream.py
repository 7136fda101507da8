"""What a page that watches a run is told: new points and events, twice a second, until the run ends."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.responses import StreamingResponse

from lmscope.core.errors import LmscopeError
from lmscope.server.context import Context
from lmscope.server.library.entries import RunEntry
from lmscope.server.library.library import Library
from lmscope.server.responses import to_bytes
from lmscope.server.schemas.run import LiveUpdate
from lmscope.server.views.curves import lines
from lmscope.server.views.run import progress_of, run_event

POLL_S: Final = 0.5
QUIET_S: Final = 5.0
"""Also where nothing is new an update comes so often: the elapsed time goes on, and lost clients show."""
_POINTS: Final = 800
_RATE_OVER: Final = 60
"""Looks over which the rate is taken; half a minute."""
_GOES_ON: Final = ("created", "running")


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncIterator[bytes], status_code: int = 200) -> None:
        super().__init__(content, status_code, headers={"Cache-Control": "no-store"})


@dataclass
class Watch:
    """What one client was told of a run so far.

    Args:
        step: The last one that it knows.
        names: Metrics that it wants; all where none is named.
    """

    step: int
    names: Sequence[str] = ()
    n_events: int = -1
    looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_RATE_OVER))
    _told: tuple[object, ...] = ()
    _told_at: float = float("-inf")

    def look(self, library: Library, run: RunEntry, now: float) -> LiveUpdate | None:
        """What is new by now; None where there is nothing to say."""
        metrics, events = library.journals.of(run.path)
        first = self.n_events < 0
        fresh = [] if first else events.since(self.n_events)
        self.n_events = events.n
        progress, status = progress_of(run, metrics, events), run.status
        state = (status, metrics.step, progress["phase"])
        if state == self._told and not fresh and now - self._told_at < QUIET_S:
            return None
        known = set(metrics.names)
        wanted = [name for name in self.names if name in known]
        has_new = metrics.step > self.step and (not self.names or wanted)
        rate = self._rate(now, progress["done"])
        left = (progress["total"] or 0) - (progress["done"] or 0)
        update = LiveUpdate(
            status=status,
            error=run.record.error,
            step=metrics.step,
            elapsed_s=run.elapsed_s,
            lines=lines(metrics, wanted, _POINTS, after=self.step) if has_new else [],
            events=[run_event(row) for row in fresh],
            rate=rate,
            left_s=left / rate if rate and progress["total"] is not None and left >= 0 else None,
            **progress,
        )
        self.step, self._told, self._told_at = metrics.step, state, now
        return update

    def _rate(self, now: float, done: int | None) -> float | None:
        """Steps a second since the first of the last looks at which a step had been done."""
        if done is None:
            self.looks.clear()
            return None
        if not self.looks or done != self.looks[-1][1]:
            self.looks.append((now, done))
        (then, before), (last, after) = self.looks[0], self.looks[-1]
        return (after - before) / (last - then) if after > before and last > then else None


async def updates(
    context: Context, run_id: str, after: int, names: Sequence[str] = ()
) -> AsyncIterator[bytes]:
    """Server-sent events `update` until the run ends or is removed, then one event `end`.

    Args:
        context: The server.
        run_id: Which run.
        after: The last step that the client knows.
        names: Metrics that it wants; all where none is named.
    """
    watch = Watch(after, names)
    while True:
        try:
            run = context.library.run(run_id)
            goes_on = run.status in _GOES_ON
            update = await asyncio.to_thread(watch.look, context.library, run, time.monotonic())
        except LmscopeError as error:  # it was removed, or cannot be read any more
            yield _event("end", {"message": str(error)})
            return
        if update is not None:
            yield _event("update", update)
        if not goes_on:
            yield _event("end", {"message": None})
            return
        await asyncio.sleep(POLL_S)
        await context.refresh()


def _event(name: str, data: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + to_bytes(data) + b"\n\n"
