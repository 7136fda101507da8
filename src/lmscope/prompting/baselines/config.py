"""Settings of the baselines, as plain values; imports no torch."""

from typing import Annotated, Final, Literal

from pydantic import Field

from lmscope.core.config import Config

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0.0)]

BaselineName = Literal[
    "manual",
    "label_bias",
    "contextual",
    "prototype",
    "in_context",
    "gradient",
    "gradient_deep",
    "fine_tuning",
]
"""`manual`: the prompt in words. `label_bias`: a number for each class, fitted to the training examples. `contextual`: scores
less those of texts that say nothing (zhao2021calibrate). `prototype`: the nearest class mean of hidden states
(snell2017prototypes). `in_context`: training examples ahead of each example (brown2020gpt3). `gradient`: a soft prompt at the
embeddings, by gradient (lester2021prompt). `gradient_deep`: one at every layer (liu2022ptuning). `fine_tuning`: all weights,
where that fits memory."""
BASELINES: Final[tuple[BaselineName, ...]] = (
    "manual",
    "label_bias",
    "contextual",
    "prototype",
    "in_context",
    "gradient",
    "gradient_deep",
    "fine_tuning",
)
USUAL: Final[tuple[BaselineName, ...]] = tuple(one for one in BASELINES if one != "fine_tuning")
"""Those that every model has room for."""


class InContextConfig(Config):
    """Training examples with their answers ahead of each example (brown2020gpt3)."""

    n_demonstrations: Count | None = None
    """At most so many; absent: as many as fit."""
    max_tokens: Count | None = None
    """Tokens of an example with its demonstrations; absent: what the model has positions for."""
    separator: str = "\n\n"
    """Between two examples."""


class GradientConfig(Config):
    """A soft prompt of all its numbers, by AdamW on all training examples at once (lester2021prompt, loshchilov2019adamw)."""

    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.01, 0.002)
    """In standard deviations of the layer's own values. The steps are shared out among them, so that choosing one is paid
    for."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Towards the manual prompt."""
    every_steps: Count = 10
    """Steps between two tries on the dev examples."""
    calls_a_step: Annotated[int, Field(ge=2, le=3)] = 3
    """Calls that a step counts as where it is compared at equal operations. 3 is the usual count, a backward pass as two
    forward ones; 2 is nearer to what is computed here, where no weight has a gradient, and gives the gradient more steps."""


class FineTuningConfig(Config):
    """All weights, by AdamW on all training examples at once (loshchilov2019adamw)."""

    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1e-5, 5e-5)
    """The steps are shared out among them."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    every_steps: Count = 10
    """Steps between two tries on the dev examples."""


class BaselineConfig(Config):
    """Settings of all baselines that have any."""

    in_context: InContextConfig = InContextConfig()
    gradient: GradientConfig = GradientConfig()
    fine_tuning: FineTuningConfig = FineTuningConfig()
