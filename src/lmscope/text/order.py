"""In which order contexts are read: a pure function of seed, pass and window.

Contexts are permuted inside windows: in one window, so globally, when they fit into it. A window's order
depends on nothing outside it, so streamed text is read on as it is needed and a corpus that grows keeps the
order of its full windows. `activations.layout` cuts the order into the blocks of virtual streams.
"""

from typing import Final

import numpy as np
from jaxtyping import Int64

from lmscope.core.errors import RecipeError
from lmscope.core.rng import numpy_generator

WINDOW: Final = 1 << 16
"""Contexts that are shuffled together: 8.4 million tokens at 128 tokens a context."""


def context_order(
    n_contexts: int, seed: int, pass_index: int = 0, window: int = WINDOW
) -> Int64[np.ndarray, "context"]:
    """The contexts of one pass in the order in which they are read.

    Args:
        n_contexts: How many there are.
        seed: The recipe's seed.
        pass_index: Which pass over the corpus, from 0; each has its own order.
        window: Contexts `w * window` to `(w + 1) * window` are permuted among themselves.

    Returns:
        A permutation of 0 .. n_contexts - 1.
    """
    _positive(n_contexts=n_contexts, window=window)
    windows = range(-(-n_contexts // window))
    return np.concatenate([_window_order(n_contexts, seed, pass_index, window, w) for w in windows])


def _window_order(
    n_contexts: int, seed: int, pass_index: int, window: int, number: int
) -> Int64[np.ndarray, "context"]:
    start = number * window
    n = min(window, n_contexts - start)
    return start + numpy_generator(seed, "context order", pass_index, number).permutation(n)


def _positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise RecipeError(f"{name} must be at least 1, not {count}.")
