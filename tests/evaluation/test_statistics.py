import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Estimate,
    Resamples,
    bootstrap_weights,
    bucket_of,
    centred_square,
    position_edges,
    ratio,
)


def _sums(context, bucket, n_contexts=3, n_buckets=2, **values):
    sums = ContextSums(n_contexts, n_buckets)
    sums.add(torch.tensor(context), torch.tensor(bucket), values)
    return sums


def test_sums_land_in_their_context_and_bucket():
    sums = _sums([0, 0, 2, 2, 2], [0, 1, 1, 1, 0], n=torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert sums.columns["n"].tolist() == [[1, 2], [0, 0], [16, 12]]


def test_vector_columns_sum_each_coordinate():
    sums = _sums([1, 1], [0, 0], v=torch.tensor([[1.0, 10.0], [2.0, 20.0]]))
    assert sums.columns["v"][1, 0].tolist() == [3, 30]


def test_sums_are_taken_in_float64():
    # 2**24 + 1 is not a float32: a float32 sum would lose every 1 added after 2**24.
    values = torch.cat([torch.tensor([2.0**24]), torch.ones(100)])
    sums = _sums([0] * 101, [0] * 101, v=values)
    assert sums.columns["v"][0, 0] == 2**24 + 100


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(-99, 99)), min_size=2),
    st.integers(1, 50),
)
def test_parts_add_up_to_the_whole(tokens, cut):
    def collect(part):
        sums = ContextSums(3, 2)
        context, bucket, value = (
            torch.tensor([t[i] for t in part], dtype=torch.long) for i in range(3)
        )
        sums.add(context, bucket, {"v": value.double()})
        return sums

    cut = min(cut, len(tokens))
    whole, parts = collect(tokens), collect(tokens[:cut]) + collect(tokens[cut:])
    assert np.array_equal(whole.columns["v"], parts.columns["v"])


def test_a_column_missing_from_one_part_counts_as_zero():
    merged = _sums([0], [0], a=torch.ones(1)) + _sums([0], [0], b=torch.ones(1))
    assert merged.columns["a"][0, 0] == merged.columns["b"][0, 0] == 1


def test_sums_over_other_contexts_are_refused():
    with pytest.raises(DataError, match="cannot be added"):
        ContextSums(3, 2) + ContextSums(4, 2)


def test_contexts_without_a_count_are_left_out():
    sums = _sums([0, 2], [0, 1], n=torch.ones(2), v=torch.tensor([5.0, 7.0]))
    assert sums.nonempty("n").columns["v"].tolist() == [[5, 0], [0, 7]]
    with pytest.raises(DataError, match="Not one of 3 contexts"):
        sums.nonempty("absent")


def test_no_context_is_refused():
    with pytest.raises(DataError, match="at least one context"):
        ContextSums(0)


def test_resampling_equals_drawing_contexts_one_by_one():
    rng = np.random.default_rng(0)
    n = 7
    weights = bootstrap_weights(n, 5, seed=3)
    column = rng.normal(size=(n, 2))
    sums = ContextSums(n, 2)
    sums.columns["v"] = column
    resamples = Resamples(sums, BootstrapOptions(n_resamples=5), seed=3)
    for row, counts in enumerate(weights):
        drawn = [i for i in range(n) for _ in range(int(counts[i]))]
        assert len(drawn) == n
        assert np.isclose(resamples.total("v")[row], sum(column[i].sum() for i in drawn))
        assert np.isclose(resamples.total("v", bucket=1)[row], sum(column[i, 1] for i in drawn))


def test_the_value_is_that_of_all_contexts():
    sums = _sums([0, 1, 2], [0, 0, 0], n=torch.ones(3), v=torch.tensor([1.0, 2.0, 6.0]))
    resamples = Resamples(sums, BootstrapOptions(n_resamples=200), seed=0)
    estimate = resamples.estimate(ratio(resamples.total("v"), resamples.total("n")))
    assert estimate is not None
    assert estimate.value == 3
    assert estimate.n == 3
    assert 1 <= estimate.low < 3 < estimate.high <= 6


def test_a_ratio_of_proportional_sums_has_no_spread():
    # Numerator and denominator are resampled together: v = 2 n in every context, whatever is drawn.
    sums = _sums(
        [0, 1, 2], [0, 0, 0], n=torch.tensor([1.0, 5.0, 9.0]), v=torch.tensor([2.0, 10.0, 18.0])
    )
    resamples = Resamples(sums, BootstrapOptions(n_resamples=100), seed=0)
    estimate = resamples.estimate(ratio(resamples.total("v"), resamples.total("n")))
    assert estimate == Estimate(value=2, low=2, high=2, n=3)


def test_one_context_has_no_interval():
    sums = _sums([0], [0], n_contexts=1, v=torch.ones(1))
    estimate = Resamples(sums, BootstrapOptions(), 0).estimate(
        Resamples(sums, BootstrapOptions(), 0).total("v")
    )
    assert estimate == Estimate(value=1, n=1)


def test_an_undefined_figure_is_absent():
    sums = _sums([0, 1], [0, 0], v=torch.zeros(2))
    resamples = Resamples(sums, BootstrapOptions(n_resamples=10), 0)
    assert resamples.estimate(ratio(resamples.total("v"), resamples.total("v"))) is None


def test_equal_seeds_give_equal_intervals_and_other_seeds_do_not():
    sums = ContextSums(20)
    sums.columns["v"] = np.random.default_rng(1).normal(size=(20, 1))

    def at(seed):
        resamples = Resamples(sums, BootstrapOptions(n_resamples=50), seed)
        return resamples.estimate(resamples.total("v"))

    assert at(1) == at(1)
    assert at(1) != at(2)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    # 300 corpora of 60 contexts of unequal length, whose tokens share their context's level:
    # the ratio of sums must lie in its 95 % interval in 95 % of the corpora (binomial sd 1.3 %;
    # a percentile interval of 60 contexts is a little short). Resampling tokens covers about 50 %.
    rng = np.random.default_rng(0)
    options = BootstrapOptions(n_resamples=400)
    hits = 0
    for corpus in range(300):
        n = rng.integers(5, 50, size=60).astype(float)
        v = n * (2 + rng.normal(size=60))
        sums = ContextSums(60)
        sums.columns.update(n=n[:, None], v=v[:, None])
        resamples = Resamples(sums, options, corpus)
        estimate = resamples.estimate(ratio(resamples.total("v"), resamples.total("n")))
        hits += estimate.low <= 2 <= estimate.high
    assert 0.90 <= hits / 300 <= 0.98


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.floats(-100, 100), st.integers(0, 99))
def test_centred_square_equals_a_naive_two_pass_loop(n, offset, seed):
    y = np.random.default_rng(seed).normal(size=(n, 3)) + offset
    naive = sum(((row - y.mean(axis=0)) ** 2).sum() for row in y)
    total = y.sum(axis=0)[None]
    quick = centred_square(np.array([(y**2).sum()]), total, np.array([float(n)]), total / n)
    assert np.isclose(quick[0], naive, rtol=1e-6)


def test_position_buckets_double():
    assert position_edges(128) == (0, 1, 2, 4, 8, 16, 32, 64)
    assert position_edges(1) == (0,)
    assert bucket_of(torch.tensor([0, 1, 2, 3, 4, 7, 8, 9999]), position_edges(10)).tolist() == [
        0, 1, 2, 2, 3, 3, 4, 4,
    ]  # fmt: skip


def test_an_estimate_survives_json():
    estimate = Estimate(value=0.5, low=0.4, high=0.6, n=9)
    assert Estimate.from_mapping(estimate.to_mapping()) == estimate
    assert str(estimate) == "0.5 [0.4, 0.6]"
    assert str(Estimate(value=0.5, n=1)) == "0.5"
