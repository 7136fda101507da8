import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.dictionaries.figures import (
    arm_columns,
    reconstruction,
    spread_around_mean,
    target_columns,
)
from lmscope.evaluation.statistics import BootstrapOptions, ContextSums, Resamples

QUICK = BootstrapOptions(n_resamples=20)


def _measure(y, guess, context=None, bucket=None, n_buckets=1, of_bucket=None):
    n = len(y)
    context = torch.arange(n) % 4 if context is None else context
    bucket = torch.zeros(n, dtype=torch.long) if bucket is None else bucket
    sums = ContextSums(4, n_buckets)
    for part in torch.arange(n).split(7):  # streamed
        columns = target_columns(y[part]) | arm_columns("a", y[part], guess[part])
        sums.add(context[part], bucket[part], columns)
    resamples = Resamples(sums, QUICK, 0)
    return reconstruction(resamples, "a", spread_around_mean(resamples, of_bucket), of_bucket)


def _draw(seed, n=60, width=5, offset=3.0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=draws, dtype=torch.float64) * 2 + offset


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.0, 3.0, 1000.0]))
def test_predicting_the_mean_explains_nothing_centred_and_much_uncentred(seed, offset):
    y = _draw(seed, offset=offset)
    found = _measure(y, y.mean(0).expand_as(y))
    assert found.explained_variance_centred.value == pytest.approx(0, abs=1e-8)
    assert found.normalised_mse.value == pytest.approx(1, abs=1e-8)
    # ||m||^2 / E||y||^2, which is near 1 far from the origin: why the two must be named.
    share = float(y.mean(0).square().sum() / y.square().sum(-1).mean())
    assert found.explained_variance_uncentred.value == pytest.approx(share, abs=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.floats(1e-3, 1e3))
def test_figures_without_unit_do_not_change_with_the_scale(seed, scale):
    y = _draw(seed)
    guess = y + 0.5 * _draw(seed + 1000)
    one, other = _measure(y, guess), _measure(scale * y, scale * guess)
    for name in type(one).model_fields:
        factor = scale**2 if name == "mse" else 1
        assert getattr(other, name).value == pytest.approx(
            factor * getattr(one, name).value, rel=1e-9
        )


def test_the_truth_explains_everything():
    y = _draw(0)
    found = _measure(y, y)
    assert found.explained_variance_centred.value == 1
    assert found.explained_variance_uncentred.value == 1
    assert found.mse.value == 0
    assert found.cosine.value == pytest.approx(1)
    assert found.l2_ratio.value == 1


def test_a_known_share_of_noise_leaves_a_known_share_of_variance():
    # Guess = y + residual, residual = (y - m) / 2: 1 - 1/4 = 0.75 (the case on which a peer gives 0.96).
    y = _draw(1)
    guess = y + (y - y.mean(0)) / 2
    assert _measure(y, guess).explained_variance_centred.value == pytest.approx(0.75)
    # The guess 0.5 y leaves 0.25 ||y||^2.
    half = _measure(y, y / 2)
    assert half.explained_variance_uncentred.value == pytest.approx(0.75)
    assert half.l2_ratio.value == pytest.approx(0.5)
    assert half.cosine.value == pytest.approx(1)


def test_a_constant_bias_costs_explained_variance():
    # A peer centres the residual too, so that a constant bias is free.
    y = _draw(2)
    assert _measure(y, y + 1).explained_variance_centred.value < 1 - 1e-3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_figures_equal_a_naive_loop(seed):
    y = _draw(seed)
    guess = y + _draw(seed + 1, offset=0.0)
    found = _measure(y, guess)
    mean = y.mean(0)
    error = sum(float(((a - b) ** 2).sum()) for a, b in zip(y, guess, strict=True))
    spread = sum(float(((a - mean) ** 2).sum()) for a in y)
    size = sum(float((a**2).sum()) for a in y)
    cosine = sum(float(a @ b / a.norm() / b.norm()) for a, b in zip(y, guess, strict=True))
    norms = sum(float(b.norm() / a.norm()) for a, b in zip(y, guess, strict=True))
    assert found.explained_variance_centred.value == pytest.approx(1 - error / spread)
    assert found.explained_variance_uncentred.value == pytest.approx(1 - error / size)
    assert found.mse.value == pytest.approx(error / 60)
    assert found.cosine.value == pytest.approx(cosine / 60)
    assert found.l2_ratio.value == pytest.approx(norms / 60)


def test_a_position_is_measured_around_the_mean_of_all_positions():
    y, bucket = _draw(3), torch.arange(60) % 2
    y[bucket == 1] += 10
    guess = y + _draw(4, offset=0.0)
    found = _measure(y, guess, bucket=bucket, n_buckets=2, of_bucket=1)
    ours = bucket == 1
    spread = (y[ours] - y.mean(0)).square().sum()
    expected = 1 - (y[ours] - guess[ours]).square().sum() / spread
    assert found.explained_variance_centred.value == pytest.approx(float(expected))


def test_each_resample_is_centred_on_its_own_mean():
    y, guess = _draw(5), _draw(6)
    context = torch.arange(60) % 4
    sums = ContextSums(4)
    sums.add(
        context, torch.zeros(60, dtype=torch.long), target_columns(y) | arm_columns("a", y, guess)
    )
    resamples = Resamples(sums, QUICK, 0)
    counts = Resamples(sums, QUICK, 0)._weights
    for row in range(20):
        drawn = torch.cat([y[context == c] for c in range(4) for _ in range(int(counts[row, c]))])
        naive = float((drawn - drawn.mean(0)).square().sum())
        assert np.isclose(spread_around_mean(resamples)[row], naive)


def test_a_zero_vector_has_no_direction():
    y = torch.zeros(8, 3, dtype=torch.float64)
    y[4:] = 1.0
    found = _measure(y, torch.zeros_like(y))
    assert found.cosine.value == 0
    assert found.l2_ratio.value == 0
