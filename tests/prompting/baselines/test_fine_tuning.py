"""Fine-tuning: true gradients of weights, a copy that learns, a model that stays, and what does not fit."""

from dataclasses import replace

import pytest
import torch

from lmscope.core.errors import BudgetError, RecipeError
from lmscope.jobs.running import Silent
from lmscope.models.miniature import miniature
from lmscope.prompting.baselines.config import FineTuningConfig
from lmscope.prompting.baselines.fine_tuning import bytes_needed, fine_tune
from lmscope.prompting.baselines.gradient import Goal, dev_score, loss_of_parts
from lmscope.prompting.baselines.passes import answers, trainable
from lmscope.prompting.losses import cross_entropy


def _loss(model, rows) -> float:
    labels = torch.tensor([row.label for row in rows.rows])
    return float(cross_entropy(answers(model, rows).scores[None], labels))


@pytest.mark.parametrize(("family", "place"), [("llama", "behind"), ("bert", "between")])
def test_the_gradient_of_weights_is_that_of_finite_differences(family, place, random_rows) -> None:
    model = miniature(family)
    rows = random_rows(model, place)
    model.hf.requires_grad_(True)
    train = trainable(model, rows, tokens_at_once=40, whole=True)
    loss_of_parts(train, {}, {}, "cross_entropy")
    named = {name: weights for name, weights in model.hf.named_parameters() if weights.ndim > 1}
    names = [name for name in named if named[name].grad is not None]
    assert len(names) > 15
    for name in (names[0], names[4], names[-1]):  # embeddings, a layer's, and the last
        weights = named[name]
        at = divmod(int(weights.grad.abs().argmax()), weights.shape[1])
        found = float(weights.grad[at])
        step, held = 0.02, float(weights.detach()[at])
        losses = []
        with torch.no_grad():
            for by in (step, -step):
                weights[at] = held + by
                losses.append(_loss(model, rows))
            weights[at] = held
        assert found == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=0.03, abs=2e-4)


def test_a_copy_learns_and_the_model_stays(random_rows) -> None:
    model = miniature("llama")
    goal = Goal(*[random_rows(model, "behind", seed=1)] * 2)  # chosen by what it is tuned on
    before = {name: value.clone() for name, value in model.hf.state_dict().items()}
    manual = _loss(model, goal.train)
    config = FineTuningConfig(learning_rates=(1e-4, 1e-3), every_steps=2)
    tuned = fine_tune(model, goal, 12, config, Silent())
    assert len(tuned.losses) == 12
    assert tuned.losses[0] == pytest.approx(manual, rel=1e-4)
    assert tuned.losses[6] == pytest.approx(manual, rel=1e-4)  # each rate begins anew
    assert tuned.losses[11] < tuned.losses[5] < manual
    assert tuned.dev is not None
    assert dev_score(tuned.model, goal)[0] == tuned.dev  # the best weights are there again
    assert _loss(tuned.model, goal.train) < 0.7 * manual
    assert tuned.n_dev_calls == 1 + 2 * 3
    after = model.hf.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(weights.requires_grad for weights in model.hf.parameters())


def test_weights_that_the_dev_examples_like_less_are_not_taken(random_rows) -> None:
    model = miniature("llama")
    rows = random_rows(model, "behind", seed=1)
    said = answers(model, rows).scores
    # Dev examples have the class that the model tells, those to tune on the one that it tells least.
    liked, hated = (
        replace(
            rows,
            rows=tuple(
                replace(row, label=int(label)) for row, label in zip(rows.rows, told, strict=True)
            ),
        )
        for told in (said.argmax(-1), said.argmin(-1))
    )
    config = FineTuningConfig(learning_rates=(1e-3,), every_steps=1)
    tuned = fine_tune(model, Goal(hated, liked), 4, config, Silent())
    assert tuned.losses[-1] < tuned.losses[0]
    assert (tuned.chosen_at, tuned.learning_rate) == (0, 0.0)
    assert torch.equal(answers(tuned.model, rows).scores, said)


def test_a_step_costs_three_passes(random_rows) -> None:
    model = miniature("llama")
    goal = Goal(random_rows(model, "behind", seed=1), random_rows(model, "behind", seed=2))
    tuned = fine_tune(model, goal, 4, FineTuningConfig(), Silent())
    assert tuned.flops == pytest.approx(4 * 3 * answers(model, goal.train).flops)


def test_what_does_not_fit_is_refused(random_rows) -> None:
    model = miniature("llama")
    goal = Goal(random_rows(model), random_rows(model, seed=2))
    n_bytes = 4 * sum(weights.numel() for weights in model.hf.parameters())
    assert bytes_needed(model) == 6 * n_bytes
    with pytest.raises(BudgetError, match="may be taken"):
        fine_tune(model, goal, 4, FineTuningConfig(), Silent(), memory_bytes=6 * n_bytes - 1)
    model.hf.to(torch.bfloat16)
    with pytest.raises(RecipeError, match="loaded in bfloat16"):
        fine_tune(model, goal, 4, FineTuningConfig(), Silent())
