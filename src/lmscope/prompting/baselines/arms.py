"""Arms: every baseline by name, from the same material to scores of the test examples and what they cost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.core.protocols import Listener
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.baselines import fine_tuning
from lmscope.prompting.baselines.config import BaselineConfig, BaselineName
from lmscope.prompting.baselines.gradient import Goal, steps_for, tune_by_gradient
from lmscope.prompting.baselines.in_context import demonstration, in_context, in_order, shown
from lmscope.prompting.baselines.passes import Answers, answers
from lmscope.prompting.baselines.scoring import (
    contextual_scores,
    fit_scale,
    label_bias_scores,
    prototype_scores,
)
from lmscope.text.tasks.choices.rendering import PromptRows, Special


@dataclass(frozen=True)
class Material:
    """What every baseline is given.

    Attributes:
        model: Which.
        goal: Training and dev examples, with what is lowered and chosen by.
        test: Examples to score; their labels are not looked at.
        empty: Texts that say nothing, under the same prompt.
        special: What stands at the ends of a context.
        separator: Tokens between two examples of one context.
        n_calls: The search's budget: calls on the training examples.
        seed: Of the order of demonstrations.
        config: Settings.
        memory_bytes: What fine-tuning may take; None does not look.
    """

    model: LanguageModel
    goal: Goal
    test: PromptRows
    empty: PromptRows
    special: Special
    separator: tuple[int, ...]
    n_calls: int
    seed: int
    config: BaselineConfig = BaselineConfig()  # noqa: RUF009 (a frozen value)
    memory_bytes: int | None = None

    @property
    def labels(self) -> Int[Tensor, "train"]:
        """Classes of the training examples."""
        return self._labels(self.goal.train)

    @property
    def dev_labels(self) -> Int[Tensor, "dev"]:
        """Classes of the dev examples."""
        return self._labels(self.goal.dev)

    @cached_property
    def manual_train(self) -> Answers:
        """Under the manual prompt, computed once for all baselines."""
        return answers(self.model, self.goal.train)

    @cached_property
    def manual_dev(self) -> Answers:
        """Likewise, of the dev examples."""
        return answers(self.model, self.goal.dev)

    @cached_property
    def manual_test(self) -> Answers:
        """Likewise, of the test examples."""
        return answers(self.model, self.test)

    def _labels(self, rows: PromptRows) -> Int[Tensor, "example"]:
        return torch.tensor([row.label for row in rows.rows], device=self.model.device)


@dataclass(frozen=True)
class Outcome:
    """What a baseline makes of the test examples.

    Attributes:
        scores: Of their classes.
        n_calls: Passes over the training examples, a backward pass as two.
        n_dev_calls: Over the dev examples.
        flops: Operations of the layers before the first test example, on training, dev and empty examples.
        test_flops: On the test examples.
        chosen: What was fitted or found, by name.
    """

    scores: Float[Tensor, "example label"]
    n_calls: int = 0
    n_dev_calls: int = 0
    flops: float = 0.0
    test_flops: float = 0.0
    chosen: Mapping[str, float] = field(default_factory=dict)


def run_baseline(name: BaselineName, material: Material, listener: Listener) -> Outcome:
    """Score the test examples by a baseline.

    Args:
        name: Which.
        material: What it is given.
        listener: Follows those that take steps.

    Raises:
        DataError: The examples do not do for it.
        RecipeError: The budget is too small for it, or the loss has no gradient.
        RunError: A loss is no number.
    """
    return _ARMS[name](material, listener)


def _manual(material: Material, _listener: Listener) -> Outcome:
    test = material.manual_test
    return Outcome(test.scores, test_flops=test.flops)


def _label_bias(material: Material, _listener: Listener) -> Outcome:
    train, test = material.manual_train, material.manual_test
    scores = label_bias_scores(test.scores, train.scores, material.labels)
    return Outcome(scores, n_calls=1, flops=train.flops, test_flops=test.flops)


def _contextual(material: Material, _listener: Listener) -> Outcome:
    test, empty = material.manual_test, answers(material.model, material.empty)
    scores = contextual_scores(test.scores, empty.scores)
    return Outcome(scores, flops=empty.flops, test_flops=test.flops)


def _prototype(material: Material, _listener: Listener) -> Outcome:
    train, dev, test = material.manual_train, material.manual_dev, material.manual_test
    n_labels = len(material.test.words)
    on_dev, on_test = (
        prototype_scores(one.finals, train.finals, material.labels, n_labels) for one in (dev, test)
    )
    scale = fit_scale(on_dev, material.dev_labels)
    return Outcome(
        scale * on_test,
        n_calls=1,
        n_dev_calls=1,
        flops=train.flops + dev.flops,
        test_flops=test.flops,
        chosen={"scale": scale},
    )


def _in_context(material: Material, _listener: Listener) -> Outcome:
    config, train = material.config.in_context, material.goal.train
    order = in_order(train, material.seed)[: config.n_demonstrations]
    ahead = [demonstration(train, row, material.special, material.separator) for row in order]
    limit = config.max_tokens or material.model.max_positions
    found = in_context(material.model, shown(material.test, ahead, material.special, limit))
    return Outcome(
        found.scores,
        test_flops=found.flops,
        chosen={
            "fewest_demonstrations": float(min(found.n_shown)),
            "mean_demonstrations": sum(found.n_shown) / len(found.n_shown),
        },
    )


def _gradient(material: Material, listener: Listener, *, deep: bool) -> Outcome:
    model, config = material.model, material.config.gradient
    n_steps = steps_for(material.n_calls, config.calls_a_step)
    layers = range(model.n_layers if deep else 1)
    tuned = tune_by_gradient(model, material.goal, layers, n_steps, config, listener)
    test = answers(model, material.test, tuned.prompts)
    return Outcome(
        test.scores,
        n_calls=config.calls_a_step * len(tuned.losses),
        n_dev_calls=tuned.n_dev_calls,
        flops=tuned.flops + tuned.dev_flops,
        test_flops=test.flops,
        chosen={
            "learning_rate": tuned.learning_rate,
            "step": float(tuned.chosen_at),
            "dev_metric": tuned.dev.metric,
            "dev_loss": tuned.dev.loss,
            "lowest_train_loss": min(tuned.losses),
        },
    )


def _fine_tuning(material: Material, listener: Listener) -> Outcome:
    n_steps = steps_for(material.n_calls, fine_tuning.CALLS_A_STEP)
    tuned = fine_tuning.fine_tune(
        material.model,
        material.goal,
        n_steps,
        material.config.fine_tuning,
        listener,
        memory_bytes=material.memory_bytes,
    )
    test = answers(tuned.model, material.test)
    assert tuned.dev is not None
    return Outcome(
        test.scores,
        n_calls=fine_tuning.CALLS_A_STEP * len(tuned.losses),
        n_dev_calls=tuned.n_dev_calls,
        flops=tuned.flops + tuned.dev_flops,
        test_flops=test.flops,
        chosen={
            "learning_rate": tuned.learning_rate,
            "step": float(tuned.chosen_at),
            "dev_metric": tuned.dev.metric,
            "dev_loss": tuned.dev.loss,
            "lowest_train_loss": min(tuned.losses),
        },
    )


_ARMS: Final[Mapping[BaselineName, Callable[[Material, Listener], Outcome]]] = {
    "manual": _manual,
    "label_bias": _label_bias,
    "contextual": _contextual,
    "prototype": _prototype,
    "in_context": _in_context,
    "gradient": partial(_gradient, deep=False),
    "gradient_deep": partial(_gradient, deep=True),
    "fine_tuning": _fine_tuning,
}
