"""What the model answers while a person waits."""

from fastapi import APIRouter

from lmscope.server.schemas.live import (
    ProbeAnswer,
    ProbeRequest,
    SteerAnswer,
    SteerRequest,
    WorkerState,
)

router = APIRouter(prefix="/live", tags=["live"])


@router.get("")
def state() -> WorkerState:
    """Where the process with the model stands."""
    raise NotImplementedError


@router.post("/probe")
async def probe(request: ProbeRequest) -> ProbeAnswer:
    """Which latents fire on a text."""
    raise NotImplementedError


@router.post("/steer")
async def steer(request: SteerRequest) -> SteerAnswer:
    """How a prompt goes on while latents are changed."""
    raise NotImplementedError
