import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.activations.config import StreamConfig
from lmscope.activations.layout import Layout
from lmscope.core.errors import DataError, RecipeError

sizes = st.tuples(
    st.sampled_from([1, 2, 8]), st.integers(1, 9), st.integers(1, 40), st.integers(1, 30)
)


def layout(n_contexts=100, n_streams=8, forward=4, block=12, window=1 << 16, seed=0, passes=1):
    options = StreamConfig(
        batch_tokens=n_streams,
        n_streams=n_streams,
        forward_contexts=forward,
        block_contexts=block,
        shuffle_window=window,
        passes=passes,
    )
    return Layout(n_contexts, options, seed)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(0, 300))
def test_each_context_is_in_exactly_one_block(size, extra):
    n_streams, forward, block, window = size
    made = layout(n_streams + extra, n_streams, forward, block, window)
    groups = [g for s, b in made.first_pass() for g in made.block(s, b)]
    assert sorted(np.concatenate(groups).tolist()) == list(range(n_streams + extra))


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(0, 300))
def test_streams_have_equal_groups_of_nearly_equal_size(size, extra):
    n_streams, forward, block, window = size
    made = layout(n_streams + extra, n_streams, forward, block, window)
    groups = [[made.group(s, i) for i in range(made.groups_per_stream)] for s in range(n_streams)]
    lengths = {len(g) for stream in groups for g in stream}
    assert max(lengths) == made.group_contexts <= forward
    assert min(lengths) >= made.group_contexts - 1


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(0, 300))
def test_no_block_is_empty_or_above_its_bound(size, extra):
    n_streams, forward, block, window = size
    made = layout(n_streams + extra, n_streams, forward, block, window)
    for stream, b in made.first_pass():
        n = sum(map(len, made.block(stream, b)))
        assert 1 <= n <= made.block_contexts <= max(block, forward)


def test_first_blocks_are_staggered():
    """16 groups of 1 in each stream, blocks of 4: first blocks of 1, 1, 2, 2, 3, 3, 4, 4 groups."""
    made = layout(128, 8, forward=1, block=4)
    assert [made.block_starts(s)[1] for s in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert made.block_starts(0) == [0, 1, 4, 8, 12, 16]
    assert made.block_starts(7) == [0, 4, 8, 12, 16]


def test_passes_reorder_the_blocks_after_the_first():
    made = layout(2000, 2, forward=2, block=4, passes=3)
    orders = [made.block_order(0, p) for p in range(3)]
    assert orders[0] == list(range(made.n_blocks(0)))
    assert all(sorted(o) == orders[0] and o[0] == 0 for o in orders)
    assert orders[0] != orders[1] != orders[2]
    assert made.block_order(1, 1) != orders[1]


def test_seed_changes_the_order():
    def first(seed):
        return layout(seed=seed).block(0, 0)[0].tolist()

    assert first(0) == first(0)
    assert first(0) != first(1)


def test_block_numbers_are_unique():
    made = layout(777)
    numbers = [made.block_number(s, b) for s, b in made.first_pass()]
    assert len(set(numbers)) == len(numbers)


def test_fewer_contexts_than_streams_is_an_error():
    with pytest.raises(DataError, match="7 contexts are too few for 8 streams"):
        layout(7)


def test_batch_that_streams_cannot_share_is_an_error():
    with pytest.raises(RecipeError, match="batch_tokens = 100 cannot be shared by 8 streams"):
        StreamConfig.from_mapping({"batch_tokens": 100})
