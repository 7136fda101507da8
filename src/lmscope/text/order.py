"""In which order contexts are read: a pure function of seed, pass and place.

One pass over n contexts goes like this:

1. `context_order` permutes the contexts inside windows (one window, so globally, when they fit).
2. The permuted list is cut into blocks of `block_contexts`; the last block may be shorter.
   Block b holds places b * block_contexts onwards: `BlockOrder.block`.
3. Block b belongs to virtual stream b % n_streams. A process owns whole streams
   (`core.mesh.Mesh.owned_streams`), so 1, 2, 4 or 8 processes read the same blocks of the same streams.

What holds, whatever the sizes: each context comes exactly once a pass; a block depends on
(seed, pass, b) and on nothing that was read before, so a run resumes by block number; and block b
needs no context beyond the end of its windows, so streamed text is read on as it is needed.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int64

from lmscope.core.errors import RecipeError
from lmscope.core.rng import numpy_generator

N_STREAMS: Final = 8
"""Virtual streams that processes share; more processes than this cannot read side by side."""
WINDOW: Final = 1 << 16
"""Contexts that are shuffled together: 8.4 million tokens at 128 tokens a context."""


class BlockPlace(NamedTuple):
    """Which block a stream reads: pass number and block number, both from 0."""

    pass_index: int
    block: int


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


@dataclass(frozen=True, slots=True)
class BlockOrder:
    """Which contexts each block of each virtual stream holds.

    Attributes:
        n_contexts: Contexts of the corpus.
        block_contexts: Contexts of one block.
        seed: The recipe's seed.
        n_streams: Virtual streams.
        window: Contexts that are shuffled together.
    """

    n_contexts: int
    block_contexts: int
    seed: int
    n_streams: int = N_STREAMS
    window: int = WINDOW

    def __post_init__(self) -> None:
        _positive(
            n_contexts=self.n_contexts,
            block_contexts=self.block_contexts,
            n_streams=self.n_streams,
            window=self.window,
        )

    @property
    def n_blocks(self) -> int:
        """Blocks of one pass, over all streams."""
        return -(-self.n_contexts // self.block_contexts)

    def stream_of(self, block: int) -> int:
        """The virtual stream that a block belongs to."""
        return block % self.n_streams

    def n_stream_blocks(self, stream: int) -> int:
        """Blocks of one stream in one pass; streams differ by at most one, and may have none."""
        return len(range(stream, self.n_blocks, self.n_streams))

    def place(self, stream: int, step: int) -> BlockPlace:
        """Where a stream is after `step` blocks, counted through all passes.

        Raises:
            RecipeError: The stream has no block at all.
        """
        n = self.n_stream_blocks(stream)
        if n == 0:
            raise RecipeError(
                f"{self.n_contexts} contexts make {self.n_blocks} blocks of {self.block_contexts}, too "
                f"few for {self.n_streams} streams: use smaller blocks or more text."
            )
        return BlockPlace(step // n, (step % n) * self.n_streams + stream)

    def block(self, pass_index: int, block: int) -> Int64[np.ndarray, "context"]:
        """The contexts of one block, in the order in which they are read.

        Raises:
            IndexError: There is no such block.
        """
        if not 0 <= block < self.n_blocks:
            raise IndexError(f"block {block} of {self.n_blocks}")
        start = block * self.block_contexts
        stop = min(start + self.block_contexts, self.n_contexts)
        first, last = start // self.window, (stop - 1) // self.window
        order = np.concatenate(
            [
                _window_order(self.n_contexts, self.seed, pass_index, self.window, w)
                for w in range(first, last + 1)
            ]
        )
        return order[start - first * self.window : stop - first * self.window]


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
