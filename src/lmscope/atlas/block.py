"""Block: the firings of consecutive latents over the whole corpus, taken together in arrays.

Latents of a block are called rows here, counted from 0. Everything is ordered by row first, and `bounds`
say where each row begins, and the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from lmscope.atlas.shards import Firings
from lmscope.atlas.stretches import Stretches

Bounds = Int64[np.ndarray, "bound"]


@dataclass(frozen=True, eq=False)
class Block:
    """Firings by row, then by position.

    Attributes:
        latents: The latents that the rows stand for.
        row: Of each firing.
        position: Place in the corpus.
        value: Activation.
        stretch: Number of the stretch that it lies in.
        bounds: Of rows among firings.
    """

    latents: range
    row: Int64[np.ndarray, "firing"]
    position: Int64[np.ndarray, "firing"]
    value: Float32[np.ndarray, "firing"]
    stretch: Int64[np.ndarray, "firing"]
    bounds: Bounds

    @classmethod
    def of(cls, firings: Firings, latents: range, stretches: Stretches) -> "Block":
        """The block of firings that a reader gives for these latents."""
        return cls(
            latents,
            firings.latent.astype(np.int64) - latents.start,
            firings.position,
            firings.value,
            stretches.number(firings.position),
            np.searchsorted(firings.latent, np.arange(latents.start, latents.stop + 1)),
        )

    @property
    def n_rows(self) -> int:
        """Latents of the block."""
        return len(self.latents)

    @property
    def numbers(self) -> Int64[np.ndarray, "row"]:
        """The latent of each row."""
        return np.arange(self.latents.start, self.latents.stop)

    def sums(self) -> Float64[np.ndarray, "row"]:
        """The sum of each row's activations in float64, added in the order of positions."""
        sums = np.bincount(self.row, self.value.astype(np.float64), minlength=self.n_rows)
        return sums.astype(np.float64)  # without a firing they would be whole numbers


class Spans(NamedTuple):
    """The stretches in which the rows fire: by row, then by falling peak, then by position.

    Attributes:
        row: Of each span.
        stretch: Number of the stretch.
        begin: Its first firing among the block's.
        end: One after its last.
        peak: Its largest activation.
        peak_at: The first firing that has it.
        distinct: Whether it may be an example: no span of its row that stands before it has the same tokens.
        bounds: Of rows among spans.
    """

    row: Int64[np.ndarray, "span"]
    stretch: Int64[np.ndarray, "span"]
    begin: Int64[np.ndarray, "span"]
    end: Int64[np.ndarray, "span"]
    peak: Float32[np.ndarray, "span"]
    peak_at: Int64[np.ndarray, "span"]
    distinct: Bool[np.ndarray, "span"]
    bounds: Bounds

    @classmethod
    def of(cls, block: Block, stretches: Stretches) -> "Spans":
        """Cut the firings of a block into spans."""
        begins = _changes(block.row) | _changes(block.stretch)
        begin = begins.nonzero()[0]
        end = np.append(begin[1:], len(block.row))[: len(begin)]
        empty = np.zeros(0, dtype=np.float32)
        peak = np.maximum.reduceat(block.value, begin) if len(begin) else empty
        tops = (block.value == np.repeat(peak, end - begin)).nonzero()[0]
        span_of_top = np.searchsorted(begin, tops, side="right") - 1
        peak_at = tops[_changes(span_of_top)]
        # Activations are above 0, so their bits order them; inverted, the largest comes first.
        falling = np.uint32(0xFFFFFFFF) - peak.view(np.uint32)
        key = (block.row[begin].astype(np.uint64) << np.uint64(32)) | falling
        order = np.argsort(key, kind="stable")
        row, stretch = block.row[begin][order], block.stretch[begin][order]
        return cls(
            row,
            stretch,
            begin[order],
            end[order],
            peak[order],
            peak_at[order],
            _is_first_of_equals(row, stretch, stretches),
            np.searchsorted(row, np.arange(block.n_rows + 1)),
        )

    @property
    def n_stretches(self) -> Int64[np.ndarray, "row"]:
        """Stretches in which each row fires."""
        return np.diff(self.bounds)


@dataclass(frozen=True, eq=False)
class Tally:
    """How often each row goes with each item, by row, then by item unless said otherwise.

    Attributes:
        row: Of each entry.
        item: A token or a document.
        count: How often.
        bounds: Of rows among entries.
    """

    row: Int64[np.ndarray, "entry"]
    item: Int64[np.ndarray, "entry"]
    count: Int64[np.ndarray, "entry"]
    bounds: Bounds

    @classmethod
    def of(
        cls, row: Int64[np.ndarray, "firing"], item: Int32[np.ndarray, "firing"], n_rows: int
    ) -> "Tally":
        """Count pairs of a row and an item that is not negative."""
        width = int(item.max()) + 1 if len(item) else 1
        key, count = np.unique(row * width + item, return_counts=True)
        rows = key // width
        return cls(rows, key % width, count, np.searchsorted(rows, np.arange(n_rows + 1)))

    def commonest(self, n: int) -> "Tally":
        """The `n` items of each row with the largest counts, largest first; ties to the smaller item."""
        order = np.lexsort((-self.count, self.row))  # stable: equal counts stay by item
        kept = order[np.arange(len(order)) - self.bounds[self.row[order]] < n]
        row = self.row[kept]
        bounds = np.searchsorted(row, np.arange(len(self.bounds)))
        return Tally(row, self.item[kept], self.count[kept], bounds)

    def counts(self, row: int) -> Int64[np.ndarray, "entry"]:
        """The counts of one row."""
        return self.count[self.bounds[row] : self.bounds[row + 1]]

    def pairs(self, row: int) -> Iterator[tuple[int, int]]:
        """Item and count of one row."""
        here = slice(self.bounds[row], self.bounds[row + 1])
        return zip(self.item[here].tolist(), self.count[here].tolist(), strict=True)


def _changes(values: Int64[np.ndarray, "place"]) -> Bool[np.ndarray, "place"]:
    """Whether a value differs from the one before; the first does."""
    changes = np.ones(len(values), dtype=np.bool_)
    changes[1:] = values[1:] != values[:-1]
    return changes


def _is_first_of_equals(
    row: Int64[np.ndarray, "span"], stretch: Int64[np.ndarray, "span"], stretches: Stretches
) -> Bool[np.ndarray, "span"]:
    distinct = np.ones(len(row), dtype=np.bool_)
    twins = stretches.has_equal[stretch].nonzero()[0]
    key = row[twins] * len(stretches) + stretches.first_equal[stretch[twins]]
    _, first = np.unique(key, return_index=True)
    distinct[twins] = False
    distinct[twins[first]] = True
    return distinct
