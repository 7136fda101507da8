"""Gradient prompt tuning: true gradients, a falling loss, a choice by the dev examples, and what it costs."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import RecipeError
from lmscope.jobs.running import Silent
from lmscope.models.miniature import miniature
from lmscope.prompting.baselines.config import GradientConfig
from lmscope.prompting.baselines.gradient import (
    Goal,
    loss_of_parts,
    steps_for,
    tune_by_gradient,
)
from lmscope.prompting.baselines.passes import answers, trainable
from lmscope.prompting.losses import accuracy, cross_entropy
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import ModelScorer

PLACES = [("llama", "ahead"), ("llama", "behind"), ("gpt2", "behind"), ("bert", "between")]


def _goal(model, place, random_rows, **changes) -> Goal:
    goal = Goal(random_rows(model, place, seed=1), random_rows(model, place, seed=2))
    return replace(goal, **changes)


@pytest.mark.parametrize(("family", "place"), PLACES)
def test_the_gradient_is_that_of_finite_differences(family, place, random_rows) -> None:
    model = miniature(family)
    rows, sizes = random_rows(model, place), {0: 0.5, 2: 2.0}
    drawn = torch.Generator().manual_seed(0)
    added = {
        layer: (0.1 * torch.randn(1, 3, model.d_model, generator=drawn)).requires_grad_()
        for layer in sizes
    }
    train = trainable(model, rows, tokens_at_once=30)
    assert len(train) > 1
    loss_of_parts(train, added, sizes, "cross_entropy")
    whole = ModelScorer(model, rows, kind="whole")

    def loss(layer, at, by) -> float:
        moved = {key: value.detach().clone() for key, value in added.items()}
        moved[layer][at] += by
        prompts = Prompts({key: value * sizes[key] for key, value in moved.items()})
        return float(cross_entropy(whole.scores(prompts), whole.labels))

    for layer in sizes:
        gradient = added[layer].grad
        assert gradient is not None
        largest = int(gradient.abs().argmax())
        for flat in (largest, 5):
            at = (0, flat // model.d_model, flat % model.d_model)
            slope = (loss(layer, at, 0.02) - loss(layer, at, -0.02)) / 0.04
            assert float(gradient[at]) == pytest.approx(slope, rel=0.02, abs=2e-4)
    assert not any(weights.requires_grad for weights in model.hf.parameters())


@pytest.mark.parametrize("layers", [(0,), (0, 1, 2)])
def test_the_training_loss_falls_and_the_dev_examples_choose(layers, random_rows) -> None:
    model = miniature("llama")
    goal = _goal(model, "behind", random_rows)
    config = GradientConfig(learning_rates=(0.05, 0.01), every_steps=3)
    tuned = tune_by_gradient(model, goal, layers, 21, config, Silent())
    assert len(tuned.losses) == 20  # 10 of each
    start = answers(model, goal.train)
    labels = torch.tensor([row.label for row in goal.train.rows])
    manual = float(cross_entropy(start.scores[None], labels))
    for first in (0, 10):
        assert tuned.losses[first] == pytest.approx(manual, rel=1e-4)
        assert tuned.losses[first + 9] < 0.95 * manual
    assert tuned.losses[9] < tuned.losses[19]  # the greater rate is faster
    assert tuned.n_dev_calls == 1 + 2 * 4  # manual, then behind 3, 6, 9 and 10 steps
    dev = answers(model, goal.dev, tuned.prompts)
    right = torch.tensor([row.label for row in goal.dev.rows])
    assert tuned.dev.metric == float(accuracy(dev.scores[None], right))
    assert tuned.dev.loss == pytest.approx(float(cross_entropy(dev.scores[None], right)), rel=1e-4)
    plain = answers(model, goal.dev)
    assert tuned.dev.metric >= float(accuracy(plain.scores[None], right))


def test_a_prompt_that_the_dev_examples_like_less_is_not_taken(random_rows) -> None:
    model = miniature("llama")
    rows = random_rows(model, "behind", seed=1)
    said = answers(model, rows).scores
    # Dev examples are those of training, each with the class that the manual prompt tells.
    liked = tuple(
        replace(row, label=int(label))
        for row, label in zip(rows.rows, said.argmax(-1), strict=True)
    )
    hated = tuple(
        replace(row, label=int(label))
        for row, label in zip(rows.rows, said.argmin(-1), strict=True)
    )
    goal = Goal(replace(rows, rows=hated), replace(rows, rows=liked))
    tuned = tune_by_gradient(model, goal, (0,), 6, GradientConfig(every_steps=1), Silent())
    assert tuned.chosen_at == 0
    assert tuned.prompts.layers == ()
    assert tuned.dev.metric == 1.0


def test_a_step_costs_three_passes(random_rows) -> None:
    model = miniature("llama")
    goal = _goal(model, "ahead", random_rows)
    config = GradientConfig(learning_rates=(0.01,))
    tuned = tune_by_gradient(model, goal, (0,), 4, config, Silent())
    once = ModelScorer(model, goal.train, kind="whole")
    once.scores(Prompts({}))
    assert tuned.flops == pytest.approx(4 * 3 * once.flops)


@given(st.integers(3, 100_000), st.integers(2, 3))
def test_steps_never_cost_more_than_the_budget(n_calls, a_step) -> None:
    assert n_calls - a_step < a_step * steps_for(n_calls, a_step) <= n_calls


def test_what_has_no_step_is_refused(random_rows) -> None:
    model = miniature("llama")
    goal = _goal(model, "ahead", random_rows)
    with pytest.raises(RecipeError, match="less than one step"):
        steps_for(2)
    with pytest.raises(RecipeError, match="cannot be shared out among 2"):
        tune_by_gradient(model, goal, (0,), 1, GradientConfig(), Silent())
    with pytest.raises(RecipeError, match="'error' has no gradient"):
        tune_by_gradient(model, replace(goal, loss="error"), (0,), 4, GradientConfig(), Silent())
