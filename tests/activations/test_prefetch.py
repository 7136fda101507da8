import threading

import pytest
import torch

from lmscope.activations.prefetch import Ahead
from lmscope.core.errors import DataError

CPU = torch.device("cpu")


def counter(stop=5):
    made = iter(range(stop))
    return lambda: next(made, None)


def test_things_come_in_order_and_then_none():
    ahead = Ahead(counter(), lambda _: [], CPU)
    assert [ahead.take() for _ in range(7)] == [0, 1, 2, 3, 4, None, None]
    ahead.close()


def test_the_next_thing_is_made_while_the_present_one_is_used():
    second_made = threading.Event()
    made = iter(range(3))

    def make():
        thing = next(made)
        if thing == 1:
            second_made.set()
        return thing

    ahead = Ahead(make, lambda _: [], CPU)
    assert ahead.take() == 0
    assert second_made.wait(timeout=30)
    ahead.close()


def test_errors_come_out_where_the_thing_would():
    made = iter([1, DataError("unreadable")])

    def make():
        thing = next(made)
        if isinstance(thing, DataError):
            raise thing
        return thing

    ahead = Ahead(make, lambda _: [], CPU)
    assert ahead.take() == 1
    with pytest.raises(DataError, match="unreadable"):
        ahead.take()
    ahead.close()
