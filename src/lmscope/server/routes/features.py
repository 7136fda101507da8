"""Features, and what people write down about them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from lmscope.server.context import Context, context_of
from lmscope.server.failures import NotFound, ReadOnly
from lmscope.server.responses import sealed
from lmscope.server.routes.dictionaries import AtlasId
from lmscope.server.schemas.feature import FeaturePage, NoteBody
from lmscope.server.views import feature, notes
from lmscope.server.views.lines import dictionary_line

router = APIRouter(prefix="/dictionaries/{dictionary}/features/{latent}", tags=["features"])
Latent = Annotated[int, Path(ge=0, le=2**31 - 1)]


@router.get("", response_model=FeaturePage)
def feature_page(
    request: Request,
    context: Annotated[Context, Depends(context_of)],
    dictionary: str,
    latent: Latent,
    atlas: AtlasId = None,
) -> Response:
    """A feature."""
    entry = context.library.dictionary(dictionary)
    found = context.library.atlas_entry(dictionary, atlas)
    with context.library.atlas(dictionary, found.digest) as opened:
        page = feature.feature_page(
            opened,
            latent,
            dictionary=dictionary_line(entry),
            atlas_id=found.id,
            weights=entry.folder,
        )
    return sealed(request, page)


@router.put("/note")
def write_note(
    context: Annotated[Context, Depends(context_of)],
    dictionary: str,
    latent: Latent,
    note: NoteBody,
) -> NoteBody:
    """Replace what is written down about a feature."""
    if context.settings.read_only:
        raise ReadOnly(
            "This server changes nothing, so notes are not kept. Start it without --read-only."
        )
    entry = context.library.dictionary(dictionary)
    if not entry.atlases:
        raise NotFound(f"'{entry.name}' has no atlas, so it has no features to write about.")
    # A packed atlas keeps no notes, but the same dictionary may have one in a run, where they are kept.
    kept = next((one for one in entry.atlases if not one.is_packed), entry.atlases[0])
    with context.library.atlas(dictionary, kept.digest) as opened:
        return notes.write_note(opened, latent, note)
