"""The map of a dictionary: two coordinates a latent, with what the atlas says of each."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.explain.protocols import NOT_KNOWN
from lmscope.server.context import Context
from lmscope.server.library.entries import DictionaryEntry
from lmscope.server.schemas.dictionary import FeatureMap
from lmscope.server.views.comparison import rows_of


async def feature_map(context: Context, dictionary: str, atlas: str | None) -> FeatureMap:
    """Two coordinates a latent, from the decoder rows.

    Raises:
        NotFound: The dictionary or the atlas is not served.
        LmscopeError: Its rows cannot be read.
    """
    entry: DictionaryEntry = context.library.dictionary(dictionary)
    if atlas is not None:
        context.library.atlas_entry(dictionary, atlas)
    found = await context.live.ask("map", {"rows": vars(rows_of(context, entry))})
    if not entry.atlases:
        return FeatureMap(**found, labels=[""] * len(found["latents"]))
    return await asyncio.to_thread(_with_labels, context, dictionary, atlas, found)


def _with_labels(
    context: Context, dictionary: str, atlas: str | None, found: Mapping[str, Any]
) -> FeatureMap:
    with context.library.atlas(dictionary, atlas) as opened:
        labels = shown_labels(opened, found["latents"])
        density = opened.columns.values["density"][np.asarray(found["latents"], dtype=np.int64)]
    return FeatureMap(**{**found, "density": density.tolist()}, labels=labels)


def shown_labels(atlas: Atlas, latents: Sequence[int]) -> list[str]:
    """Labels as readers see them; those that are not known are told without a look at each."""
    known = atlas.columns.values["known"]
    asked = frozenset[int]().union(*(reader.latents() for reader in atlas.labels))
    return [
        next(atlas.said(latent))[1].shown if known[latent] else NOT_KNOWN if latent in asked else ""
        for latent in latents
    ]
