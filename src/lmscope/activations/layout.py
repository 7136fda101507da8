"""Layout: which contexts each virtual stream reads, in which blocks; a pure function of its fields.

The shuffled contexts are cut into equal groups, one forward pass each. Group j belongs to virtual
stream j % V. A stream's groups are cut into blocks; the rows of a block are permuted together, and
each batch takes batch_tokens / V rows from the front of each stream. So a batch mixes V blocks.

The first block of stream v has only about (v + 1) / V of the groups of a full one. That staggers the
streams: they do not all need a new block at the same step, which keeps the work of the steps even.

A block's contexts stay together in every pass, which lets a store serve later passes; each pass reads
the blocks after the first in another order and permutes the rows of each anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from lmscope.activations.config import StreamConfig
from lmscope.core.errors import DataError
from lmscope.core.rng import numpy_generator
from lmscope.text.order import context_order


@dataclass(frozen=True)
class Layout:
    """Groups and blocks of one corpus; the same for every number of processes.

    Attributes:
        n_contexts: Contexts of the corpus.
        options: Sizes.
        seed: The recipe's.
    """

    n_contexts: int
    options: StreamConfig
    seed: int

    def __post_init__(self) -> None:
        if self.n_contexts < self.options.n_streams:
            raise DataError(
                f"{self.n_contexts} contexts are too few for {self.options.n_streams} streams: use more "
                "text, shorter contexts, or a smaller n_streams."
            )

    @property
    def groups_per_stream(self) -> int:
        """Forward passes of each stream in one pass over the text; equal for all streams."""
        return -(-self.n_contexts // (self.options.n_streams * self.options.forward_contexts))

    @property
    def group_contexts(self) -> int:
        """Contexts of the largest group: the one batch shape of the run. Others have one fewer at most."""
        return -(-self.n_contexts // (self.options.n_streams * self.groups_per_stream))

    @property
    def groups_per_block(self) -> int:
        """Groups of a full block."""
        return max(1, self.options.block_contexts // self.group_contexts)

    @property
    def block_contexts(self) -> int:
        """Contexts of the largest block."""
        return self.group_contexts * min(self.groups_per_block, self.groups_per_stream)

    def block_starts(self, stream: int) -> list[int]:
        """Where the stream's blocks begin among its groups, with the end of the last one."""
        n_groups, full = self.groups_per_stream, self.groups_per_block
        first = min(n_groups, -(-full * (stream + 1) // self.options.n_streams))
        rest = n_groups - first
        n_rest = -(-rest // full)
        return [0, *(first + rest * i // n_rest for i in range(n_rest)), n_groups][: n_rest + 2]

    def n_blocks(self, stream: int) -> int:
        """Blocks of the stream in one pass."""
        return len(self.block_starts(stream)) - 1

    def block_number(self, stream: int, block: int) -> int:
        """The block's number among those of all streams; it names its random numbers and its files."""
        return block * self.options.n_streams + stream

    def block(self, stream: int, block: int) -> list[Int64[np.ndarray, "context"]]:
        """The contexts of each group of a block; with one context a group some blocks are empty."""
        starts = self.block_starts(stream)
        groups = (self.group(stream, i) for i in range(starts[block], starts[block + 1]))
        return [group for group in groups if len(group)]

    def group(self, stream: int, number: int) -> Int64[np.ndarray, "context"]:
        """The contexts of the stream's group `number`."""
        n_groups = self.options.n_streams * self.groups_per_stream
        j = number * self.options.n_streams + stream
        start, stop = j * self.n_contexts // n_groups, (j + 1) * self.n_contexts // n_groups
        return self._order[start:stop]

    def first_pass(self) -> Iterator[tuple[int, int]]:
        """Stream and block of all blocks with text: the first ones of all streams, the second, ..."""
        n_blocks = [self.n_blocks(stream) for stream in range(self.options.n_streams)]
        for block in range(max(n_blocks)):
            for stream, n in enumerate(n_blocks):
                if block < n and self.block(stream, block):
                    yield stream, block

    def block_order(self, stream: int, pass_index: int) -> list[int]:
        """In which order a pass reads the stream's blocks; the short first one always comes first."""
        rest = range(1, self.n_blocks(stream))
        if pass_index == 0:
            return [0, *rest]
        draw = numpy_generator(self.seed, "block order", pass_index, stream)
        return [0, *(1 + int(i) for i in draw.permutation(len(rest)))]

    @cached_property
    def _order(self) -> Int64[np.ndarray, "context"]:
        return context_order(self.n_contexts, self.seed, 0, self.options.shuffle_window)
