"""The k largest scores of each row, exactly, without comparing every score with many.

A row is seen as interleaved blocks, so that the maxima of all blocks are one pass along a vectorised
axis. The k-th largest of those maxima is no larger than the k-th largest score: what is below it cannot
be among the k largest, and few scores are not below it. Only these are compared with one another.

Scores that are only known within a margin are treated alike: what lies within the margin of that floor
survives too, and the exact scores of the survivors decide. The choice is then exact as well.

On a CPU NumPy sorts and compares: its sort is four times as fast as torch's here, and its comparison
and list of places five times (docs/results). It uses one thread, so each thread gets a slice of the rows.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from lmscope.dictionaries.pairs import Kept, keep_pairs

LARGEST_BLOCK = 64
"""Columns of one block at most; a power of two, as all sizes of blocks."""

BLOCKS_PER_KEPT = 4
"""Blocks for each score that is kept, at least: then few of the kept share a block."""

SLICE_SCORES = 2**18
"""Scores for which one more thread pays."""


class Largest(NamedTuple):
    """The k largest of each row, in no order."""

    values: Float[Tensor, "row k"]
    columns: Int[Tensor, "row k"]


def largest(scores: Float[Tensor, "row column"], k: int) -> Largest:
    """The k largest scores of each row; which of several equal ones is the same in every run."""
    if block_size(scores.shape[1], k) == 1 or scores.device.type != "cpu" or not len(scores):
        return Largest(*scores.topk(k, dim=1, sorted=False))
    kept, values = survivors(scores, k)
    return largest_pairs(values, kept, k)


def block_size(n_columns: int, k: int) -> int:
    """Columns of a block; 1: no blocks."""
    size = 1
    while 2 * size * BLOCKS_PER_KEPT * k <= n_columns and size < LARGEST_BLOCK:
        size *= 2
    return size


def survivors(
    scores: Float[Tensor, "row column"],
    k: int,
    margin: Float[Tensor, "row 1"] | None = None,
    rounding: float = 0.0,
) -> tuple[Kept, Float[Tensor, "pair"]]:
    """Places that the k largest of each row are among, and their scores.

    Args:
        scores: Exact, or within half a margin of what they stand for.
        k: How many are the largest; at most as many as there are blocks of `block_size`.
        margin: Places survive that are at most so far below the k-th largest; absent: none.
        rounding: Beside that, how far a score may be off in proportion to itself.
    """
    n_rows, n_columns = scores.shape
    floor = _kth_largest(_block_maxima(scores, k), k)
    if margin is not None:
        floor = floor - 2 * rounding * floor.abs() - margin * (1 + rounding)
    places = places_from(scores, floor)
    row = places.div(n_columns, rounding_mode="floor")
    return keep_pairs(row, places - row * n_columns, n_rows), scores.view(-1)[places]


def largest_pairs(values: Float[Tensor, "pair"], pairs: Kept, k: int) -> Largest:
    """The k largest of the pairs of each row; every row has k or more."""
    n_rows = len(pairs.first)
    last = pairs.first.new_tensor([len(values)])
    width = max(k, int(torch.cat([pairs.first, last]).diff().max()))
    place = torch.arange(len(values), device=values.device) - pairs.first[pairs.token]
    place += pairs.token * width
    padded = values.new_full((n_rows * width,), -torch.inf)
    padded[place] = values
    padded = padded.view(n_rows, width)
    columns = pairs.latent.new_zeros(n_rows * width)
    columns[place] = pairs.latent
    best = places_from(padded, _kth_largest(padded, k))
    if len(best) != n_rows * k:  # several scores equal the k-th
        top, at = padded.topk(k, dim=1, sorted=False)
        return Largest(top, columns.view(n_rows, width).gather(1, at))
    return Largest(padded.view(-1)[best].view(n_rows, k), columns[best].view(n_rows, k))


def places_from(
    scores: Float[Tensor, "row column"], floor: Float[Tensor, "row 1"]
) -> Int[Tensor, "pair"]:
    """Flat places of the scores that are not below their row's floor, ascending."""
    if not _is_for_numpy(scores):
        return (scores >= floor).view(-1).nonzero().squeeze(1)
    width = scores.shape[1]
    rows, floors = scores.numpy(), floor.to(scores.dtype).numpy()

    def find(start: int, end: int) -> NDArray[Any]:
        return np.flatnonzero(rows[start:end] >= floors[start:end]) + start * width

    return torch.from_numpy(np.concatenate(_slices(find, scores)))


def _block_maxima(scores: Tensor, k: int) -> Tensor:
    """Largest score of each block, `[row, block]`."""
    n_rows, n_columns = scores.shape
    size = block_size(n_columns, k)
    n_blocks = -(-n_columns // size)
    if n_columns % size:
        scores = nnf.pad(scores, (0, size * n_blocks - n_columns), value=-torch.inf)
    return scores.view(n_rows, size, n_blocks).amax(1)


def _kth_largest(values: Tensor, k: int) -> Tensor:
    """`[row, 1]`."""
    if not _is_for_numpy(values):
        return values.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    rows, at = values.numpy(), values.shape[1] - k

    def find(start: int, end: int) -> NDArray[Any]:
        return np.sort(rows[start:end], axis=1)[:, at : at + 1]

    return torch.from_numpy(np.concatenate(_slices(find, values)))


def _is_for_numpy(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)


def _slices(find: Callable[[int, int], Any], rows: Tensor) -> list[Any]:
    """What `find` gives for slices of the rows, in their order; each on a thread of its own."""
    n_rows = len(rows)
    n_threads = min(torch.get_num_threads(), n_rows, max(1, rows.numel() // SLICE_SCORES))
    if n_threads <= 1:
        return [find(0, n_rows)]
    bounds = [n_rows * i // n_threads for i in range(n_threads + 1)]
    return list(_threads(n_threads).map(find, bounds[:-1], bounds[1:]))


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="topk")
