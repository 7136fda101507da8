"""Jobs: long work as runs in processes of their own."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from lmscope.server.schemas.work import JobLine, JobRequest, Jobs

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("")
def jobs() -> Jobs:
    """All jobs since the server started."""
    raise NotImplementedError


@router.post("", status_code=202)
def start(request: JobRequest) -> JobLine:
    """Start a job; it waits while another one runs."""
    raise NotImplementedError


@router.get("/{job}")
def job_line(job: str) -> JobLine:
    """A job."""
    raise NotImplementedError


@router.delete("/{job}")
def cancel(job: str) -> JobLine:
    """Stop a job; its run can be resumed."""
    raise NotImplementedError


@router.get("/{job}/stream")
async def stream(job: str) -> StreamingResponse:
    """Server-sent events `job` (a JobLine each) until it ends, then one event `end`."""
    raise NotImplementedError
