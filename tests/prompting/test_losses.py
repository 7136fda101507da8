"""Losses and metrics of class scores, by hand and by what leaves them as they are."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.prompting.losses import (
    LOSSES,
    METRICS,
    accuracy,
    calibrated,
    cross_entropy,
    f1,
    fit_bias,
    hinge,
)


def _scores(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([rows])


def test_cross_entropy_is_the_mean_of_the_right_classes_nats() -> None:
    # Row 0: classes alike, so ln 2. Row 1: the right one is ln 3 ahead, so -ln(3/4).
    scores = _scores((1.0, 1.0), (math.log(3.0), 0.0))
    want = (math.log(2) + math.log(4 / 3)) / 2
    found = cross_entropy(scores, torch.tensor([1, 0]))
    torch.testing.assert_close(found, torch.tensor([want], dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("row", "label", "want"),
    [
        ((3.0, 1.0, 1.0), 0, 0.0),  # ahead of both by the margin
        ((3.0, 2.0, 1.0), 0, 1.0),  # 2 - (3 - 2) = 1, and 0
        ((0.0, 0.0, 0.0), 1, 4.0),  # level with two: 2 + 2
        ((0.0, 5.0, 1.0), 2, 1.0 + 6.0),  # 2 - 1 = 1 behind class 0's place, 2 + 4 = 6
    ],
)
def test_hinge_is_what_each_wrong_class_lacks_to_the_margin(row, label, want) -> None:
    assert hinge(_scores(row), torch.tensor([label])).item() == want


def test_every_candidate_is_measured_by_itself() -> None:
    scores = torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]], [[1.0, 1.0]]])
    assert accuracy(scores, torch.tensor([1])).tolist() == [0.0, 1.0, 0.0]
    for measure in (*LOSSES.values(), *METRICS.values()):
        together = measure(scores, torch.tensor([1]))
        alone = torch.cat([measure(scores[i : i + 1], torch.tensor([1])) for i in range(3)])
        assert torch.equal(together, alone)


def test_f1_of_two_classes_is_that_of_the_second() -> None:
    # Told 1: rows 0, 1, 2; are 1: rows 0, 3. Right once: precision 1/3, recall 1/2, F1 0.4.
    scores = _scores((0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1.0, 0.0))
    assert f1(scores, torch.tensor([1, 0, 0, 1, 0])).item() == pytest.approx(0.4)


def test_f1_of_more_classes_is_their_mean() -> None:
    # Class 0: told once, right; 1. Class 1: told twice, right once, is once: 2/3. Class 2: never told: 0.
    scores = _scores((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 1.0, 0.0))
    assert f1(scores, torch.tensor([0, 1, 2])).item() == pytest.approx((1 + 2 / 3) / 3)


@given(
    st.lists(
        st.tuples(*[st.floats(-8, 8, width=32)] * 3, st.integers(0, 2)), min_size=1, max_size=6
    ),
    st.floats(-5, 5, width=32),
    st.randoms(),
)
def test_a_common_shift_and_the_order_of_examples_change_nothing(rows, shift, random) -> None:
    scores = torch.tensor([[row[:3] for row in rows]]).double()
    labels = torch.tensor([row[3] for row in rows])
    order = list(range(len(rows)))
    random.shuffle(order)
    for name in ("cross_entropy", "hinge"):
        plain = LOSSES[name](scores, labels)
        torch.testing.assert_close(LOSSES[name](scores + shift, labels), plain)
        torch.testing.assert_close(LOSSES[name](scores[:, order], labels[order]), plain)


def test_a_fitted_bias_undoes_one_that_was_put_in() -> None:
    drawn = torch.Generator().manual_seed(0)
    true = torch.randn(4000, 3, generator=drawn).double() * 2
    labels = torch.distributions.Categorical(logits=true).sample()
    skewed = true + torch.tensor([0.0, 3.0, -2.0])
    bias = fit_bias(skewed, labels, decay=0.0)
    left = bias + torch.tensor([0.0, 3.0, -2.0]).double()
    assert (left - left.mean()).abs().max() < 0.15
    before, after = skewed[None], calibrated(skewed[None], bias)
    assert cross_entropy(after, labels) < cross_entropy(before, labels) - 0.3
    # At the minimum classes are expected as often as they are.
    told = after.softmax(-1).mean((0, 1))
    torch.testing.assert_close(told, torch.bincount(labels) / len(labels), check_dtype=False)


def test_a_bias_stays_finite_where_a_class_never_occurs() -> None:
    bias = fit_bias(torch.zeros(4, 2), torch.tensor([0, 0, 0, 0]))
    assert torch.isfinite(bias).all()
    assert bias[0] > bias[1]
