"""Projection: from d numbers to the rows of a soft prompt at one layer, by a random matrix that need not be kept."""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.core.errors import RecipeError
from lmscope.core.rng import numpy_generator
from lmscope.prompting.config import ProjectionConfig
from lmscope.prompting.moments import Moments

_N_ROWS: Final = 512
"""Rows of a block: with 500 columns it stays in a core's cache while all candidates pass."""
_MIB: Final = 2**20


class DenseBlock(NamedTuple):
    """Rows, entry by entry."""

    matrix: Float[Tensor, "row subspace"]

    def times(self, z: Float[Tensor, "subspace"]) -> Float[Tensor, "row"]:
        """Their product with one candidate."""
        return self.matrix @ z

    def dense(self) -> Float[Tensor, "row subspace"]:
        """The rows."""
        return self.matrix

    def to(self, device: torch.device) -> "DenseBlock":
        """The same rows elsewhere."""
        return DenseBlock(self.matrix.to(device))


class SparseBlock(NamedTuple):
    """Rows with the same few entries that are not 0."""

    columns: Int[Tensor, "row entry"]
    values: Float[Tensor, "row entry"]
    n_columns: int

    def times(self, z: Float[Tensor, "subspace"]) -> Float[Tensor, "row"]:
        """Their product with one candidate."""
        return (z[self.columns] * self.values).sum(-1)

    def dense(self) -> Float[Tensor, "row subspace"]:
        """The rows."""
        zeros = self.values.new_zeros(len(self.values), self.n_columns)
        return zeros.scatter(1, self.columns, self.values)

    def to(self, device: torch.device) -> "SparseBlock":
        """The same rows elsewhere."""
        return self._replace(columns=self.columns.to(device), values=self.values.to(device))


Block = DenseBlock | SparseBlock
"""Some rows of the matrix, in the form that suits their law."""


class Projection:
    """A fixed random matrix A from d numbers z to the values of n rows (sun2022bbt, section 3; sun2022bbtv2).

    Entries have the standard deviation alpha * std / (sqrt(d) * sigma), so candidates z ~ N(0, sigma^2) give
    values of the deviation alpha * std, whatever sigma is. Rows are drawn in blocks, each from a stream of
    its own, in float32 on the CPU: seed and name are the whole matrix, on every device. One candidate is
    multiplied at a time, so that its values are the same bit for bit in any company.

    Args:
        config: Law, size and storage.
        n_prompt: Rows of the soft prompt.
        d_model: Width of the layer.
        moments: Of the layer's own values.
        sigma: The search's first step size, or what stands in its place.
        seed: The recipe's seed.
        name: Names the stream of random numbers, e.g. the site; other names give other matrices.
        n_beside: Projections that are in use together, for the storage `auto`.

    Raises:
        RecipeError: The law `formula2022` does not allow so large a deviation.
    """

    def __init__(
        self,
        config: ProjectionConfig,
        n_prompt: int,
        d_model: int,
        moments: Moments,
        *,
        sigma: float = 1.0,
        seed: int,
        name: str,
        n_beside: int = 1,
    ) -> None:
        self.config = config
        self.n_prompt = n_prompt
        self.d_model = d_model
        self.seed = seed
        self.name = name
        self.entry = _entry_moments(config, moments, sigma, name)
        limit = config.memory_mib * _MIB / n_beside
        self.is_kept = config.storage == "dense" or (
            config.storage == "auto" and self.n_bytes <= limit
        )
        self._kept: list[Block] = []
        self._device: torch.device | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the matrix: values of a soft prompt."""
        return self.n_prompt * self.d_model

    @property
    def n_bytes(self) -> int:
        """What the matrix takes where it is kept."""
        if self.config.law == "rademacher-sparse":
            return self.n_rows * _n_entries(self.config.d_subspace) * 12
        return self.n_rows * self.config.d_subspace * 4

    def apply(
        self, z: Float[Tensor, "candidate subspace"]
    ) -> Float[Tensor, "candidate prompt model"]:
        """The values of each candidate, in float32 on its device; zeros give zeros.

        Raises:
            RecipeError: The candidates have other numbers than the matrix has columns.
        """
        if z.shape[1] != self.config.d_subspace:
            raise RecipeError(
                f"Candidates of {z.shape[1]} numbers do not fit the projection '{self.name}' of "
                f"{self.config.d_subspace}: give both the same d_subspace."
            )
        # Each in memory of its own: BLAS sums in another order where a row begins at an odd address.
        candidates = [one.to(torch.float32, copy=True) for one in z]
        if not candidates:
            return z.new_zeros((0, self.n_prompt, self.d_model), dtype=torch.float32)
        parts = [
            torch.stack([block.times(one) for one in candidates])
            for block in self._blocks(z.device)
        ]
        return torch.cat(parts, 1).view(len(candidates), self.n_prompt, self.d_model)

    def matrix(self) -> Float[Tensor, "row subspace"]:
        """The whole matrix, for tests and for small ones."""
        return torch.cat([block.dense() for block in self._blocks(torch.device("cpu"))])

    def _blocks(self, device: torch.device) -> Iterator[Block]:
        if not self.is_kept:
            yield from (block.to(device) for block in self._drawn())
            return
        if self._device != device:
            self._kept = [block.to(device) for block in self._kept or self._drawn()]
            self._device = device
        yield from self._kept

    def _drawn(self) -> Iterator[Block]:
        for number, first in enumerate(range(0, self.n_rows, _N_ROWS)):
            rng = numpy_generator(self.seed, "projection", self.name, number)
            yield self._draw(rng, min(_N_ROWS, self.n_rows - first))

    def _draw(self, rng: np.random.Generator, n_rows: int) -> Block:
        d, std = self.config.d_subspace, np.float32(self.entry.std)
        if self.config.law == "rademacher-sparse":
            return _draw_sparse(rng, n_rows, d, self.entry.std)
        if self.config.law == "uniform":
            drawn = rng.random((n_rows, d), dtype=np.float32) - np.float32(0.5)
            return DenseBlock(torch.from_numpy(drawn * (std * np.float32(math.sqrt(12)))))
        drawn = rng.standard_normal((n_rows, d), dtype=np.float32) * std
        return DenseBlock(torch.from_numpy(drawn + np.float32(self.entry.mean)))


def _entry_moments(config: ProjectionConfig, moments: Moments, sigma: float, name: str) -> Moments:
    """Of the matrix' entries, by its law."""
    d = config.d_subspace
    if config.law != "formula2022":
        return Moments(0.0, config.alpha * moments.std / (math.sqrt(d) * sigma))
    left = d - moments.std**2
    if left <= 0:
        raise RecipeError(
            f"The law 'formula2022' needs values whose variance is below the {d} numbers searched; at '{name}' it is "
            f"{moments.std**2:.3g}: choose the law 'normal'."
        )
    return Moments(moments.mean / left, moments.std / math.sqrt(left))


def _n_entries(d: int) -> int:
    """Entries of a row that are not 0 under the sparse law (li2006sparse, section 4)."""
    return max(1, round(math.sqrt(d)))


def _draw_sparse(rng: np.random.Generator, n_rows: int, d: int, std: float) -> SparseBlock:
    """Rows with one entry of either sign in each of sqrt(d) stretches of columns."""
    n_entries = _n_entries(d)
    edges = np.arange(n_entries + 1) * d // n_entries
    columns = rng.integers(edges[:-1], edges[1:], size=(n_rows, n_entries))
    signs = rng.integers(0, 2, size=(n_rows, n_entries), dtype=np.int8).astype(np.float32) * 2 - 1
    values = signs * np.float32(std * math.sqrt(d / n_entries))
    return SparseBlock(torch.from_numpy(columns), torch.from_numpy(values), d)
