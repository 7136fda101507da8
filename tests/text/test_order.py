"""The data order: every context once a pass, whatever the sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import RecipeError
from lmscope.text.order import context_order

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


def test_wrong_counts_are_refused():
    for sizes in ({"n_contexts": 0, "seed": 0}, {"n_contexts": 3, "seed": 0, "window": 0}):
        with pytest.raises(RecipeError, match="at least 1"):
            context_order(**sizes)
