"""Which stretches of the corpus stand for a latent: the strongest, some of every strength, and silent ones."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from lmscope.atlas.block import Block, Spans
from lmscope.atlas.config import CensusOptions
from lmscope.atlas.record import Example, ExampleGroup
from lmscope.atlas.sampling import keys, sample_ranks
from lmscope.atlas.stretches import Stretches


def example_groups(
    block: Block, spans: Spans, stretches: Stretches, options: CensusOptions
) -> list[tuple[ExampleGroup, ...]]:
    """The example groups of each row: `top`, then intervals from the strongest to the weakest.

    An interval holds the spans of a row whose ranks by falling peak lie in it; all are equally large, up to
    one span. One that holds none is left out, and one that holds only spans with the tokens of others has no
    examples.
    """
    groups = _Groups(block, spans, options)
    chosen = groups.chosen()
    examples = _examples(block, spans, stretches, chosen.span)
    bounds = np.searchsorted(chosen.group, np.arange(block.n_rows * groups.n + 1)).tolist()
    edges = groups.edges().tolist()
    found = []
    for row in range(block.n_rows):
        peaks = spans.peak[spans.bounds[row] : spans.bounds[row + 1]]
        cuts = bounds[row * groups.n : (row + 1) * groups.n + 1]
        parts = [tuple(examples[a:b]) for a, b in pairwise(cuts)]
        found.append(_row_groups(peaks, parts, edges[row]) if len(peaks) else ())
    return found


def silent_starts(
    block: Block, spans: Spans, stretches: Stretches, n: int
) -> list[tuple[int, ...]]:
    """For each row the starts of `n` stretches in which it never fires, drawn uniformly, ascending.

    Only stretches in which a position counts are drawn from. Rows with fewer silent ones have all of them.
    """
    eligible = stretches.eligible
    order = np.lexsort((spans.stretch, spans.row))
    row = spans.row[order]
    place = np.searchsorted(eligible, spans.stretch[order])
    # Silent stretch number r is the eligible one with place r + (firing ones before it), and before it
    # stand those whose own place, less the firing ones before themselves, is at most r.
    width = len(eligible) + 1
    passed = row * width + place - (np.arange(len(row)) - spans.bounds[row])
    n_silent = len(eligible) - spans.n_stretches
    rank = sample_ranks(keys("silent", block.numbers), n_silent, n)
    n_before = np.searchsorted(passed, np.arange(block.n_rows)[:, None] * width + rank, "right")
    silent = np.where(rank < 0, 0, rank + n_before - spans.bounds[:-1, None])
    starts = stretches.start(eligible[silent].reshape(-1)).reshape(rank.shape)
    return [
        tuple(start for start, r in zip(*both, strict=True) if r >= 0)
        for both in zip(starts.tolist(), rank.tolist(), strict=True)
    ]


class _Chosen(NamedTuple):
    """Examples of a block.

    Attributes:
        group: `row * n + 0` for `top`, `row * n + 1 + interval` for an interval; ascending.
        span: The span, by falling peak within a group.
    """

    group: Int64[np.ndarray, "example"]
    span: Int64[np.ndarray, "example"]


class _Groups:
    """The groups of all rows of a block.

    Attributes:
        n: Groups of a row: `top` and the intervals.
    """

    def __init__(self, block: Block, spans: Spans, options: CensusOptions) -> None:
        self.block, self.spans, self.options = block, spans, options
        self.n = options.n_intervals + 1

    def edges(self) -> Int64[np.ndarray, "row edge"]:
        """The ranks at which a row's intervals begin, and the end."""
        parts = max(self.options.n_intervals, 1)
        return np.arange(parts + 1) * self.spans.n_stretches[:, None] // parts

    def chosen(self) -> _Chosen:
        """All examples."""
        may = self.spans.distinct.nonzero()[0]
        parts = [self._top(may)] + ([self._drawn(may)] if self.options.n_intervals else [])
        group = np.concatenate([part.group for part in parts])
        order = np.argsort(group, kind="stable")
        return _Chosen(group[order], np.concatenate([part.span for part in parts])[order])

    def _top(self, may: Int64[np.ndarray, "distinct"]) -> _Chosen:
        row = self.spans.row[may]
        first = np.searchsorted(row, np.arange(self.block.n_rows))
        top = np.arange(len(may)) - first[row] < self.options.n_top
        return _Chosen(row[top] * self.n, may[top])

    def _drawn(self, may: Int64[np.ndarray, "distinct"]) -> _Chosen:
        parts, spans = self.options.n_intervals, self.spans
        row = spans.row[may]
        rank = may - spans.bounds[row]
        # The interval whose edges i * n // parts enclose the rank.
        interval = ((rank + 1) * parts - 1) // spans.n_stretches[row]
        cells = np.arange(self.block.n_rows * parts)
        bounds = np.searchsorted(row * parts + interval, np.arange(len(cells) + 1))
        key = keys("interval", self.block.numbers[cells // parts], cells % parts)
        drawn = sample_ranks(key, np.diff(bounds), self.options.n_each)
        cell, column = (drawn >= 0).nonzero()
        group = cell // parts * self.n + 1 + cell % parts
        return _Chosen(group, may[bounds[cell] + drawn[cell, column]])


def _row_groups(
    peaks: np.ndarray, parts: list[tuple[Example, ...]], edges: list[int]
) -> tuple[ExampleGroup, ...]:
    """The groups of one row that fires; `parts` are the examples of each, `peaks` fall."""
    low, n = parts[0][-1].max, len(peaks)
    groups = [ExampleGroup("top", low, float(peaks[0]), int((peaks >= low).sum()) / n, parts[0])]
    for inside, first, stop in zip(parts[1:], edges[:-1], edges[1:], strict=False):
        if first < stop:
            low, high = float(peaks[stop - 1]), float(peaks[first])
            groups.append(ExampleGroup("quantile", low, high, (stop - first) / n, inside))
    return tuple(groups)


def _examples(
    block: Block, spans: Spans, stretches: Stretches, chosen: Int64[np.ndarray, "example"]
) -> list[Example]:
    begin, n = spans.begin[chosen], spans.end[chosen] - spans.begin[chosen]
    starts = stretches.start(spans.stretch[chosen])
    ends = np.cumsum(n)
    # Only the firings of examples are copied, so that records do not keep the block's arrays.
    firing = np.repeat(begin - (ends - n), n) + np.arange(int(n.sum()))
    places = (block.position[firing] - np.repeat(starts, n)).astype(np.int32)
    values = block.value[firing]
    peaks = (block.position[spans.peak_at[chosen]] - starts).tolist()
    lengths = stretches.length[spans.stretch[chosen]].tolist()
    cuts = [0, *ends.tolist()]
    return [
        Example(start, length, peak, places[a:b], values[a:b])
        for start, length, peak, a, b in zip(
            starts.tolist(), lengths, peaks, cuts[:-1], cuts[1:], strict=True
        )
    ]
