"""Random choices that depend on what is chosen from and on nothing else.

No generator is carried along: each number is a hash of what it is for. So a choice for one latent is the
same whatever was chosen before it, in whatever blocks, shards or processes the work was done.
"""

from typing import Final

import numpy as np
from jaxtyping import Int64, Integer, UInt64

from lmscope.core.rng import stream_seed

_GOLDEN: Final = 0x9E3779B97F4A7C15
_SEED: Final = 0


def keys(name: str, *parts: Integer[np.ndarray, "row"]) -> UInt64[np.ndarray, "row"]:
    """One key a row, a hash of the name and of the row's numbers."""
    key = np.full(len(parts[0]), stream_seed(_SEED, "atlas", name), dtype=np.uint64)
    for part in parts:
        key = _mixed(key + np.uint64(_GOLDEN) * (part.astype(np.uint64) + np.uint64(1)))
    return key


def sample_ranks(
    key: UInt64[np.ndarray, "row"], n_from: Int64[np.ndarray, "row"], n: int
) -> Int64[np.ndarray, "row n"]:
    """For each row `n` different numbers below `n_from`, every set of them equally probable (floyd1987sample).

    Args:
        key: What the choice depends on, from `keys`.
        n_from: How many there are to choose from.
        n: How many are chosen.

    Returns:
        The numbers, ascending; -1, at the front, where there are fewer than `n` to choose from.
    """
    chosen = np.full((len(key), n), -1, dtype=np.int64)
    for i in range(n):
        # Where fewer than n are there, the first steps have nothing to choose and the rest take all.
        last = n_from - n + i
        draw = _mixed(key + np.uint64(_GOLDEN * (i + 1) % 2**64))
        guess = (draw % np.maximum(last + 1, 1).astype(np.uint64)).astype(np.int64)
        is_taken = (chosen[:, :i] == guess[:, None]).any(axis=1)
        chosen[:, i] = np.where(last < 0, -1, np.where(is_taken, last, guess))
    return np.sort(chosen, axis=1)


def _mixed(x: UInt64[np.ndarray, "row"]) -> UInt64[np.ndarray, "row"]:
    """The finaliser of SplitMix64 (steele2014splittable): every bit of x decides about every bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
