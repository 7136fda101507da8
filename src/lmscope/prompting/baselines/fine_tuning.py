"""Full fine-tuning: all weights of a copy of the model, on the same examples, where that fits memory."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from lmscope.core.errors import BudgetError, RecipeError
from lmscope.core.protocols import Listener
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.baselines.config import FineTuningConfig
from lmscope.prompting.baselines.gradient import Goal, check_steps, dev_score, loss_of_parts
from lmscope.prompting.baselines.passes import trainable
from lmscope.prompting.oracle import DevScore

CALLS_A_STEP: Final = 3
"""A step is a forward pass of all training examples and a backward one of activations and weights, two forward ones."""
_COPIES: Final = 6
_PHASE: Final = "fine-tuning"
_GIB: Final = 2**30


@dataclass
class FineTuned:
    """A copy of a model, all of whose weights were tuned.

    Attributes:
        model: The copy, with the weights that the dev examples like best.
        losses: On the training examples before each step, one learning rate after another.
        learning_rate, chosen_at: Whose weights they are, and after how many steps; 0 is the model as it was.
        dev: What it had on the dev examples.
        n_dev_calls: Weights that were tried on them.
        flops: Operations of the layers on training examples, a backward pass as two forward ones.
        dev_flops: On dev examples.
    """

    model: LanguageModel
    losses: list[float] = field(default_factory=list)
    learning_rate: float = 0.0
    chosen_at: int = 0
    dev: DevScore | None = None
    n_dev_calls: int = 0
    flops: float = 0.0
    dev_flops: float = 0.0
    _best: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def attempt(self, goal: Goal, rate: float, step: int) -> None:
        """Try the weights as they are on the dev examples, and note them where they are better."""
        found, flops = dev_score(self.model, goal)
        self.n_dev_calls += 1
        self.dev_flops += flops
        if found.better_than(self.dev):
            self.dev, self.learning_rate, self.chosen_at = found, rate, step
            self._best = _weights(self.model)

    def settle(self) -> None:
        """Go back to the best weights."""
        self.model.hf.load_state_dict(self._best)
        self.model.hf.requires_grad_(False)
        self._best = {}


def bytes_needed(model: LanguageModel) -> int:
    """What fine-tuning takes besides the model: the copy, its gradient, two means, the first and the best weights.

    What the layers keep for the backward pass comes on top; with few examples it is little beside the weights.
    """
    return _COPIES * sum(p.numel() * p.element_size() for p in model.hf.parameters())


def fine_tune(
    model: LanguageModel,
    goal: Goal,
    n_steps: int,
    config: FineTuningConfig,
    listener: Listener,
    *,
    memory_bytes: int | None = None,
) -> FineTuned:
    """Tune all weights of a copy by AdamW under the manual prompt, and choose by the dev examples (loshchilov2019adamw).

    Args:
        model: Where it begins; it stays as it is.
        goal: The examples.
        n_steps: In all, shared out among the learning rates.
        config: Settings.
        listener: Hears `fine-tuning` progress in steps.
        memory_bytes: What may be taken; None does not look.

    Raises:
        BudgetError: It takes more memory.
        RecipeError: The weights are not in float32, the loss has no gradient, or a learning rate has no step.
        RunError: The loss is no number.
    """
    check_steps(goal, len(config.learning_rates), n_steps)
    if model.dtype != torch.float32:
        raise RecipeError(
            f"{model.name} is loaded in {str(model.dtype).removeprefix('torch.')}, in which small steps are lost: set "
            "model.dtype to float32, or leave 'fine_tuning' out."
        )
    needed = bytes_needed(model)
    if memory_bytes is not None and needed > memory_bytes:
        raise BudgetError(
            f"Fine-tuning all of {model.name} takes {needed / _GIB:.1f} GiB and {memory_bytes / _GIB:.1f} GiB may be "
            "taken: choose a smaller model, or leave 'fine_tuning' out."
        )
    # On CPU or GPU alike a copy of its own, so that nothing that the caller holds is trained.
    tuned = FineTuned(
        LanguageModel(
            copy.deepcopy(model.hf),
            model.tokenizer,
            name=model.name,
            weights_hash=model.weights_hash,
        )
    )
    first = _weights(tuned.model)
    tuned.attempt(goal, 0.0, 0)
    each = n_steps // len(config.learning_rates)
    for rate in config.learning_rates:
        tuned.model.hf.load_state_dict(first)
        for step, loss in enumerate(_steps(tuned, goal, rate, config, each), 1):
            tuned.losses.append(loss)
            if step % config.every_steps == 0 or step == each:
                tuned.attempt(goal, rate, step)
            total = each * len(config.learning_rates)
            listener.on_progress(_PHASE, len(tuned.losses), total, {"loss": loss})
    tuned.settle()
    return tuned


def _steps(
    tuned: FineTuned, goal: Goal, rate: float, config: FineTuningConfig, n_steps: int
) -> Iterator[float]:
    """The loss before each step."""
    hf = tuned.model.hf.requires_grad_(True)
    train = trainable(tuned.model, goal.train, whole=True)
    optimiser = torch.optim.AdamW(hf.parameters(), lr=rate, weight_decay=config.weight_decay)
    for _ in range(n_steps):
        optimiser.zero_grad()
        before = sum(scorer.flops for scorer in train)
        loss = loss_of_parts(train, {}, {}, goal.loss)
        tuned.flops += CALLS_A_STEP * (sum(scorer.flops for scorer in train) - before)
        optimiser.step()
        yield loss
    optimiser.zero_grad()


def _weights(model: LanguageModel) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.hf.state_dict().items()}
