"""Runs: what was asked, their curves, and a stream of what a running one writes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from lmscope.server.context import Context, context_of
from lmscope.server.responses import sealed
from lmscope.server.schemas.run import Curves, LiveUpdate, RunPage
from lmscope.server.views import run as view
from lmscope.server.views.stream import EventStream, updates

router = APIRouter(prefix="/runs", tags=["runs"])
Served = Annotated[Context, Depends(context_of)]


@router.get("/{run}", response_model=RunPage)
def run_page(request: Request, context: Served, run: str) -> Response:
    """A run."""
    return sealed(request, view.run_page(context.library, context.library.run(run)))


@router.get("/{run}/curves", response_model=Curves)
def curves(
    request: Request,
    context: Served,
    run: str,
    names: Annotated[list[str], Query(description="Metrics; all where none is named.")] = [],
    points: Annotated[
        int, Query(ge=10, le=5000, description="Points of each line, at most.")
    ] = 800,
) -> Response:
    """Metrics by step."""
    found = view.curves(context.library, context.library.run(run), names, points)
    return sealed(request, found)


@router.get(
    "/{run}/stream",
    response_class=EventStream,
    responses={200: {"model": LiveUpdate, "description": "The data of each `update`."}},
)
async def stream(
    context: Served,
    run: str,
    after: Annotated[int, Query(ge=0, description="The last step that is known.")] = 0,
    names: Annotated[list[str], Query(description="Metrics; all where none is named.")] = [],
) -> Response:
    """Server-sent events `update` (a LiveUpdate each) until the run ends, then one event `end`."""
    found = context.library.run(run)
    return EventStream(updates(context, found.id, after, names))
