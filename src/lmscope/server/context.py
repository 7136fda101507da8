"""Context: what the routes of one server share."""

import asyncio
import importlib
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from lmscope.server.settings import ServeSettings

REFRESH_S = 1.0
"""The served folders are looked at once in so many seconds, however many requests there are."""


@dataclass
class Context:
    """The settings, what lies on disk, the process with the model, and the jobs."""

    settings: ServeSettings
    library: Any
    live: Any
    jobs: Any
    _refreshed: float = field(default=float("-inf"), init=False)

    @classmethod
    def of(cls, settings: ServeSettings) -> "Context":
        """The context of a server; nothing is started and no file opened before it is asked for."""
        library = _made("lmscope.server.library.library", "Library", settings.folders)
        live = _made("lmscope.server.live.client", "LiveModel", settings)
        jobs = _made("lmscope.server.work.queue", "JobQueue", settings)
        return cls(settings, library, live, jobs)

    async def refresh(self) -> None:
        """Notice what changed on disk, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._refreshed < REFRESH_S:
            return
        self._refreshed = now
        await asyncio.to_thread(self.library.refresh)

    async def close(self) -> None:
        """End the process with the model and the running job; close what is open."""
        await self.live.close()
        await self.jobs.close()
        await asyncio.to_thread(self.library.close)


class _NotYet:
    """Stands for a part that is not written yet; gone before the first release."""

    def __init__(self, name: str) -> None:
        self._name = name

    def refresh(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        async def nothing() -> None: ...

        if name == "close":
            return (lambda: None) if self._name == "Library" else nothing
        raise NotImplementedError(f"{self._name}.{name}")


def _made(module: str, name: str, *arguments: Any) -> Any:
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return _NotYet(name)
    return getattr(found, name)(*arguments) if hasattr(found, name) else _NotYet(name)


async def context_of(request: Request) -> Context:
    """The context of the server that answers, its library as it is now on disk."""
    context: Context = request.app.state.context
    await context.refresh()
    return context
