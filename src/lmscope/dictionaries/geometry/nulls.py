"""What chance alone gives: random rows that stand in for the latents of a dictionary.

A best cosine grows with the number of candidates and with everything that the rows have in common,
so it means something only beside the best cosine that rows without a counterpart reach.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Float64
from torch import Generator, Tensor

from lmscope.dictionaries.geometry.config import NullKind
from lmscope.dictionaries.geometry.cosines import BLOCK_ROWS, unit_rows


class Moments(NamedTuple):
    """The first two moments of unit rows.

    Attributes:
        mean: Their mean.
        covariance: Around the mean.
    """

    mean: Float64[Tensor, "width"]
    covariance: Float64[Tensor, "width width"]


def null_rows(
    rows: Float[Tensor, "latent width"], kind: NullKind, n: int, generator: Generator
) -> Float32[Tensor, "{n} width"]:
    """Random rows of norm 1 in the place of a dictionary's.

    Args:
        rows: The dictionary whose place they take.
        kind: `isotropic`: every direction is equally likely (cosines do not depend on norms, so these
            are random rows of equal norm). `moments`: Gaussian rows with the mean and the covariance
            of the dictionary's unit rows, and so with its second moment. The stronger null: they
            share the direction that all latents lean to and the subspace that they prefer, but no
            single latent.
        n: How many.
        generator: Random stream on the CPU.
    """
    noise = torch.randn(n, rows.shape[1], generator=generator).to(rows.device)
    if kind == "isotropic":
        return unit_rows(noise)
    mean, covariance = moments(rows)
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return unit_rows(noise @ root.float() + mean.float())


def moments(rows: Float[Tensor, "latent width"]) -> Moments:
    """Mean and covariance of the rows, each brought to norm 1."""
    width = rows.shape[1]
    mean = torch.zeros(width, dtype=torch.float64, device=rows.device)
    second = torch.zeros(width, width, dtype=torch.float64, device=rows.device)
    for part in rows.split(BLOCK_ROWS):
        unit = unit_rows(part).double()
        mean += unit.sum(0) / len(rows)
        second += unit.T @ unit / len(rows)
    return Moments(mean, second - mean.outer(mean))
