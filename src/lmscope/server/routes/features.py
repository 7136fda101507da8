"""Features, and what people write down about them."""

from typing import Annotated

from fastapi import APIRouter, Path

from lmscope.server.routes.dictionaries import AtlasId
from lmscope.server.schemas.feature import FeaturePage, NoteBody

router = APIRouter(prefix="/dictionaries/{dictionary}/features/{latent}", tags=["features"])
Latent = Annotated[int, Path(ge=0, le=2**31 - 1)]


@router.get("")
def feature_page(dictionary: str, latent: Latent, atlas: AtlasId = None) -> FeaturePage:
    """A feature."""
    raise NotImplementedError


@router.put("/note")
def write_note(dictionary: str, latent: Latent, note: NoteBody) -> NoteBody:
    """Replace what is written down about a feature."""
    raise NotImplementedError
