"""Which latents are like each other: by the directions that they write, and by where they fire."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Int64
from scipy.sparse import csr_array
from torch import Tensor

from lmscope.atlas.ranked import Extremes, Keys, Ranked, best_of, extreme_products
from lmscope.atlas.shards import ShardReader
from lmscope.core.errors import DataError
from lmscope.dictionaries.geometry.cosines import unit_rows

_SKIPPED: Final = -1
_FIRINGS_AT_ONCE: Final = 1 << 22
_PAIRS_AT_ONCE: Final = 1 << 22


@dataclass(frozen=True)
class Similar:
    """For each latent of a range the latents that are most like it.

    Attributes:
        neighbours: By the cosine of decoder rows.
        coactive: By the share of positions with either on which both fire.
    """

    neighbours: Ranked
    coactive: Ranked


def decoder_neighbours(
    rows: Float[Tensor, "latent write"], count: int, latents: range | None = None
) -> Ranked:
    """The latents whose decoder rows have the largest cosine with each latent's; ties to the smaller number.

    A latent is no neighbour of itself, and one whose row is zero is nobody's and has none.

    Args:
        rows: Decoder rows of all latents, of any norm and dtype, on the device that computes.
        count: Neighbours to keep.
        latents: Which latents are asked for; all when None. It changes nothing for the others.

    Raises:
        DataError: A row holds NaN or infinity.
    """
    asked = range(len(rows)) if latents is None else latents

    def coarse(start: int, stop: int) -> Tensor:
        return unit_rows(rows[start:stop])

    def exact(numbers: Int64[np.ndarray, "row"]) -> Float64[np.ndarray, "row write"]:
        wide = np.ascontiguousarray(rows[numbers.tolist()].double().cpu().numpy())
        norms = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
        return np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)

    zero = (rows == 0).all(dim=1).nonzero()[:, 0].cpu().numpy()
    keys = Keys(len(rows), coarse, exact, norm=1.0, absent=zero)
    found: Extremes = extreme_products(exact, asked, keys, count, skip_self=True)
    return found.largest


def coactive_latents(
    shards: ShardReader,
    n_latents: int,
    count: int,
    n_positions: int,
    latents: range | None = None,
) -> Ranked:
    """The latents that fire where each latent fires, by Jaccard; ties to the smaller number.

    The share is `both / either`: positions on which both fire, of those on which one or both do, counted
    on positions at even distances among those that count.

    Memory: 4 bytes x positions of the corpus, 16 bytes x firings on the chosen positions, and 12 bytes x
    pairs of one block of latents. Work: for each chosen position the square of its firings.

    Args:
        shards: All firings.
        n_latents: Latents of the dictionary.
        count: Latents to keep.
        n_positions: Positions to count on; 0 gives nobody to anybody.
        latents: Which latents are asked for; all when None. It changes nothing for the others.
    """
    asked = range(n_latents) if latents is None else latents
    if n_positions == 0 or count == 0:
        return Ranked.nothing(asked)
    by_latent = _fires(shards, n_latents, n_positions)
    by_position = by_latent.T.tocsr()
    fired = np.diff(by_latent.indptr).astype(np.int64)
    parts = [
        _jaccard(by_latent, by_position, fired, part, count)
        for part in _blocks(by_latent, by_position, asked)
    ]
    if not parts:
        return Ranked.nothing(asked)
    return Ranked(
        asked.start,
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def chosen_positions(
    counted: Bool[np.ndarray, "position"], n_positions: int
) -> Int64[np.ndarray, "chosen"]:
    """Positions at even distances among those that count; all of them where there are no more."""
    places = counted.nonzero()[0]
    n = min(n_positions, len(places))
    return places[np.arange(n) * len(places) // max(n, 1)]


def _fires(shards: ShardReader, n_latents: int, n_positions: int) -> csr_array:
    """1 where a latent fires on a chosen position, `[latent, chosen]`."""
    chosen = chosen_positions(shards.counted().reshape(-1), n_positions)
    if not len(chosen):
        raise DataError(
            "Co-activation cannot be counted: not one position counts; give other text."
        )
    number = np.full(shards.n_positions, _SKIPPED, dtype=np.int32)
    number[chosen] = np.arange(len(chosen), dtype=np.int32)
    n_fired = np.zeros(n_latents, dtype=np.int64)
    columns: list[Int32[np.ndarray, "firing"]] = []
    for part in blocks_of(shards.n_fired(range(n_latents)), range(n_latents), _FIRINGS_AT_ONCE):
        firings = shards.firings(part.start, part.stop)
        column = number[firings.position]
        kept = column != _SKIPPED
        columns.append(column[kept])
        n_fired += np.bincount(firings.latent[kept], minlength=n_latents)
    ends = np.concatenate([[0], np.cumsum(n_fired)])
    places = np.concatenate(columns)
    ones = np.ones(len(places), dtype=np.int32)
    return csr_array((ones, places, ends), shape=(n_latents, len(chosen)))


def blocks_of(weight: Int64[np.ndarray, "row"], rows: range, at_most: int) -> list[range]:
    """Consecutive parts of a range, each of at most so much weight, or of one row.

    Args:
        weight: Of each row of the range.
        rows: What is cut.
        at_most: Weight of a part.
    """
    total = np.concatenate([[0], np.cumsum(weight)])
    parts, start = list[range](), 0
    while start < len(rows):
        stop = int(np.searchsorted(total, total[start] + at_most, side="right")) - 1
        stop = min(max(stop, start + 1), len(rows))
        parts.append(range(rows.start + start, rows.start + stop))
        start = stop
    return parts


def _blocks(by_latent: csr_array, by_position: csr_array, asked: range) -> list[range]:
    """Parts of the latents of which a bounded number of pairs fires together."""
    together = by_latent @ np.diff(by_position.indptr).astype(np.int64)
    weight = np.minimum(together[asked.start : asked.stop], len(together))
    return blocks_of(weight, asked, _PAIRS_AT_ONCE)


def _jaccard(
    by_latent: csr_array,
    by_position: csr_array,
    fired: Int64[np.ndarray, "latent"],
    part: range,
    count: int,
) -> Ranked:
    pairs = (by_latent[part.start : part.stop] @ by_position).tocsr()
    row = np.repeat(np.arange(len(part)), np.diff(pairs.indptr))
    who, both = pairs.indices.astype(np.int64), pairs.data.astype(np.int64)
    share = both / (fired[row + part.start] + fired[who] - both)
    share[who == row + part.start] = 0.0
    # Most pairs are far from the best: what lies below a row's count-th share need not be sorted.
    floor = np.zeros(len(part))
    for i, (start, stop) in enumerate(zip(pairs.indptr[:-1], pairs.indptr[1:], strict=True)):
        if stop - start > count:
            floor[i] = np.partition(share[start:stop], stop - start - count)[stop - start - count]
    kept = (share > 0) & (share >= floor[row])
    return best_of(share[kept], row[kept], who[kept], part, count)
