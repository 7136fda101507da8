"""A dictionary in a line, as every page shows it."""

from lmscope.server.library.entries import DictionaryEntry
from lmscope.server.schemas.home import DictionaryLine


def dictionary_line(entry: DictionaryEntry) -> DictionaryLine:
    """What the library knows of a dictionary, in a line."""
    site, d_read = entry.write_site, entry.d_read
    newest = entry.atlases[0] if entry.atlases else None
    return DictionaryLine(
        id=entry.id,
        name=entry.name,
        model=entry.model,
        reads=entry.reads,
        writes=entry.writes,
        layer=None if site is None else site.layer,
        part="" if site is None else site.part,
        n_latents=entry.n_latents,
        expansion=entry.n_latents / d_read if d_read else None,
        sparsity=entry.sparsity,
        l0=entry.figures.l0,
        explained_variance_centred=entry.figures.explained_variance_centred,
        ce_recovered_zero=entry.figures.ce_recovered_zero,
        dead_fraction=entry.figures.dead_fraction,
        run=entry.run,
        status=entry.status,
        has_atlas=newest is not None,
        n_labels_known=None if newest is None else newest.n_known,
    )
