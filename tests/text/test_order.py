"""The data order: every context once a pass, whatever the sizes and the processes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import RecipeError
from lmscope.core.mesh import Mesh
from lmscope.text.order import BlockOrder, context_order

SIZES = {"n": st.integers(1, 200), "seed": st.integers(0, 5), "window": st.integers(1, 80)}


@given(**SIZES, pass_index=st.integers(0, 3))
def test_a_pass_is_a_permutation_that_stays_inside_windows(n, seed, window, pass_index):
    order = context_order(n, seed, pass_index, window)
    assert sorted(order.tolist()) == list(range(n))
    assert (order // window == np.arange(n) // window).all()


def test_seed_and_pass_change_the_order():
    orders = [context_order(100, s, p).tolist() for s, p in ((0, 0), (1, 0), (0, 1))]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert context_order(100, 0, 0).tolist() == orders[0]


def test_a_full_window_does_not_change_when_the_corpus_grows():
    assert (context_order(100, 0, 0, 32)[:96] == context_order(1000, 0, 0, 32)[:96]).all()


@given(**SIZES, size=st.integers(1, 30))
def test_blocks_cut_the_order_into_pieces(n, seed, window, size):
    order = BlockOrder(n, size, seed, window=window)
    blocks = [order.block(2, b) for b in range(order.n_blocks)]
    assert np.concatenate(blocks).tolist() == context_order(n, seed, 2, window).tolist()
    assert all(len(block) == size for block in blocks[:-1])


@pytest.mark.parametrize("n_processes", [1, 2, 4])
def test_processes_read_every_block_once_and_the_same_streams(n_processes):
    order = BlockOrder(n_contexts=210, block_contexts=10, seed=3)
    read: dict[int, list[list[int]]] = {}
    for rank in range(n_processes):
        for stream in Mesh(data=n_processes, rank=rank).owned_streams(order.n_streams):
            places = [order.place(stream, step) for step in range(order.n_stream_blocks(stream))]
            assert all(order.stream_of(place.block) == stream for place in places)
            read[stream] = [order.block(*place).tolist() for place in places]
    alone = {s: [order.block(0, b).tolist() for b in range(s, order.n_blocks, 8)] for s in range(8)}
    assert read == alone
    contexts = [c for blocks in read.values() for block in blocks for c in block]
    assert sorted(contexts) == list(range(210))


def test_a_stream_goes_on_with_the_next_pass():
    order = BlockOrder(n_contexts=100, block_contexts=10, seed=0, n_streams=4)
    # 10 blocks: stream 1 has 1, 5, 9; stream 2 has 2, 6
    assert [tuple(order.place(1, step)) for step in range(4)] == [(0, 1), (0, 5), (0, 9), (1, 1)]
    assert [tuple(order.place(2, step)) for step in range(3)] == [(0, 2), (0, 6), (1, 2)]


def test_wrong_counts_are_refused():
    with pytest.raises(RecipeError, match="block_contexts must be at least 1, not 0"):
        BlockOrder(10, 0, 0)
    with pytest.raises(RecipeError, match="window must be"):
        context_order(10, 0, window=0)
    with pytest.raises(IndexError):
        BlockOrder(10, 5, 0).block(0, 2)
    with pytest.raises(RecipeError, match="too few for 8 streams"):
        BlockOrder(10, 5, 0).place(7, 0)
