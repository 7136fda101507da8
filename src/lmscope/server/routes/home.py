"""The first page, the grids of suites and models."""

from fastapi import APIRouter

from lmscope.server.schemas.home import Grid, Home

router = APIRouter(tags=["home"])


@router.get("/home")
def home() -> Home:
    """Models, suites, dictionaries and runs under the served folders, and what cannot be shown."""
    raise NotImplementedError


@router.get("/suites/{run}")
def suite(run: str) -> Grid:
    """The dictionaries of a run that trained several."""
    raise NotImplementedError


@router.get("/models/{model}")
def model(model: str) -> Grid:
    """All dictionaries of a model."""
    raise NotImplementedError
