"""Buckets of like length hold every example once and cost least."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from lmscope.prompting.buckets import buckets

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=7)


def _cost(groups, sizes, overhead):
    return sum(len(g) * max(sizes[i] for i in g) + overhead for g in groups)


@given(lengths, st.integers(0, 100))
def test_no_cut_of_the_sorted_examples_costs_less(sizes, overhead) -> None:
    found = buckets(sizes, overhead=overhead)
    assert sorted(i for group in found for i in group) == list(range(len(sizes)))
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    best = min(
        _cost(
            [order[a:b] for a, b in zip((0, *cuts), (*cuts, len(order)), strict=True)],
            sizes,
            overhead,
        )
        for n in range(len(order))
        for cuts in combinations(range(1, len(order)), n)
    )
    assert _cost(found, sizes, overhead) == best


def test_a_bucket_has_no_more_rows_than_it_may() -> None:
    found = buckets([3] * 10, overhead=1000, most_rows=4)
    assert sorted(len(group) for group in found) == [2, 4, 4]


def test_lengths_far_apart_are_parted_and_near_ones_are_not() -> None:
    # Padding two rows of 10 to 100 costs 180 tokens more than a second group's 128; 10 to 20 does not.
    assert len(buckets([10, 10, 100], overhead=128)) == 2
    assert len(buckets([10, 10, 20], overhead=128)) == 1
