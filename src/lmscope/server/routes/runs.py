"""Runs: what was asked, their curves, and a stream of what a running one writes."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from lmscope.server.schemas.run import Curves, RunPage

router = APIRouter(prefix="/runs", tags=["runs"])


@router.get("/{run}")
def run_page(run: str) -> RunPage:
    """A run."""
    raise NotImplementedError


@router.get("/{run}/curves")
def curves(
    run: str,
    names: Annotated[list[str], Query(description="Metrics; all where none is named.")] = [],
    points: Annotated[
        int, Query(ge=10, le=5000, description="Points of each line, at most.")
    ] = 800,
) -> Curves:
    """Metrics by step."""
    raise NotImplementedError


@router.get("/{run}/stream")
async def stream(run: str, after: Annotated[int, Query(ge=0)] = 0) -> StreamingResponse:
    """Server-sent events `update` (a LiveUpdate each) until the run ends, then one event `end`."""
    raise NotImplementedError
