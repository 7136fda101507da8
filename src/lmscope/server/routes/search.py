"""Search over all dictionaries, and two dictionaries side by side."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from lmscope.server.context import Context, context_of
from lmscope.server.schemas.search import Comparison, SearchAnswer
from lmscope.server.views import comparison
from lmscope.server.views import search as found

router = APIRouter(tags=["search"])


@router.get("/search")
def search(
    context: Annotated[Context, Depends(context_of)],
    q: Annotated[str, Query(min_length=1, max_length=500)],
    kind: Literal["label", "token", "near"] = "label",
    dictionary: Annotated[list[str], Query(description="Ids; all where none is named.")] = [],
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> SearchAnswer:
    """Features by label or token; or, for `near`, those whose decoder rows are nearest to `q`, a feature `DICTIONARY/LATENT`."""
    return found.search(context.library, q, kind, dictionary, limit)


@router.get("/compare")
async def compare(
    context: Annotated[Context, Depends(context_of)],
    a: Annotated[str, Query(max_length=300, description="Id of a dictionary.")],
    b: Annotated[str, Query(max_length=300, description="Id of another.")],
    kind: Annotated[
        Literal["split", "carried over", "lost"] | None, Query(description="Groups of this kind.")
    ] = None,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Comparison:
    """What the wider one makes of the latents of the narrower one."""
    return await comparison.compare(context, a, b, kind, offset, limit)
