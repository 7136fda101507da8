"""Blocks: the rows of each block of each virtual stream, from the model or from a store."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int32

from lmscope.activations.layout import Layout
from lmscope.activations.reader import Rows, SiteReader
from lmscope.activations.store import BlockStore
from lmscope.activations.virtual_stream import Place
from lmscope.core.rng import generator

_SCAN = 4096
"""Contexts whose kept positions are counted at once."""


class Blocks:
    """Reads blocks, in the order of their contexts or permuted.

    Args:
        layout: Which contexts they hold.
        reader: Reads contexts.
        store: Keeps what was read.
    """

    def __init__(self, layout: Layout, reader: SiteReader, store: BlockStore) -> None:
        self.layout = layout
        self._reader = reader
        self._store = store

    @cached_property
    def _kept(self) -> Int32[np.ndarray, "context"]:
        """Kept positions of each context: one look at all tokens, no model."""
        n = self.layout.n_contexts
        counts = [
            self._reader.kept(np.arange(start, min(start + _SCAN, n))).sum(1, dtype=torch.int32)
            for start in range(0, n, _SCAN)
        ]
        return torch.cat(counts).numpy()

    @property
    def n_kept(self) -> int:
        """Kept positions of the whole text."""
        return int(self._kept.sum(dtype=np.int64))

    def n_rows(self, stream: int, block: int) -> int:
        """Rows of a block."""
        return sum(int(self._kept[group].sum()) for group in self.layout.block(stream, block))

    def n_stream_rows(self, stream: int) -> int:
        """Rows of a stream in one pass."""
        return sum(self.n_rows(stream, block) for block in range(self.layout.n_blocks(stream)))

    def course(self, stream: int) -> Iterator[Place]:
        """All blocks of a stream through all passes, as they are read."""
        for pass_index in range(self.layout.options.passes):
            for block in self.layout.block_order(stream, pass_index):
                yield Place(pass_index, block, self.n_rows(stream, block))

    def in_order(self, stream: int, block: int, pass_index: int = 0) -> Rows:
        """A block's rows in the order of its contexts; from the store if it is there."""
        groups = self.layout.block(stream, block)
        number = self.layout.block_number(stream, block)
        sites = self._reader.models.sites
        if (stored := self._store.get(number, sites)) is not None:
            device = self._reader.models.device
            values = {site: stored.pop(site).to(device) for site in sites}
            return replace(self._reader.places(groups), values=values)
        seed = self.layout.seed
        generators = [generator(seed, "prepare", pass_index, number, i) for i in range(len(groups))]
        rows = self._reader.block(groups, generators)
        self._store.put(number, rows.values)
        return rows

    def permuted(self, stream: int, place: Place, rows: Rows | None = None) -> Rows:
        """A block's rows as a pass hands them out: permuted as one.

        Args:
            stream: Whose block.
            place: Which block in which pass.
            rows: The block in order, if it was read already; its values are taken out one by one.
        """
        if rows is None:
            rows = self.in_order(stream, place.block, place.pass_index)
        number = self.layout.block_number(stream, place.block)
        draw = generator(self.layout.seed, "order", place.pass_index, number)
        order = torch.randperm(len(rows), generator=draw).to(rows.context.device)
        values = {site: rows.values.pop(site)[order] for site in list(rows.values)}
        return Rows(values, rows.context[order], rows.position[order])
