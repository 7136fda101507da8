"""Context: what the routes of one server share."""

import asyncio
import time
from dataclasses import dataclass, field

from fastapi import Request

from lmscope.server.library.graph_notes import GraphNotes
from lmscope.server.library.graphs import GraphShelf
from lmscope.server.library.library import Library
from lmscope.server.library.othello_labels import OthelloLabels
from lmscope.server.live.client import LiveModel
from lmscope.server.settings import ServeSettings
from lmscope.server.work.queue import JobQueue

REFRESH_S = 1.0
"""The served folders are looked at once in so many seconds, however many requests there are."""


@dataclass
class Context:
    """The settings, what lies on disk, the process with the model, the jobs, and graphs in memory."""

    settings: ServeSettings
    library: Library
    live: LiveModel
    jobs: JobQueue
    graphs: GraphShelf = field(default_factory=GraphShelf)
    graph_notes: GraphNotes = field(default_factory=GraphNotes)
    othello_labels: OthelloLabels = field(default_factory=OthelloLabels)
    _refreshed: float = field(default=float("-inf"), init=False)

    @classmethod
    def of(cls, settings: ServeSettings) -> "Context":
        """The context of a server; nothing is started and no file opened before it is asked for."""
        return cls(settings, Library(settings.folders), LiveModel(settings), JobQueue(settings))

    async def refresh(self) -> None:
        """Notice what changed on disk, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._refreshed < REFRESH_S:
            return
        self._refreshed = now
        await asyncio.to_thread(self.library.refresh)

    async def close(self) -> None:
        """End the process with the model and the running job; close what is open."""
        await asyncio.gather(self.live.close(), self.jobs.close())
        await asyncio.to_thread(self.library.close)


async def context_of(request: Request) -> Context:
    """The context of the server that answers, its library as it is now on disk."""
    context: Context = request.app.state.context
    await context.refresh()
    return context
