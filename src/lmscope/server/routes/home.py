"""The first page, the grids of suites and models."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from lmscope.server.context import Context, context_of
from lmscope.server.responses import sealed
from lmscope.server.schemas.home import Grid, Home
from lmscope.server.views import grid
from lmscope.server.views import home as view

router = APIRouter(tags=["home"])
Served = Annotated[Context, Depends(context_of)]


@router.get("/home", response_model=Home)
def home(request: Request, context: Served) -> Response:
    """Models, suites, dictionaries and runs under the served folders, and what cannot be shown."""
    return sealed(request, view.home(context.library, read_only=context.settings.read_only))


@router.get("/suites/{run}", response_model=Grid)
def suite(request: Request, context: Served, run: str) -> Response:
    """The dictionaries of a run that trained several."""
    return sealed(request, grid.suite_grid(context.library, context.library.run(run)))


@router.get("/models/{model}", response_model=Grid)
def model(request: Request, context: Served, model: str) -> Response:
    """All dictionaries of a model."""
    return sealed(request, grid.model_grid(context.library, context.library.model(model)))
