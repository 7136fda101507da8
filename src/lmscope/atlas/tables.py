"""Tables: the record of every latent, from the firing shards of a census.

Latents are worked on in blocks with a bounded number of firings, each block from all shards. A record
depends on its latent's firings and on the corpus only: it is the same bit for bit whatever the shards,
blocks and processes were.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Int64

from lmscope.atlas.block import Block, Spans, Tally
from lmscope.atlas.config import CensusOptions
from lmscope.atlas.example_groups import example_groups, silent_starts
from lmscope.atlas.logits import LogitEffects
from lmscope.atlas.record import (
    HELD_OUT_EVERY,
    N_HISTOGRAM_BINS,
    LatentRecord,
    TokenFirings,
    Weighted,
    histogram_edges,
)
from lmscope.atlas.shards import ShardReader
from lmscope.atlas.similar import Similar, blocks_of
from lmscope.atlas.stretches import CensusText, Stretches

FIRINGS_AT_ONCE: Final = 1 << 21
"""Firings of a block of latents: about 200 MiB."""


def records(
    shards: ShardReader,
    corpus: CensusText,
    similar: Similar,
    logits: LogitEffects,
    options: CensusOptions,
    latents: range,
) -> Iterator[LatentRecord]:
    """The records of a range of latents, in order; see `Tables.records`.

    Raises:
        ArtifactError: Shards and corpus do not belong together, or a shard is damaged.
        DataError: Not one position counts.
    """
    yield from Tables(shards, corpus, options).records(similar, logits, latents)


class Tables:
    """The tables of one census; the corpus is looked through once, when this is made.

    Memory: 10 bytes a position of the corpus, and about 100 bytes for each firing of a block.

    Attributes:
        shards: All firings.
        stretches: The corpus.
        options: How much is kept.
        firings_at_once: Firings of a block, unless one latent has more; it changes no record.
        n_counted: Positions that count.
        n_seen: Occurrences of each token on positions that count, in contexts that are not held out.

    Args:
        shards: All firings.
        corpus: What they lie in.
        options: How much is kept.
        firings_at_once: Firings of a block.

    Raises:
        ArtifactError: Shards and corpus do not belong together, or a shard is damaged.
        DataError: Not one position counts.
    """

    def __init__(
        self,
        shards: ShardReader,
        corpus: CensusText,
        options: CensusOptions,
        firings_at_once: int = FIRINGS_AT_ONCE,
    ) -> None:
        self.shards, self.options, self.firings_at_once = shards, options, firings_at_once
        self.stretches = Stretches.of(corpus, shards.counted(), options.stretch)
        self.n_counted = int(self.stretches.counted.sum())
        counted = self.stretches.counted.nonzero()[0]
        self.n_seen = np.bincount(self.stretches.tokens[counted[~self._is_held_out(counted)]])

    def records(
        self, similar: Similar, logits: LogitEffects, latents: range
    ) -> Iterator[LatentRecord]:
        """The records of a range of latents, in order.

        Long ranges are faster: every block is looked up in every shard.

        Examples: a stretch is as strong as its largest activation. The group `top` has the strongest ones.
        The other groups divide all stretches of a latent by rank into intervals of equal size, and draw from
        each uniformly, whether a stretch is in `top` too or not. Of stretches with the same tokens only the
        strongest can be an example, of equally strong ones the first; shares and intervals count all of them.
        The share of `top` is that of all stretches at least as strong as its weakest.

        Args:
            similar: Neighbours and co-active latents of at least these latents.
            logits: Logit effects of at least these latents.
            latents: Which latents.

        Raises:
            ArtifactError: A shard is damaged.
        """
        for part in blocks_of(self.shards.n_fired(latents) + 1, latents, self.firings_at_once):
            block = Block.of(self.shards.firings(part.start, part.stop), part, self.stretches)
            yield from self._records(block, similar, logits)

    def _records(
        self, block: Block, similar: Similar, logits: LogitEffects
    ) -> Iterator[LatentRecord]:
        spans = Spans.of(block, self.stretches)
        groups = example_groups(block, spans, self.stretches, self.options)
        silent = silent_starts(block, spans, self.stretches, self.options.n_silent)
        documents, tokens, peak_tokens = self._tallies(block, spans)
        sums, n_stretches = block.sums().tolist(), spans.n_stretches.tolist()
        for row, latent in enumerate(block.latents):
            values = block.value[block.bounds[row] : block.bounds[row + 1]]
            n_fired = len(values)
            maximum = float(values.max()) if n_fired else 0.0
            of_documents = documents.counts(row)
            yield LatentRecord(
                latent=latent,
                n_fired=n_fired,
                density=n_fired / self.n_counted,
                mean=sums[row] / max(n_fired, 1),
                max=maximum,
                histogram=_histogram(values, maximum),
                n_stretches=n_stretches[row],
                n_documents=len(of_documents),
                document_share=int(of_documents.max()) / n_fired if n_fired else 0.0,
                groups=groups[row],
                silent=silent[row],
                peak_tokens=tuple(Weighted(t, float(n)) for t, n in peak_tokens.pairs(row)),
                tokens=tuple(TokenFirings(t, n, int(self.n_seen[t])) for t, n in tokens.pairs(row)),
                top_logits=logits.top.row(latent),
                bottom_logits=logits.bottom.row(latent),
                neighbours=similar.neighbours.row(latent),
                coactive=similar.coactive.row(latent),
            )

    def _tallies(self, block: Block, spans: Spans) -> tuple[Tally, Tally, Tally]:
        """Documents of firings, commonest tokens of firings not held out, commonest tokens of peaks."""
        tokens, n = self.stretches.tokens, self.options.n_tokens
        shown = ~self._is_held_out(block.position)
        of_firings = Tally.of(block.row[shown], tokens[block.position[shown]], block.n_rows)
        of_peaks = Tally.of(spans.row, tokens[block.position[spans.peak_at]], block.n_rows)
        documents = self.stretches.documents[block.position]
        of_documents = Tally.of(block.row, documents, block.n_rows)
        return of_documents, of_firings.commonest(n), of_peaks.commonest(n)

    def _is_held_out(self, position: Int64[np.ndarray, "place"]) -> Bool[np.ndarray, "place"]:
        """`record.is_held_out` of many positions."""
        context = position // self.stretches.context_length
        return context % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def _histogram(values: Float32[np.ndarray, "firing"], maximum: float) -> tuple[int, ...]:
    """Firings in each bin; a value on an edge belongs to the bin above it, the maximum to the last."""
    edges = histogram_edges(maximum)
    bins = np.minimum(np.searchsorted(edges, values, side="right") - 1, N_HISTOGRAM_BINS - 1)
    return tuple(np.bincount(bins, minlength=N_HISTOGRAM_BINS).tolist())
