"""Ranked: for each of many rows the few others with the largest numbers; found exactly, in blocks.

Products are first taken in float32, which is fast and rounds in a way that depends on the sizes of the
blocks. All that could be among the largest within that rounding are then computed again in float64, each
by itself, and ordered by that: the result is the same in whatever blocks, threads or processes it is found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Int64, Shaped
from torch import Tensor

from lmscope.atlas.record import Weighted

NOBODY: Final = -1
_CELLS: Final = 1 << 25
"""Products that are held at a time: 128 MiB."""
_KEYS_AT_ONCE: Final = 8192
_EXACT_AT_ONCE: Final = 1 << 22

RowsOf = Callable[[Int64[np.ndarray, "row"]], Float64[np.ndarray, "row width"]]
"""Rows by their numbers, each computed without regard to the others."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """The others of each row of a range, best first.

    Attributes:
        first: The number of the first row.
        ids: Who; -1 where there is nobody more.
        values: Their numbers.
    """

    first: int
    ids: Int32[np.ndarray, "row rank"]
    values: Float32[np.ndarray, "row rank"]

    @classmethod
    def nothing(cls, rows: range) -> "Ranked":
        """Nobody for each row of a range."""
        shape = (len(rows), 0)
        return cls(rows.start, np.zeros(shape, np.int32), np.zeros(shape, np.float32))

    def row(self, number: int) -> tuple[Weighted, ...]:
        """The others of one row."""
        pairs = zip(
            self.ids[number - self.first].tolist(),
            self.values[number - self.first].tolist(),
            strict=True,
        )
        return tuple(Weighted(who, value) for who, value in pairs if who != NOBODY)


@dataclass(frozen=True, eq=False)
class Keys:
    """Rows that queries are multiplied with.

    Attributes:
        n: How many.
        coarse: The rows from a number up to another, in float32, on the device that computes.
        exact: The same rows by their numbers.
        norm: A bound of their norms.
        absent: Numbers of rows that nobody shall be given.
    """

    n: int
    coarse: Callable[[int, int], Float32[Tensor, "key width"]]
    exact: RowsOf
    norm: float
    absent: Int64[np.ndarray, "absent"]


@dataclass(frozen=True, eq=False)
class Extremes:
    """The largest products of each query, and the smallest ones, smallest first."""

    largest: Ranked
    smallest: Ranked | None


def extreme_products(
    queries: RowsOf,
    rows: range,
    keys: Keys,
    count: int,
    *,
    skip_self: bool = False,
    smallest: bool = False,
) -> Extremes:
    """The keys with the largest products with each query; ties to the smaller number.

    Memory: 128 MiB of products, 8,192 keys and two blocks of exact rows, whatever the number of rows.
    Work: `2 * len(rows) * n_keys * width` floating-point operations.

    Args:
        queries: Rows by their numbers.
        rows: The numbers that are asked for. A query of zeros is given nobody.
        keys: What they are multiplied with.
        count: How many are kept; fewer where there are fewer.
        skip_self: Whether the key of a query's own number is left out.
        smallest: Whether the smallest products are found too.
    """
    sides = (1.0, -1.0) if smallest else (1.0,)
    parts: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in sides]
    size = max(1, _CELLS // (keys.n + 64))
    for start in range(rows.start, rows.stop, size):
        numbers = np.arange(start, min(start + size, rows.stop))
        exact = queries(numbers)
        products = _products(exact, keys)
        absent = torch.from_numpy(keys.absent).to(products.device)
        slack = 2 * _rounding(exact, keys)
        for sign, found in zip(sides, parts, strict=True):
            signed = products if sign > 0 else products.neg_()
            signed[:, absent] = -torch.inf
            if skip_self:
                own = torch.from_numpy(numbers).to(products.device)
                signed[torch.arange(len(numbers), device=products.device), own] = -torch.inf
            row, key = _candidates(signed, keys.n, count, slack)
            nonzero = (exact != 0).sum(axis=1)[row] > 0
            row, key = row[nonzero], key[nonzero]
            found.append(_best(sign * _exact(exact, keys, row, key), row, key, len(exact), count))
    best = [_joined(rows.start, found, sign) for sign, found in zip(sides, parts, strict=True)]
    return Extremes(best[0], best[1] if smallest else None)


def best_of(
    value: Float64[np.ndarray, "pair"],
    row: Int64[np.ndarray, "pair"],
    who: Int64[np.ndarray, "pair"],
    rows: range,
    count: int,
) -> Ranked:
    """The `count` largest values of each row, ties to the smaller number.

    Args:
        value: One number a pair.
        row: Row of each pair, from 0.
        who: Whom the row is paired with, once each.
        rows: The numbers of all rows.
        count: How many are kept.
    """
    return _joined(rows.start, [_best(value, row, who, len(rows), count)], 1.0)


def _products(exact: Float64[np.ndarray, "row width"], keys: Keys) -> Float32[Tensor, "row key"]:
    """Products in float32, the columns filled up to a whole number of groups."""
    first = keys.coarse(0, min(_KEYS_AT_ONCE, keys.n))
    query = torch.from_numpy(exact.astype(np.float32)).to(first.device)
    filled = -(-keys.n // _group(keys.n)) * _group(keys.n)
    products = torch.full((len(exact), filled), torch.nan, device=first.device)
    products[:, : len(first)] = query @ first.T
    for start in range(len(first), keys.n, _KEYS_AT_ONCE):
        stop = min(start + _KEYS_AT_ONCE, keys.n)
        products[:, start:stop] = query @ keys.coarse(start, stop).T
    return products


def _rounding(exact: Float64[np.ndarray, "row width"], keys: Keys) -> Float64[np.ndarray, "row"]:
    """A bound of what float32 makes of a product: width x 2^-24 x norms, and as much for the inputs."""
    return np.sqrt((exact * exact).sum(axis=1)) * keys.norm * (exact.shape[1] + 4) * 2.0**-23


def _group(n_keys: int) -> int:
    return 64 if n_keys >= 1 << 14 else 1


def _candidates(
    products: Float32[Tensor, "row key"],
    n_keys: int,
    count: int,
    slack: Float64[np.ndarray, "row"],
) -> tuple[Int64[np.ndarray, "pair"], Int64[np.ndarray, "pair"]]:
    """All keys that may be among the `count` largest of their row, once the rounding is taken away."""
    products[:, n_keys:] = -torch.inf
    size = _group(n_keys)
    groups = products.view(len(products), -1, size)
    peak = groups.amax(dim=-1)
    # So many groups have a member at least as large: no smaller one is among the largest.
    least = peak.topk(min(count, peak.shape[1]), dim=1).values[:, -1].double().cpu().numpy() - slack
    if peak.shape[1] < count:
        least[:] = -np.inf
    floor = torch.from_numpy(np.nextafter(least.astype(np.float32), np.float32(-np.inf)))
    floor = floor.to(products.device)[:, None]
    row, group = ((peak >= floor) & (peak > -torch.inf)).nonzero(as_tuple=True)
    members = groups[row, group]
    pair, place = ((members >= floor[row]) & (members > -torch.inf)).nonzero(as_tuple=True)
    key = group[pair] * size + place
    return row[pair].cpu().numpy(), key.cpu().numpy()


def _exact(
    exact: Float64[np.ndarray, "row width"],
    keys: Keys,
    row: Int64[np.ndarray, "pair"],
    key: Int64[np.ndarray, "pair"],
) -> Float64[np.ndarray, "pair"]:
    value = np.empty(len(row))
    step = max(1, _EXACT_AT_ONCE // exact.shape[1])
    for start in range(0, len(row), step):
        here = slice(start, start + step)
        # A sum over the last axis adds the same numbers in the same order for every pair.
        value[here] = (exact[row[here]] * keys.exact(key[here])).sum(axis=1)
    return value


def _best(
    value: Float64[np.ndarray, "pair"],
    row: Int64[np.ndarray, "pair"],
    who: Int64[np.ndarray, "pair"],
    n_rows: int,
    count: int,
) -> tuple[Shaped[np.ndarray, "row rank"], Shaped[np.ndarray, "row rank"]]:
    order = np.lexsort((who, -value, row))
    value, row, who = value[order], row[order], who[order]
    starts = np.searchsorted(row, np.arange(n_rows))
    rank = np.arange(len(row)) - starts[row]
    kept = rank < count
    ids = np.full((n_rows, count), NOBODY, dtype=np.int32)
    values = np.zeros((n_rows, count), dtype=np.float32)
    ids[row[kept], rank[kept]] = who[kept]
    values[row[kept], rank[kept]] = value[kept]
    return ids, values


def _joined(first: int, parts: list[tuple[np.ndarray, np.ndarray]], sign: float) -> Ranked:
    if not parts:
        return Ranked.nothing(range(first, first))
    ids = np.concatenate([ids for ids, _ in parts])
    return Ranked(first, ids, np.float32(sign) * np.concatenate([values for _, values in parts]))
