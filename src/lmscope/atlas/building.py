"""From the shards of a census to a whole atlas on disk: the records of all latents, sealed, and their vectors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.logits import logit_effects
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.shards import ShardReader
from lmscope.atlas.similar import Similar, coactive_latents, decoder_neighbours
from lmscope.atlas.store import (
    ATLAS_FORMAT,
    ATLAS_KIND,
    CENSUS_FILE,
    VECTORS_FILE,
    CensusWriter,
    write_vectors,
)
from lmscope.atlas.stretches import CensusText
from lmscope.atlas.tables import records
from lmscope.core.errors import ArtifactError
from lmscope.core.protocols import Listener
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.language_model import LanguageModel
from lmscope.runs.artifact import write_artifact

BLOCK_LATENTS = 256
"""Latents whose records are written together; what was written stays after a stop."""


@dataclass(frozen=True)
class Counted:
    """Everything that the records of one dictionary are made of.

    Attributes:
        model: Whose head turns decoder rows into logits.
        dictionary: On the model's device.
        shards: All firings.
        corpus: What they lie in.
        meta: What the atlas says of itself.
        final_scale: Of the final norm, from `logits.final_scale`.
    """

    model: LanguageModel
    dictionary: Dictionary
    shards: ShardReader
    corpus: CensusText
    meta: AtlasMeta
    final_scale: float


def build(
    counted: Counted,
    target: Path | str,
    working: Path | str,
    listener: Listener,
    pause: Callable[[], None] = lambda: None,
) -> None:
    """Write an atlas as an artifact; equal censuses give equal bytes.

    Args:
        counted: What it is made of.
        target: The artifact's folder; nothing may be there.
        working: A file for the records until they are whole; what it holds already is not made again.
        listener: Hears of progress, in latents.
        pause: Called after each block of latents; may raise to stop.

    Raises:
        ArtifactError: Shards are missing or of another dictionary, or the disk is full.
        DataError: A decoder row is not finite.
    """
    _check(counted)
    with CensusWriter(working, counted.meta) as writer:
        if writer.notice is not None:
            listener.on_event("notice", {"message": writer.notice})
        _write_records(counted, writer, listener, pause)
        with write_artifact(target, ATLAS_KIND, ATLAS_FORMAT) as folder:
            writer.seal(folder / CENSUS_FILE)
            rows = counted.dictionary.W_dec.detach().float().cpu().numpy()
            write_vectors(folder / VECTORS_FILE, rows)
        writer.remove()


def _check(counted: Counted) -> None:
    """The shards cover the corpus.

    Raises:
        ArtifactError: They do not.
    """
    found = counted.shards.n_contexts, counted.shards.context_length
    wanted = counted.corpus.n_contexts, counted.corpus.context_length
    if found != wanted:
        raise ArtifactError(
            f"The shards in '{counted.shards.folder}' cover {found[0]} contexts of {found[1]} tokens, the "
            f"corpus has {wanted[0]} of {wanted[1]}: resume the census, or delete them and begin again."
        )


def _write_records(
    counted: Counted, writer: CensusWriter, listener: Listener, pause: Callable[[], None]
) -> None:
    n, start = counted.meta.n_latents, writer.n_written
    if start == n:
        return
    if not writer.written().issuperset(range(start)):
        start = 0  # not by this function, which writes them in order
    found = _records(counted, range(start, n), listener, pause)
    for first in range(start, n, BLOCK_LATENTS):
        writer.append(list(islice(found, BLOCK_LATENTS)))
        listener.on_progress("records", min(first + BLOCK_LATENTS, n), n, {})
        pause()


def _records(
    counted: Counted, latents: range, listener: Listener, pause: Callable[[], None]
) -> Iterator[LatentRecord]:
    dictionary, shards, options = counted.dictionary, counted.shards, counted.meta.options
    name, n = counted.meta.dictionary, options.n_neighbours
    listener.on_event("phase", {"phase": "similar", "dictionary": name})
    similar = Similar(
        decoder_neighbours(dictionary.W_dec.detach(), n, latents),
        coactive_latents(
            shards, dictionary.config.n_latents, n, options.coactivation_tokens, latents
        ),
    )
    pause()
    listener.on_event("phase", {"phase": "logits", "dictionary": name})
    logits = logit_effects(
        counted.model, dictionary, counted.final_scale, options.n_tokens, latents
    )
    pause()
    return records(shards, counted.corpus, similar, logits, options, latents)
