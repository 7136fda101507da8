"""Dictionaries: how good they are, their maps, and the lists of their features."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from lmscope.atlas.columns import Figures
from lmscope.server.context import Context, context_of
from lmscope.server.responses import sealed
from lmscope.server.schemas.dictionary import DictionaryPage, FeatureMap, FeatureRows
from lmscope.server.views import map as map_view
from lmscope.server.views.dictionary import DictionaryPages
from lmscope.server.views.features import Asked, feature_rows

router = APIRouter(prefix="/dictionaries/{dictionary}", tags=["dictionaries"])
_PAGES = DictionaryPages()
_MOST = 2**31 - 1
"""JSON of larger numbers is not read alike everywhere."""
AtlasId = Annotated[
    str | None, Query(description="Beginning of an atlas's digest; absent: the newest.")
]
Order = Literal[
    "latent",
    "n_fired",
    "density",
    "mean",
    "max",
    "n_documents",
    "document_share",
    "detection",
    "-latent",
    "-n_fired",
    "-density",
    "-mean",
    "-max",
    "-n_documents",
    "-document_share",
    "-detection",
]


@router.get("", response_model=DictionaryPage)
def dictionary_page(
    request: Request, context: Annotated[Context, Depends(context_of)], dictionary: str
) -> Response:
    """A dictionary."""
    library = context.library
    return sealed(request, _PAGES.page(library, library.dictionary(dictionary)))


@router.get("/map")
async def feature_map(
    context: Annotated[Context, Depends(context_of)], dictionary: str, atlas: AtlasId = None
) -> FeatureMap:
    """Two coordinates a latent."""
    return await map_view.feature_map(context, dictionary, atlas)


@router.get("/features", response_model=FeatureRows)
def features(
    request: Request,
    context: Annotated[Context, Depends(context_of)],
    dictionary: str,
    atlas: AtlasId = None,
    order: Order = "latent",
    label: Annotated[str | None, Query(max_length=500, description="Words of the label.")] = None,
    token: Annotated[
        str | None, Query(max_length=200, description="It fires on this token.")
    ] = None,
    near: Annotated[
        int | None, Query(ge=0, le=_MOST, description="Ranked by cosine to this latent.")
    ] = None,
    known: bool | None = None,
    dead: bool | None = None,
    dense: bool | None = None,
    starred: bool | None = None,
    tag: Annotated[str | None, Query(max_length=64)] = None,
    min_density: Annotated[float | None, Query(ge=0, le=1)] = None,
    max_density: Annotated[float | None, Query(ge=0, le=1)] = None,
    offset: Annotated[int, Query(ge=0, le=_MOST)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Response:
    """A stretch of the list of features that fit; `total` counts them all.

    What is searched by `near`, `token` or `label` comes the most fitting first, unless another order is asked for.
    """
    asked = Asked(
        order=order,
        label=label,
        token=token,
        near=near,
        figures=Figures(min_density, max_density, known, dead, dense),
        starred=starred,
        tag=tag,
        offset=offset,
        limit=limit,
    )
    with context.library.atlas(dictionary, atlas) as opened:
        return sealed(request, feature_rows(opened, asked))
