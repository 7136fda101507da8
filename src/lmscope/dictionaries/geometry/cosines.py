"""Cosines between the rows of two matrices, block by block, so that no whole matrix of them is held.

Memory beside the rows themselves: one block of cosines and two of unit rows in float32,
`4 * block_rows * (block_rows + 2 * width)` bytes, whatever the number of rows. With the default of
4,096 rows and a width of 4,096 that is 192 MiB, also for 131,072 x 32,768 latents, whose whole
matrix would take 16 GiB. Work: `2 * rows_a * rows_b * width` floating-point operations a pass.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from lmscope.core.errors import DataError

BLOCK_ROWS: Final = 4096
"""Rows of each side in one block."""


class Block(NamedTuple):
    """Cosines of some rows of `a` with some rows of `b`.

    Attributes:
        first_a: The row of `a` that the block's first row stands for.
        first_b: The row of `b` that its first column stands for.
        cosine: The cosines.
    """

    first_a: int
    first_b: int
    cosine: Float32[Tensor, "block_a block_b"]


class Best(NamedTuple):
    """The best partner of each row.

    Attributes:
        cosine: Its cosine, the largest there is; signed, so that opposite directions do not match.
        partner: Its row; the first one where several are equally near.
    """

    cosine: Float32[Tensor, "latent"]
    partner: Int64[Tensor, "latent"]


def unit_rows(rows: Float[Tensor, "latent width"]) -> Float32[Tensor, "latent width"]:
    """Rows of norm 1; a row of zeros stays one, its cosine with anything is 0.

    Raises:
        DataError: A row holds NaN or infinity.
    """
    rows = rows.float()
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if not bool(norms.isfinite().all()):
        place = int((~norms.isfinite()).flatten().nonzero()[0])
        raise DataError(
            f"Row {place} of the weights holds NaN or infinity: directions cannot be compared; "
            "train the dictionary again."
        )
    return rows / torch.where(norms > 0, norms, torch.ones_like(norms))


def cosine_blocks(
    a: Float[Tensor, "latent_a width"],
    b: Float[Tensor, "latent_b width_b"],
    block_rows: int = BLOCK_ROWS,
) -> Iterator[Block]:
    """All cosines, block by block: for each block of `a` every block of `b`.

    Raises:
        DataError: The widths differ, a side has no rows, or a row holds NaN or infinity.
    """
    if not len(a) or not len(b):
        raise DataError("There is no latent to compare: one side has none that ever fires.")
    if a.shape[1] != b.shape[1]:
        raise DataError(
            f"Rows of {a.shape[1]} and of {b.shape[1]} coordinates cannot be compared: "
            "both dictionaries must lie in the same space."
        )
    for first_a in range(0, len(a), block_rows):
        left = unit_rows(a[first_a : first_a + block_rows])
        for first_b in range(0, len(b), block_rows):
            right = unit_rows(b[first_b : first_b + block_rows])
            yield Block(first_a, first_b, left @ right.T)


def best_partners(
    a: Float[Tensor, "latent_a width"],
    b: Float[Tensor, "latent_b width_b"],
    block_rows: int = BLOCK_ROWS,
) -> tuple[Best, Best]:
    """The best partner in `b` of each row of `a`, and the other way round, in one pass.

    Raises:
        DataError: As `cosine_blocks`.
    """
    of_a, of_b = _nothing_yet(len(a), a.device), _nothing_yet(len(b), b.device)
    for first_a, first_b, cosine in cosine_blocks(a, b, block_rows):
        _improve(of_a, first_a, cosine, first_b, axis=1)
        _improve(of_b, first_b, cosine, first_a, axis=0)
    return of_a, of_b


def best_in(
    seekers: Float[Tensor, "seeker width"],
    rows: Float[Tensor, "latent width_b"],
    block_rows: int = BLOCK_ROWS,
) -> Best:
    """The best partner in `rows` of each seeker; one direction of `best_partners`.

    Raises:
        DataError: As `cosine_blocks`.
    """
    best = _nothing_yet(len(seekers), seekers.device)
    for first, first_row, cosine in cosine_blocks(seekers, rows, block_rows):
        _improve(best, first, cosine, first_row, axis=1)
    return best


def _nothing_yet(n: int, device: torch.device) -> Best:
    return Best(
        torch.full((n,), -torch.inf, dtype=torch.float32, device=device),
        torch.zeros(n, dtype=torch.int64, device=device),
    )


def _improve(best: Best, first: int, cosine: Tensor, first_partner: int, *, axis: int) -> None:
    found = cosine.max(dim=axis)
    here = slice(first, first + len(found.values))
    better = found.values > best.cosine[here]  # strictly: of equal ones the first stays
    best.cosine[here] = torch.where(better, found.values, best.cosine[here])
    best.partner[here] = torch.where(better, found.indices + first_partner, best.partner[here])
