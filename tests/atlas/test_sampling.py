import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from lmscope.atlas.sampling import keys, sample_ranks


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(0, 12))
def test_numbers_are_different_ascending_and_as_many_as_there_are(sizes, n):
    n_from = np.array(sizes)
    ranks = sample_ranks(keys("test", np.arange(len(sizes))), n_from, n)
    assert ranks.shape == (len(sizes), n)
    for row, size in zip(ranks.tolist(), sizes, strict=True):
        drawn = [r for r in row if r >= 0]
        assert len(drawn) == min(n, size)
        assert drawn == sorted(set(drawn))
        assert all(r < size for r in drawn)
        assert row[: n - len(drawn)] == [-1] * (n - len(drawn))


def test_every_subset_is_equally_probable():
    # 3 of 6: 20 subsets; 40,000 rows give 2,000 each.
    n_rows = 40_000
    ranks = sample_ranks(keys("test", np.arange(n_rows)), np.full(n_rows, 6), 3)
    subset = (1 << ranks).sum(axis=1)
    counts = np.unique(subset, return_counts=True)[1]
    assert len(counts) == 20
    assert chisquare(counts).pvalue > 0.001


def test_a_row_depends_on_its_own_key_only():
    numbers, n_from = np.arange(50), np.arange(50) * 7 + 3
    whole = sample_ranks(keys("test", numbers), n_from, 5)
    for part in (slice(0, 1), slice(7, 30)):
        assert np.array_equal(
            sample_ranks(keys("test", numbers[part]), n_from[part], 5), whole[part]
        )


def test_names_and_numbers_make_other_choices():
    numbers, n_from = np.arange(200), np.full(200, 1000)
    one = sample_ranks(keys("one", numbers), n_from, 4)
    for other in (
        keys("two", numbers),
        keys("one", numbers + 200),
        keys("one", numbers, np.zeros(200, dtype=np.int64)),
    ):
        assert (sample_ranks(other, n_from, 4) == one).all(axis=1).sum() < 5
