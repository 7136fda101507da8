"""Jobs: long work as runs in processes of their own."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from lmscope.server.context import Context, context_of
from lmscope.server.schemas.work import JobLine, JobRequest, Jobs
from lmscope.server.views import jobs as view
from lmscope.server.views.stream import EventStream
from lmscope.server.work.order import order

router = APIRouter(prefix="/jobs", tags=["jobs"])
Served = Annotated[Context, Depends(context_of)]
JobId = Annotated[str, Path(max_length=80)]


@router.get("")
def jobs(context: Served) -> Jobs:
    """All jobs since the server started."""
    return view.all_jobs(context)


@router.post("", status_code=202)
def start(context: Served, request: JobRequest) -> JobLine:
    """Start a job; it waits while another one runs."""
    return view.job_line(context.library, context.jobs.start(order(request, context.library)))


@router.get("/{job}")
def job_line(context: Served, job: JobId) -> JobLine:
    """A job."""
    return view.job_line(context.library, context.jobs.job(job))


@router.delete("/{job}")
def cancel(context: Served, job: JobId) -> JobLine:
    """Stop a job; its run can be resumed."""
    return view.job_line(context.library, context.jobs.cancel(job))


@router.get(
    "/{job}/stream",
    response_class=EventStream,
    responses={200: {"model": JobLine, "description": "The data of each `job`."}},
)
async def stream(context: Served, job: JobId) -> Response:
    """Server-sent events `job` (a JobLine each) until it ends, then one event `end`."""
    found = context.jobs.job(job)
    return EventStream(view.job_updates(context, found.id))
