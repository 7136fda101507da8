"""What atlases know of single latents, for pages that show many of them."""

from collections.abc import Iterable

from lmscope.atlas.listing import Summary
from lmscope.server.library.library import Library


def summaries(
    library: Library, dictionary: str, latents: Iterable[int], atlas: str | None = None
) -> dict[int, Summary]:
    """A line on each latent, by its number.

    Raises:
        NotFound: The dictionary has no atlas.
        ArtifactError: The atlas is damaged.
    """
    wanted = sorted(set(latents))
    with library.atlas(dictionary, atlas) as opened:
        return {row.latent: row for row in opened.listed(wanted)}
