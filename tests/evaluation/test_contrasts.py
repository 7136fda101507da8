import numpy as np
import pytest

from lmscope.core.errors import DataError
from lmscope.evaluation.contrasts import Comparison, Measurement, are_paired
from lmscope.evaluation.statistics import BootstrapOptions, ContextSums, ratio

OPTIONS = BootstrapOptions(n_resamples=400)


def mean(sums):
    return ratio(sums.total("x"), sums.total("n"))


def measurement(x, n=None, *, length=8, text="a", first=None, is_packed=True):
    """One unit a context, of the given sums of x over n tokens."""
    x = np.asarray(x, dtype=float)
    n = np.full(len(x), 10.0) if n is None else np.asarray(n, dtype=float)
    sums = ContextSums(len(x))
    sums.columns = {"n": n[:, None], "x": x[:, None]}
    first = np.arange(len(x)) if first is None else np.asarray(first)
    return Measurement(sums, first, length, text, is_packed)


def width(contrast):
    return contrast.high - contrast.low


def test_the_difference_is_the_one_of_the_two_figures():
    # Home: (10 + 30) / 20 = 2; here: (20 + 60) / 20 = 4.
    found = Comparison(measurement([20, 60]), measurement([10, 30]), OPTIONS, 0).difference(mean)
    assert (found.value, found.n, found.paired) == (2.0, 2, True)


def test_the_quotient_is_here_by_home():
    compared = Comparison(measurement([20, 60]), measurement([10, 30]), OPTIONS, 0)
    found = compared.quotient(mean, mean)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


def test_pairing_takes_out_what_both_sides_share():
    draws = np.random.default_rng(0)
    difficulty = draws.normal(100, 30, size=60)
    here, home = difficulty + draws.normal(5, 1, size=60), difficulty
    paired = Comparison(measurement(here), measurement(home), OPTIONS, 0).difference(mean)
    apart = Comparison(measurement(here), measurement(home, text="b"), OPTIONS, 0).difference(mean)
    assert (paired.paired, apart.paired) == (True, False)
    assert paired.value == apart.value
    assert width(paired) < width(apart) / 10
    assert paired.low < 0.5 < paired.high
    assert paired.low > 0 > apart.low


def test_sides_apart_are_not_resampled_alike():
    values = np.random.default_rng(1).normal(size=40)
    apart = Comparison(measurement(values), measurement(values, text="b"), OPTIONS, 0)
    found = apart.difference(mean)
    assert found.value == 0
    assert found.low < 0 < found.high, "the same weights on both sides would give 0 to 0"


def test_long_contexts_are_paired_with_the_short_ones_that_they_cover():
    # Contexts of 8 tokens, two of them in each of 16: the spans differ by 1, 1 and 1.
    short = measurement([1, 2, 3, 4, 5, 6], n=[1] * 6)
    long = measurement([1 + 2 + 2, 3 + 4 + 2, 5 + 6 + 2], n=[2, 2, 2], length=16)
    found = Comparison(long, short, OPTIONS, 0).difference(mean)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert (found.n, found.paired) == (3, True)


def test_a_span_that_only_one_side_reaches_counts_there():
    # Home holds a last context that no whole long one covers.
    short = measurement([1, 1, 1, 1, 7], n=[1] * 5)
    long = measurement([2, 2], n=[2, 2], length=16)
    found = Comparison(long, short, OPTIONS, 0).difference(mean)
    assert found.value == pytest.approx(1 - 11 / 5)
    assert found.n == 3


def test_contexts_that_were_left_out_stay_in_their_place():
    # Two thirds of the text were chosen; a unit is named by its first context, not by its number.
    home = measurement([1, 2, 3], first=[0, 2, 4], n=[1] * 3)
    here = measurement([4, 3, 2], first=[4, 2, 0], n=[1] * 3)
    found = Comparison(here, home, OPTIONS, 0).difference(mean)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("changes", "paired"),
    [
        ({}, True),
        ({"length": 4}, True),
        ({"length": 24}, True),
        ({"length": 12}, False),
        ({"text": "b"}, False),
        ({"is_packed": False}, True),
        ({"is_packed": False, "length": 16}, False),
    ],
    ids=str,
)
def test_what_can_be_paired(changes, paired):
    home = measurement([1, 2, 3], is_packed=changes.get("is_packed", True))
    assert are_paired(measurement([1, 2, 3], **changes), home) is paired


def test_one_span_has_no_interval():
    found = Comparison(measurement([3]), measurement([1]), OPTIONS, 0).difference(mean)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (None, None)


def test_a_side_without_tokens_is_an_error():
    with pytest.raises(DataError, match="holds a token that counts"):
        Comparison(measurement([0, 0], n=[0, 0]), measurement([1, 2]), OPTIONS, 0)


def test_regrouped_sums_add_up_and_leave_nothing_out():
    sums = ContextSums(4, 2)
    sums.columns = {"x": np.arange(8.0).reshape(4, 2), "v": np.arange(24.0).reshape(4, 2, 3)}
    grouped = sums.regrouped(np.array([2, 0, 2, 0]), 3)
    np.testing.assert_array_equal(grouped.columns["x"], [[2 + 6, 3 + 7], [0, 0], [0 + 4, 1 + 5]])
    np.testing.assert_array_equal(grouped.columns["v"].sum(0), sums.columns["v"].sum(0))
