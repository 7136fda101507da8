"""Examples of like length together, so that little is computed for padding."""

from collections.abc import Sequence

import numpy as np


def buckets(
    lengths: Sequence[int], *, overhead: int = 128, most_rows: int | None = None
) -> list[list[int]]:
    """Groups of numbers of examples, each to be padded to its longest, that cost least in all.

    Cost is padded tokens and so many more for each group; found exactly, by dynamic programming over
    the lengths in order.

    Args:
        lengths: Tokens of each example.
        overhead: What a group costs besides its tokens, in tokens.
        most_rows: Examples that one group may have.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    n, most = len(order), most_rows or len(order)
    cost, begins = np.zeros(n + 1), np.zeros(n + 1, dtype=int)
    for last in range(1, n + 1):
        first = np.arange(max(0, last - most), last)
        tried = cost[first] + (last - first) * lengths[order[last - 1]] + overhead
        best = int(tried.argmin())
        cost[last], begins[last] = tried[best], first[best]
    groups, last = [], n
    while last:
        first = int(begins[last])
        groups.append(sorted(order[first:last]))
        last = first
    return groups[::-1]
