"""Jobs as pages show them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from lmscope.core.errors import LmscopeError
from lmscope.server.context import Context
from lmscope.server.library.library import Library
from lmscope.server.responses import to_bytes
from lmscope.server.schemas.work import JobLine, Jobs
from lmscope.server.work.order import recipes
from lmscope.server.work.queue import ENDED, Job

POLL_S: Final = 0.3
QUIET_S: Final = 5.0
"""Also where nothing is new the job is told so often, so that lost clients show."""


def all_jobs(context: Context) -> Jobs:
    """All jobs that are remembered, newest first."""
    return Jobs(
        jobs=[job_line(context.library, job) for job in context.jobs.jobs()],
        free=context.jobs.is_free,
        read_only=context.settings.read_only,
        recipes=recipes(),
    )


def job_line(library: Library, job: Job) -> JobLine:
    """A job in a line."""
    return JobLine(
        id=job.id,
        verb=job.order.verb,
        title=job.order.title,
        state=job.state,
        run=None if job.folder is None else _run_id(library, job.folder),
        **vars(job.progress),
        message=job.message,
        created=job.created,
        command=job.order.command,
    )


async def job_updates(context: Context, job_id: str) -> AsyncIterator[bytes]:
    """Server-sent events `job` until it ends, then one event `end`."""
    told: JobLine | None = None
    quiet_s = 0.0
    while True:
        try:
            job = context.jobs.job(job_id)
        except LmscopeError:  # forgotten: so many came after it
            break
        line = job_line(context.library, job)
        if line != told or quiet_s >= QUIET_S:
            yield b"event: job\ndata: " + to_bytes(line) + b"\n\n"
            told, quiet_s = line, 0.0
        if job.state in ENDED:
            break
        await asyncio.sleep(POLL_S)
        quiet_s += POLL_S
        await context.refresh()
    yield b"event: end\ndata: {}\n\n"


def _run_id(library: Library, folder: Path) -> str | None:
    """The id of a run; None until the library has seen it, and once it is removed."""
    wanted = folder.resolve()
    return next((run.id for run in library.runs() if run.path.resolve() == wanted), None)
