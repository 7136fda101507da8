"""The k largest scores of each row, exactly, without looking at every score more than once.

A row is seen as interleaved blocks, so that the maxima of all blocks are one pass along a vectorised
axis. The k largest lie in the k blocks with the largest maxima, and none is below the k-th of those
maxima: few scores survive both tests, and only the survivors are compared with one another.

Scores that are only known within a margin are treated alike: what lies within the margin of the k-th
survives too, and the exact scores of the survivors decide. The choice is then exact as well.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.dictionaries.pairs import Kept, keep_pairs

LARGEST_BLOCK = 64
"""Columns of one block at most; a power of two, as all sizes of blocks."""


class Largest(NamedTuple):
    """The k largest of each row, in no order."""

    values: Float[Tensor, "row k"]
    columns: Int[Tensor, "row k"]


def largest(scores: Float[Tensor, "row column"], k: int) -> Largest:
    """The k largest scores of each row; which of several equal ones is the same in every run."""
    n_columns = scores.shape[1]
    size = block_size(n_columns, k)
    if size == 1 or scores.device.type != "cpu" or not len(scores):
        return Largest(*scores.topk(k, dim=1, sorted=False))
    kept, values = survivors(scores, k)
    return largest_pairs(values, kept, k)


def block_size(n_columns: int, k: int) -> int:
    """Columns of a block: about as many as make blocks and candidates equally numerous; 1: no blocks."""
    size = 1
    while 2 * size * size * k <= n_columns and size < LARGEST_BLOCK:
        size *= 2
    return size if size >= 4 and n_columns >= 16 * k else 1


def survivors(
    scores: Float[Tensor, "row column"],
    k: int,
    margin: Float[Tensor, "row 1"] | None = None,
    rounding: float = 0.0,
) -> tuple[Kept, Float[Tensor, "pair"]]:
    """Places that the k largest of each row are among, and their scores.

    Args:
        scores: Exact, or within half a margin of what they stand for.
        k: How many are the largest; fewer than there are blocks of `block_size`.
        margin: Places survive that are at most so far below the k-th largest; absent: none.
        rounding: Beside that, how far a score may be off in proportion to itself.
    """
    n_rows, n_columns = scores.shape
    size = block_size(n_columns, k)
    n_blocks = -(-n_columns // size)
    if n_columns % size:
        scores = nnf.pad(scores, (0, size * n_blocks - n_columns), value=-torch.inf)
    blocks = scores.view(n_rows, size, n_blocks)
    maxima = blocks.amax(1)
    n_chosen = k if margin is None else min(n_blocks, k + k // 2 + 16)
    while True:
        top, chosen = _largest(maxima, n_chosen, in_order=margin is not None)
        if margin is None:
            floor = top.amin(1, keepdim=True)
            break
        kth = top[:, k - 1 : k]
        floor = kth - 2 * rounding * kth.abs() - margin * (1 + rounding)
        if n_chosen == n_blocks or bool((top[:, -1:] < floor).all()):
            break
        n_chosen = min(n_blocks, 2 * n_chosen)
    candidates = blocks.gather(2, chosen[:, None].expand(n_rows, size, n_chosen)).view(n_rows, -1)
    places = (candidates >= floor).view(-1).nonzero().squeeze(1)
    row = places.div(size * n_chosen, rounding_mode="floor")
    within = places.div(n_chosen, rounding_mode="floor")
    slot = places - (within - row) * n_chosen  # of `chosen`, whose rows have no `within`
    column = (within - row * size) * n_blocks + chosen.view(-1)[slot]
    values = candidates.view(-1)[places]
    if n_columns % size:
        is_column = column < n_columns
        row, column, values = row[is_column], column[is_column], values[is_column]
    return keep_pairs(row, column, n_rows), values


def largest_pairs(values: Float[Tensor, "pair"], pairs: Kept, k: int) -> Largest:
    """The k largest of the pairs of each row; every row has k or more."""
    n_rows = len(pairs.first)
    last = pairs.first.new_tensor([len(values)])
    width = int(torch.cat([pairs.first, last]).diff().max())
    place = torch.arange(len(values), device=values.device) - pairs.first[pairs.token]
    place += pairs.token * width
    padded = values.new_full((n_rows * width,), -torch.inf)
    padded[place] = values
    columns = pairs.latent.new_zeros(n_rows * width)
    columns[place] = pairs.latent
    top, at = padded.view(n_rows, width).topk(k, dim=1, sorted=False)
    return Largest(top, columns.view(n_rows, width).gather(1, at))


def _largest(values: Tensor, k: int, *, in_order: bool) -> tuple[Tensor, Tensor]:
    """`topk` along rows, by maxima of blocks of four where that is less work."""
    n_rows, n_columns = values.shape
    n_blocks = n_columns // 4
    if n_columns < 8 * k or n_columns % 4:
        top, places = values.topk(k, dim=1, sorted=in_order)
        return top, places
    blocks = values.view(n_rows, 4, n_blocks)
    _, chosen = _largest(blocks.amax(1), k, in_order=False)
    candidates = blocks.gather(2, chosen[:, None].expand(n_rows, 4, k)).flatten(1)
    top, at = _largest(candidates, k, in_order=in_order)
    within = at.div(k, rounding_mode="floor")
    return top, within * n_blocks + chosen.gather(1, at - within * k)
