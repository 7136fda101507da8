"""Exact sums over contexts, and intervals from resampling the contexts.

Every figure of a report is a ratio of sums over tokens. Tokens of one context are not independent,
so the context is what gets resampled: the sums are kept for each context, a resample weights the
contexts, and numerator and denominator of a ratio, and all arms of a comparison, share its weights.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from numpy.typing import NDArray
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.core.rng import numpy_generator


class Estimate(Config):
    """A number with the percentile interval of a bootstrap over contexts (efron1979bootstrap)."""

    value: float
    """The figure on all contexts, not a mean over resamples."""
    low: float | None = None
    """Lower end of the interval; absent where it is unknown: fewer than two contexts."""
    high: float | None = None
    """Upper end of the interval."""
    n: int
    """Contexts that were resampled."""

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


class BootstrapOptions(Config):
    """How intervals are made."""

    n_resamples: int = 1000
    """Resamples of the contexts; 1,000 give the ends of a 95 % interval to about 3 % of its width."""
    confidence: float = 0.95
    """Share of resamples inside the interval, in (0, 1)."""
    max_units: int = 1000
    """More contexts than this are resampled in so many groups of neighbours, to bound memory."""


class ContextSums:
    """Sums over tokens in float64, one for each context and position bucket; parts add up with `+`.

    A column holds `[context, bucket]` sums of a number for each token, or `[context, bucket, width]`
    sums of a vector. Memory: 8 bytes x contexts x buckets (x width) for each column.
    """

    def __init__(self, n_contexts: int, n_buckets: int = 1) -> None:
        if n_contexts < 1:
            raise DataError("There is no context to evaluate: give text of at least one context.")
        self.n_contexts = n_contexts
        self.n_buckets = n_buckets
        self.columns: dict[str, NDArray[np.float64]] = {}

    def add(
        self,
        context: Int[Tensor, "token"],
        bucket: Int[Tensor, "token"],
        values: Mapping[str, Float[Tensor, "token"] | Float[Tensor, "token width"]],
    ) -> None:
        """Add tokens.

        Args:
            context: The context of each token, from 0.
            bucket: The position bucket of each token, from 0.
            values: For each column a number or a vector for each token; any float type.
        """
        cell = context.long() * self.n_buckets + bucket.long()
        cells, place = cell.unique(return_inverse=True)
        rows = cells.cpu().numpy()
        for name, value in values.items():
            shape = (len(rows), *value.shape[1:])
            sums = torch.zeros(shape, dtype=torch.float64, device=value.device)
            sums.index_add_(0, place, value.double())
            column = self.columns.setdefault(
                name, np.zeros((self.n_contexts, self.n_buckets, *value.shape[1:]))
            )
            column.reshape(-1, *value.shape[1:])[rows] += sums.cpu().numpy()

    def nonempty(self, name: str) -> "ContextSums":
        """The contexts whose column `name` is not all 0: where something was counted.

        Raises:
            DataError: There is no such context.
        """
        counted = self.columns.get(name, np.zeros((self.n_contexts, 1))).any(axis=1)
        if not counted.any():
            raise DataError(
                f"Not one of {self.n_contexts} contexts holds a token that counts: every one is "
                "padding, special, first in its context or an outlier; give other text."
            )
        return self.chosen(np.asarray(counted))

    def chosen(self, wanted: Bool[np.ndarray, "context"]) -> "ContextSums":
        """The contexts where `wanted` is true; at least one."""
        kept = ContextSums(int(wanted.sum()), self.n_buckets)
        kept.columns = {name: column[wanted] for name, column in self.columns.items()}
        return kept

    def regrouped(self, group: Int64[np.ndarray, "context"], n_groups: int) -> "ContextSums":
        """The same sums over groups of contexts.

        Args:
            group: The group of each context, from 0.
            n_groups: How many there are; some may be empty.
        """
        merged = ContextSums(n_groups, self.n_buckets)
        for name, column in self.columns.items():
            merged.columns[name] = np.zeros((n_groups, *column.shape[1:]))
            np.add.at(merged.columns[name], group, column)
        return merged

    def __add__(self, other: "ContextSums") -> "ContextSums":
        if (self.n_contexts, self.n_buckets) != (other.n_contexts, other.n_buckets):
            raise DataError(
                f"Sums over {other.n_contexts} contexts x {other.n_buckets} buckets cannot be added "
                f"to sums over {self.n_contexts} x {self.n_buckets}: number both parts alike."
            )
        merged = ContextSums(self.n_contexts, self.n_buckets)
        for name in self.columns | other.columns:
            parts = [part.columns[name] for part in (self, other) if name in part.columns]
            merged.columns[name] = np.sum(parts, axis=0)
        return merged


class Resamples:
    """Totals of `ContextSums`, as they are and under each resample of the contexts.

    Row 0 of every total is the truth (each context once), the others are the resamples. Arithmetic
    on totals is arithmetic on each row, so that a figure and its interval come from one formula:
    `resamples.estimate(resamples.total("hits") / resamples.total("n"))`.
    """

    def __init__(self, sums: ContextSums, options: BootstrapOptions, seed: int) -> None:
        self.options = options
        self.n_contexts = sums.n_contexts
        self._columns = sums.columns
        self._weights = bootstrap_weights(sums.n_contexts, options.n_resamples, seed)

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def total(self, name: str, bucket: int | None = None) -> Float64[np.ndarray, "resample ..."]:
        """A column's total over contexts, and over buckets unless one is given."""
        column = self._columns[name]
        chosen = column.sum(axis=1) if bucket is None else column[:, bucket]
        return self._weights @ chosen

    def estimate(self, values: Float64[np.ndarray, "resample"]) -> Estimate | None:
        """The figure of row 0 with its percentile interval; None where it is undefined (0 / 0)."""
        value, resampled = float(values[0]), values[1:]
        if not np.isfinite(value):
            return None
        if self.n_contexts < 2 or not len(resampled) or not np.isfinite(resampled).all():
            return Estimate(value=value, n=self.n_contexts)
        tail = (1 - self.options.confidence) / 2
        low, high = np.quantile(resampled, [tail, 1 - tail])
        return Estimate(value=value, low=float(low), high=float(high), n=self.n_contexts)


def bootstrap_weights(
    n_contexts: int, n_resamples: int, seed: int
) -> Float64[np.ndarray, "resample context"]:
    """How often each context is drawn: row 0 once each, every other row a resample of the same size."""
    counts = numpy_generator(seed, "bootstrap").multinomial(
        n_contexts, np.full(n_contexts, 1 / n_contexts), size=n_resamples
    )
    return np.vstack([np.ones((1, n_contexts)), counts])


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Elementwise quotient; NaN, without a warning, where the denominator is 0."""
    return np.divide(
        numerator,
        denominator,
        out=np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan),
        where=denominator != 0,
    )


def centred_square(
    square: Float64[np.ndarray, "resample"],
    vector: Float64[np.ndarray, "resample width"],
    n: Float64[np.ndarray, "resample"],
    mean: Float64[np.ndarray, "resample width"],
) -> Float64[np.ndarray, "resample"]:
    """The sum of squared distances to `mean`, of each resample.

    Args:
        square: Sums of ||y||^2.
        vector: Sums of y.
        n: Counts of y.
        mean: Where from; `vector / n` gives the variance times n.
    """
    return square - 2 * (mean * vector).sum(-1) + n * np.square(mean).sum(-1)


def position_edges(context_length: int) -> tuple[int, ...]:
    """Where the position buckets begin: 0, 1, 2, 4, 8, ... below the context length."""
    edges = [0, 1]
    while edges[-1] * 2 < context_length:
        edges.append(edges[-1] * 2)
    return tuple(edge for edge in edges if edge < context_length)


def bucket_of(position: Int[Tensor, "..."], edges: Sequence[int]) -> Int[Tensor, "..."]:
    """The bucket that each position lies in; the last bucket is open."""
    bounds = torch.tensor(edges, device=position.device)
    return torch.bucketize(position.long(), bounds, right=True) - 1
