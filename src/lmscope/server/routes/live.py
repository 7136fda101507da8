"""What the model answers while a person waits."""

from typing import Annotated

from fastapi import APIRouter, Depends

from lmscope.server.context import Context, context_of
from lmscope.server.schemas.live import (
    ProbeAnswer,
    ProbeRequest,
    SteerAnswer,
    SteerRequest,
    WorkerState,
)
from lmscope.server.views import live

router = APIRouter(prefix="/live", tags=["live"])


@router.get("")
def state(context: Annotated[Context, Depends(context_of)]) -> WorkerState:
    """Where the process with the model stands."""
    return context.live.state()


@router.post("/probe")
async def probe(
    context: Annotated[Context, Depends(context_of)], request: ProbeRequest
) -> ProbeAnswer:
    """Which latents fire on a text."""
    return await live.probe(context, request)


@router.post("/steer")
async def steer(
    context: Annotated[Context, Depends(context_of)], request: SteerRequest
) -> SteerAnswer:
    """How a prompt goes on while latents are changed."""
    return await live.steer(context, request)
