"""Gradient prompt tuning: the soft prompt that a search steers by few numbers, with all of its own (lester2021prompt)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.errors import RecipeError, RunError
from lmscope.core.protocols import Listener
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.baselines.config import GradientConfig
from lmscope.prompting.baselines.passes import MANUAL, answers, trainable
from lmscope.prompting.losses import LOSSES, METRICS, LossName, MetricName
from lmscope.prompting.method import layer_moments
from lmscope.prompting.oracle import DevScore
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import ModelScorer
from lmscope.text.tasks.choices.rendering import PromptRows

_PHASE: Final = "gradient"


def steps_for(n_calls: int, calls_a_step: int = 3) -> int:
    """Steps that take as many operations as so many calls of a search.

    Args:
        n_calls: The search's budget.
        calls_a_step: What a step counts as: a forward pass of all training examples, as a call is, and a backward one.

    Raises:
        RecipeError: It is not one.
    """
    if n_calls < calls_a_step:
        raise RecipeError(
            f"A budget of {n_calls} calls is less than one step by gradient, which counts as {calls_a_step}: raise the "
            "budget, or leave the gradient out."
        )
    return n_calls // calls_a_step


@dataclass(frozen=True)
class Goal:
    """What is tuned for, and by what the result is chosen.

    Attributes:
        train, dev: Examples to tune on, and others to choose by.
        loss: What is lowered.
        metric: What is chosen by.
    """

    train: PromptRows
    dev: PromptRows
    loss: LossName = "cross_entropy"
    metric: MetricName = "accuracy"


@dataclass(frozen=True)
class GradientTuned:
    """A soft prompt that was tuned by gradient.

    Attributes:
        prompts: What is added; nothing where the dev examples like the manual prompt best.
        losses: On the training examples before each step, one learning rate after another.
        learning_rate, chosen_at: Whose prompt it is, and after how many steps; 0 is the manual prompt.
        dev: What it had on the dev examples.
        n_dev_calls: Prompts that were tried on them.
        flops: Operations of the layers on training examples, a step as `calls_a_step` forward passes.
        dev_flops: On dev examples.
    """

    prompts: Prompts
    losses: tuple[float, ...]
    learning_rate: float
    chosen_at: int
    dev: DevScore
    n_dev_calls: int
    flops: float
    dev_flops: float


def tune_by_gradient(
    model: LanguageModel,
    goal: Goal,
    layers: Sequence[int],
    n_steps: int,
    config: GradientConfig,
    listener: Listener,
) -> GradientTuned:
    """Tune rows at layers by AdamW, and choose by the dev examples (lester2021prompt; liu2022ptuning for several layers).

    Rows begin at zero, which is the manual prompt, and count in standard deviations of what enters their layer. The
    manual prompt is tried first, so the result is never one that the dev examples like less.

    Differs: the papers take the place of tokens or of keys and values; here rows are added to what stands there, as in
    the searches that this is compared with.

    Args:
        model: Which; its weights stay as they are.
        goal: The examples.
        layers: Where rows are added; 0 is the embeddings.
        n_steps: In all, shared out among the learning rates (`steps_for`).
        config: Settings.
        listener: Hears `gradient` progress in steps.

    Raises:
        RecipeError: The loss has no gradient, or a learning rate has no step.
        RunError: The loss is no number.
    """
    check_steps(goal, len(config.learning_rates), n_steps)
    moments = layer_moments(model, goal.train, layers)
    sizes = {layer: found.std for layer, found in moments.items()}
    train = trainable(model, goal.train)
    tries = _Tries(model, goal)
    tries.attempt(MANUAL, 0.0, 0)
    losses: list[float] = []
    each = n_steps // len(config.learning_rates)
    for rate in config.learning_rates:
        steps = _steps(train, sizes, goal.loss, rate, config, each)
        for step, (loss, prompts) in enumerate(steps, 1):
            losses.append(loss)
            if step % config.every_steps == 0 or step == each:
                tries.attempt(prompts, rate, step)
            listener.on_progress(
                _PHASE, len(losses), each * len(config.learning_rates), {"loss": loss}
            )
    return GradientTuned(
        prompts=tries.prompts,
        losses=tuple(losses),
        learning_rate=tries.rate,
        chosen_at=tries.step,
        dev=tries.best or DevScore(0.0, math.inf),
        n_dev_calls=tries.n_tried,
        flops=config.calls_a_step * sum(scorer.flops for scorer in train),
        dev_flops=tries.flops,
    )


def loss_of_parts(
    train: Sequence[ModelScorer],
    added: Mapping[int, Float[Tensor, "1 prompt model"]],
    sizes: Mapping[int, float],
    loss: LossName,
) -> float:
    """The loss on all training examples; its gradient is added to whatever asks for one.

    Args:
        train: Parts of the examples.
        added: Rows by layer, in units of `sizes`; none is the manual prompt.
        sizes: What 1 means at a layer.
        loss: Which.

    Raises:
        RunError: It is no number.
    """
    total, n = 0.0, sum(len(scorer.labels) for scorer in train)
    for scorer in train:
        prompts = Prompts({layer: rows * sizes[layer] for layer, rows in added.items()})
        scores = scorer.scores(prompts, grad=True)
        part = LOSSES[loss](scores, scorer.labels)[0] * (len(scorer.labels) / n)
        part.backward()
        total += float(part.detach())
    if not math.isfinite(total):
        raise RunError(
            "The loss is no number under a prompt tuned by gradient: use float32, or lower learning rates."
        )
    return total


def _steps(
    train: Sequence[ModelScorer],
    sizes: Mapping[int, float],
    loss: LossName,
    rate: float,
    config: GradientConfig,
    n_steps: int,
) -> Iterator[tuple[float, Prompts]]:
    """The loss before each step and the prompt behind it."""
    model = train[0].model
    shape = (1, train[0].n_prompt, model.d_model)
    added = {layer: torch.zeros(shape, device=model.device, requires_grad=True) for layer in sizes}
    optimiser = torch.optim.AdamW(list(added.values()), lr=rate, weight_decay=config.weight_decay)
    for _ in range(n_steps):
        optimiser.zero_grad()
        found = loss_of_parts(train, added, sizes, loss)
        optimiser.step()
        yield found, Prompts({layer: rows.detach() * sizes[layer] for layer, rows in added.items()})


@dataclass
class _Tries:
    """Prompts that were tried on the dev examples, and the best of them."""

    model: LanguageModel
    goal: Goal
    prompts: Prompts = MANUAL
    best: DevScore | None = None
    rate: float = 0.0
    step: int = 0
    n_tried: int = 0
    flops: float = 0.0

    def attempt(self, prompts: Prompts, rate: float, step: int) -> None:
        found, flops = dev_score(self.model, self.goal, prompts)
        self.n_tried += 1
        self.flops += flops
        if found.better_than(self.best):
            self.best, self.prompts, self.rate, self.step = found, prompts, rate, step


def check_steps(goal: Goal, n_rates: int, n_steps: int) -> None:
    """Refuse what cannot be tuned by gradient.

    Raises:
        RecipeError: The loss has no gradient, or a learning rate has no step.
    """
    if goal.loss == "error":
        raise RecipeError(
            "The loss 'error' has no gradient: choose 'cross_entropy' or 'hinge', or leave the gradient out."
        )
    if n_steps < n_rates:
        raise RecipeError(
            f"{n_steps} steps cannot be shared out among {n_rates} learning rates: raise the budget, or give fewer."
        )


def dev_score(
    model: LanguageModel, goal: Goal, prompts: Prompts = MANUAL
) -> tuple[DevScore, float]:
    """What a prompt has on the dev examples, and the operations that it took."""
    said = answers(model, goal.dev, prompts)
    labels = torch.tensor([row.label for row in goal.dev.rows], device=said.scores.device)
    metric = float(METRICS[goal.metric](said.scores[None], labels))
    return DevScore(metric, float(LOSSES[goal.loss](said.scores[None], labels))), said.flops
