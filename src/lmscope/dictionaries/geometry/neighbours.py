"""How crowded the directions of one dictionary are: nearest latents, clusters, and what chance gives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import beta
from torch import Tensor

from lmscope.core.errors import DataError
from lmscope.core.rng import generator
from lmscope.dictionaries.geometry.config import NULL_KINDS, GeometryOptions, NullKind
from lmscope.dictionaries.geometry.cosines import BLOCK_ROWS, cosine_blocks
from lmscope.dictionaries.geometry.nulls import null_rows


def johnson_lindenstrauss_threshold(n_latents: int, width: int) -> float:
    """The cosine above which two latents count as neighbours, sqrt(12 ln F / D) (he2024llamascope).

    So many directions fit into the width with no pair nearer than this.
    """
    return math.sqrt(12 * math.log(n_latents) / width)


def random_max_cosine(n_latents: int, width: int) -> float:
    """The largest cosine among all pairs of isotropic random directions, as its median.

    (1 + c) / 2 of two random directions has a Beta((D-1)/2, (D-1)/2) distribution. Pairs of one set are
    independent two by two, and are taken to be so all together.
    """
    n_pairs = n_latents * (n_latents - 1) / 2
    if n_pairs < 1:
        return math.nan
    # The upper tail: 1 - 2^(-1/n) would lose every digit for billions of pairs.
    tail = -math.expm1(-math.log(2) / n_pairs)
    half = (width - 1) / 2
    return float(2 * beta.isf(tail, half, half) - 1)


@dataclass(frozen=True)
class Neighbours:
    """The latents that lie nearest to each latent of one dictionary.

    Attributes:
        cosine: Of the nearest ones, nearest first; itself is none of them.
        latent: Which they are.
        cluster: A number for each latent; equal where a chain of pairs above the threshold connects.
            Clusters are numbered by size, the largest is 0.
        threshold: The cosine above which a pair connects.
    """

    cosine: Float32[Tensor, "latent near"]
    latent: Int64[Tensor, "latent near"]
    cluster: Int64[Tensor, "latent"]
    threshold: float


def neighbours(
    rows: Float[Tensor, "latent width"],
    threshold: float,
    count: int,
    block_rows: int = BLOCK_ROWS,
) -> Neighbours:
    """Nearest latents and clusters of a dictionary.

    Memory: as `geometry.cosines`, and 12 bytes x latents x `count`; clusters keep the pairs
    of one block only, 16 bytes for each pair of it above the threshold.

    Args:
        rows: One row a latent.
        threshold: Cosine above which two latents belong together.
        count: Nearest latents to keep; fewer where the dictionary has fewer.
        block_rows: Rows of one block.

    Raises:
        DataError: There are fewer than two rows, or one holds NaN or infinity.
    """
    n = len(rows)
    if n < 2:
        raise DataError(f"Neighbours need at least two latents that fire, there are {n}.")
    near = min(count, n - 1)
    cosine = torch.full((n, near), -torch.inf, device=rows.device)
    latent = torch.zeros(n, near, dtype=torch.int64, device=rows.device)
    labels = np.arange(n)
    for first, first_other, block in cosine_blocks(rows, rows, block_rows):
        if first == first_other:
            block.fill_diagonal_(-torch.inf)
        here = slice(first, first + len(block))
        top = block.topk(min(near, block.shape[1]), dim=1)
        both = torch.cat([cosine[here], top.values], dim=1)
        which = torch.cat([latent[here], top.indices + first_other], dim=1)
        kept = both.topk(near, dim=1)
        cosine[here], latent[here] = kept.values, which.gather(1, kept.indices)
        if first <= first_other:
            labels = _connected(labels, block > threshold, first, first_other)
    return Neighbours(cosine.cpu(), latent.cpu(), _by_size(labels), threshold)


@dataclass(frozen=True)
class NearestNull:
    """What random dictionaries of the same size show.

    Attributes:
        cosine: By kind, the cosine of the nearest neighbour of `null_rows` random rows, each among as
            many random rows of the same kind as the dictionary has.
    """

    cosine: Mapping[NullKind, Float32[Tensor, "null"]]


def nearest_null(
    rows: Float[Tensor, "latent width"], options: GeometryOptions, seed: int
) -> NearestNull:
    """Nearest neighbours within dictionaries of random rows.

    Raises:
        DataError: As `neighbours`.
    """
    found: dict[NullKind, Tensor] = {}
    for kind in NULL_KINDS:
        random = null_rows(rows, kind, len(rows), generator(seed, "geometry", kind, "neighbours"))
        seekers = random[: options.null_rows]
        best = torch.full((len(seekers),), -torch.inf, device=rows.device)
        for first, first_other, block in cosine_blocks(seekers, random, options.block_rows):
            if first == first_other:
                block.fill_diagonal_(-torch.inf)
            here = slice(first, first + len(block))
            best[here] = torch.maximum(best[here], block.max(dim=1).values)
        found[kind] = best.cpu()
    return NearestNull(found)


def _connected(labels: np.ndarray, pairs: Tensor, first: int, first_other: int) -> np.ndarray:
    """Join the groups of all latents that a block of pairs connects."""
    rows, columns = (i.cpu().numpy() for i in pairs.nonzero(as_tuple=True))
    if not len(rows):
        return labels
    ends = labels[rows + first], labels[columns + first_other]
    n = len(labels)
    graph = coo_array((np.ones(len(rows), dtype=np.bool_), ends), shape=(n, n))
    _, group = connected_components(graph.tocsr(), directed=False)
    return group[labels]


def _by_size(labels: np.ndarray) -> Tensor:
    _, group, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return torch.from_numpy(rank[group])
