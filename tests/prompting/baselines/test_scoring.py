"""Scores set right by a bias, nearest class means, and the factor that makes logits of them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.prompting.baselines.scoring import (
    contextual_scores,
    fit_scale,
    label_bias_scores,
    prototype_scores,
)

LOGIT = st.floats(-5, 5).map(lambda x: round(x, 3))


def test_a_fitted_bias_is_that_of_brute_force() -> None:
    drawn = torch.Generator().manual_seed(0)
    train = torch.randn(12, 2, generator=drawn) + torch.tensor([1.5, 0.0])
    labels = torch.arange(12) % 2
    test = torch.randn(5, 2, generator=drawn)
    tried = torch.linspace(-2, 2, 40001, dtype=torch.float64)
    both = torch.stack([tried, -tried], -1)  # they sum to 0
    logs = (train.double()[None] + both[:, None]).log_softmax(-1)
    nats = -logs[:, torch.arange(12), labels].mean(-1) + 0.5e-3 * both.square().sum(-1)
    best = both[int(nats.argmin())]
    assert best[0] < -0.1
    found = label_bias_scores(test, train, labels)
    assert torch.allclose(found.double(), test.double() + best, atol=2e-4)


def test_calibration_divides_by_what_is_said_of_nothing() -> None:
    # Of one empty text p = (3/4, 1/4), of the other (1/4, 3/4): on average (1/2, 1/2).
    one = torch.tensor([[math.log(3), 0.0]])
    other = torch.tensor([[0.0, math.log(3)]])
    test = torch.tensor([[math.log(4), 0.0], [math.log(3), 0.0]])  # p = (0.8, 0.2), (0.75, 0.25)
    found = contextual_scores(test, one)
    assert torch.allclose(found[0], torch.tensor([math.log(0.8 / 0.75), math.log(0.2 / 0.25)]))
    assert torch.allclose(found[1], torch.zeros(2), atol=1e-6)
    both = contextual_scores(test[:1], torch.cat([one, other]))
    assert torch.allclose(both[0], torch.tensor([math.log(1.6), math.log(0.4)]))


@given(
    st.lists(st.tuples(LOGIT, LOGIT, LOGIT), min_size=1, max_size=4), st.tuples(LOGIT, LOGIT, LOGIT)
)
def test_a_liking_that_all_texts_share_is_taken_away(empty, liking) -> None:
    plain, by = torch.tensor(empty), torch.tensor(liking)
    test = torch.tensor([[0.5, -1.0, 0.25]])
    # With one empty text the liking cancels; with several it does after normalising.
    found = contextual_scores(test + by, plain[:1] + by).log_softmax(-1)
    assert torch.allclose(found, contextual_scores(test, plain[:1]).log_softmax(-1), atol=1e-4)
    assert torch.allclose(
        contextual_scores(test + 3.0, plain), contextual_scores(test, plain), atol=1e-5
    )


def test_a_prototype_is_worked_out_by_hand() -> None:
    # The middle is (2, 1); class 0 lies at (-1, 0) from it, class 1 at (1, 0).
    train = torch.tensor([[1.0, 1.0], [3.0, 2.0], [1.0, 1.0], [3.0, 0.0]])
    labels = torch.tensor([0, 1, 0, 1])
    test = torch.tensor([[5.0, 1.0], [2.0, 9.0], [1.0, 2.0]])
    root = math.sqrt(0.5)
    wanted = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [root, -root]])
    assert torch.allclose(prototype_scores(test, train, labels, 2), wanted, atol=1e-6)


def test_planted_classes_are_found_behind_a_large_common_part() -> None:
    drawn = torch.Generator().manual_seed(1)
    common, centres = 50 * torch.ones(16), 2 * torch.eye(16)[:3]
    labels = torch.arange(30) % 3
    values = common + centres[labels] + 0.3 * torch.randn(30, 16, generator=drawn)
    found = prototype_scores(values[12:], values[:12], labels[:12], 3)
    assert (found.argmax(-1) == labels[12:]).all()
    assert found.abs().max() <= 1 + 1e-6


def test_a_class_without_an_example_has_no_prototype() -> None:
    with pytest.raises(DataError, match="Class 2 has no training example"):
        prototype_scores(torch.zeros(1, 2), torch.eye(2), torch.tensor([0, 1]), 3)


def test_the_scale_is_that_of_brute_force() -> None:
    drawn = torch.Generator().manual_seed(2)
    scores = 0.2 * torch.randn(200, 3, generator=drawn)
    labels = torch.multinomial((8 * scores).softmax(-1), 1, generator=drawn)[:, 0]
    tried = np.linspace(0.1, 20, 2000)
    losses = [
        float(torch.nn.functional.cross_entropy(float(scale) * scores.double(), labels))
        for scale in tried
    ]
    assert fit_scale(scores, labels) == pytest.approx(tried[int(np.argmin(losses))], abs=0.02)


def test_the_scale_never_turns_scores_round() -> None:
    scores, wrong = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([1, 0])
    assert 0 < fit_scale(scores, wrong) < 0.01
    assert 99 < fit_scale(scores, 1 - wrong) <= 100
