import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.activations.reader import Rows
from lmscope.activations.virtual_stream import Place, VirtualStream
from lmscope.core.site import Site

SITE = Site("resid_post", 0)


def stream_of(sizes, loaded):
    """Rows 0, 1, 2, ... in blocks of the given sizes."""

    def load(place):
        loaded.append(place.block)
        rows = torch.arange(place.n_rows) + sum(sizes[: place.block])
        return Rows({SITE: rows[:, None].float()}, rows, -rows)

    return VirtualStream(lambda: (Place(0, i, size) for i, size in enumerate(sizes)), load)


def taken(stream, n):
    empty = torch.zeros(n, dtype=torch.int64)
    batch = Rows({SITE: torch.zeros(n, 1)}, empty, empty.clone())
    stream.fill(batch, 0, n)
    assert torch.equal(batch.values[SITE][:, 0].long(), batch.context)
    assert torch.equal(batch.position, -batch.context)
    return batch.context.tolist()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
def test_rows_come_one_after_the_other_from_anywhere(sizes, data):
    total = sum(sizes)
    start = data.draw(st.integers(0, total))
    loaded: list[int] = []
    stream = stream_of(sizes, loaded)
    stream.seek(start)
    found, at = [], start
    while at < total:
        n = data.draw(st.integers(1, total - at))
        found += taken(stream, n)
        at += n
    assert found == list(range(start, total))
    owner = [block for block, size in enumerate(sizes) for _ in range(size)]
    assert loaded == sorted(set(owner[start:]))  # none that gives no row, none twice


def test_more_rows_than_there_are_is_an_error():
    with pytest.raises(IndexError, match="no rows left"):
        taken(stream_of([2, 1], []), 4)
