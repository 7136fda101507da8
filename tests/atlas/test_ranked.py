import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.atlas import ranked
from lmscope.atlas.ranked import Keys, Ranked, best_of, extreme_products
from lmscope.atlas.record import Weighted


def keys_of(rows: np.ndarray, absent: list[int] | None = None) -> Keys:
    tensor = torch.from_numpy(rows.astype(np.float32))
    return Keys(
        n=len(rows),
        coarse=lambda start, stop: tensor[start:stop],
        exact=lambda numbers: rows[numbers],
        norm=float(np.linalg.norm(rows, axis=1).max()),
        absent=np.array(absent or [], dtype=np.int64),
    )


def naive(queries, rows, count, *, skip_self=False, absent=(), sign=1.0):
    found = []
    for i, query in enumerate(queries):
        pairs = [
            (-sign * float((query * key).sum()), j)
            for j, key in enumerate(rows)
            if not (skip_self and i == j) and j not in absent
        ]
        found.append([j for _, j in sorted(pairs)[:count]] if query.any() else [])
    return found


def ids(found: Ranked) -> list[list[int]]:
    return [[who for who in row if who >= 0] for row in found.ids.tolist()]


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 8), st.integers(1, 12))
def test_extremes_equal_sorting_all_products(seed, n, width, count):
    rng = np.random.default_rng(seed)
    # Small whole numbers make many exact ties: those go to the smaller number.
    rows = rng.integers(-2, 3, (n, width)).astype(np.float64)
    absent = [int(i) for i in rng.integers(0, n, 2)]
    keys = keys_of(rows, absent)
    found = extreme_products(
        lambda numbers: rows[numbers], range(n), keys, count, skip_self=True, smallest=True
    )
    assert found.smallest is not None
    assert ids(found.largest) == naive(rows, rows, count, skip_self=True, absent=absent)
    assert ids(found.smallest) == naive(rows, rows, count, skip_self=True, absent=absent, sign=-1)


def test_many_keys_are_searched_in_groups_and_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((17_000, 6))
    rows[3] *= 3
    rows[400:600] = rows[3]  # more equal products than are kept
    queries = rows[:40]
    products = (queries @ rows.T).round(9)
    rising, falling = (sign * products for sign in (1, -1))
    lowest, highest = (a.argsort(axis=1, kind="stable")[:, :5] for a in (rising, falling))
    for cells in (1 << 25, 17_064 * 7):
        monkeypatch.setattr(ranked, "_CELLS", cells)
        found = extreme_products(
            lambda numbers: queries[numbers], range(40), keys_of(rows), 5, smallest=True
        )
        assert found.smallest is not None
        assert found.largest.ids.tolist() == highest.tolist()
        assert ids(found.largest)[3] == [3, 400, 401, 402, 403]
        assert found.smallest.ids.tolist() == lowest.tolist()
        best = np.take_along_axis(products, highest, axis=1)
        assert np.allclose(found.largest.values, best, rtol=1e-6)


def test_what_float32_cannot_tell_apart_is_ordered_by_float64():
    rows = np.ones((50, 3))
    rows[:, 0] += np.arange(50) * 1e-12
    found = extreme_products(lambda numbers: rows[numbers], range(1), keys_of(rows), 4)
    assert ids(found.largest) == [[49, 48, 47, 46]]


def test_what_float32_orders_wrongly_is_ordered_by_float64():
    # Terms of size 1 that cancel: float32 is wrong by more than the products differ.
    rng = np.random.default_rng(0)
    query, base = rng.standard_normal((2, 200))
    base -= query * (query @ base) / (query @ query)
    rows = base + 1e-8 * rng.standard_normal((60, 200))
    expected = (query * rows).sum(axis=1).argsort()[::-1][:4].tolist()
    single = torch.from_numpy(rows).float() @ torch.from_numpy(query).float()
    assert set(single.argsort(descending=True)[:4].tolist()) != set(expected)
    found = extreme_products(lambda _: query[None], range(1), keys_of(rows), 4)
    assert ids(found.largest) == [expected]


def test_a_range_of_queries_keeps_its_numbers():
    rows = np.eye(6)
    found = extreme_products(lambda numbers: rows[numbers], range(4, 6), keys_of(rows), 1).largest
    assert found.row(4) == (Weighted(4, 1.0),)
    assert found.row(5) == (Weighted(5, 1.0),)


def test_nobody_is_left_out_of_a_row():
    found = best_of(
        np.array([0.5, 0.75, 0.5]), np.array([1, 1, 1]), np.array([9, 4, 2]), range(10, 12), 2
    )
    assert found.row(10) == ()
    assert found.row(11) == (Weighted(4, 0.75), Weighted(2, 0.5))
    assert Ranked.nothing(range(3, 5)).row(4) == ()
