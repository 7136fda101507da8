"""Whether a feature fires, and if not, how far below its threshold it is, as plain values."""

from typing import Literal

from lmscope.core.config import Config


class Firing(Config):
    """What a feature needs to fire at one position, in units of its pre-activation."""

    rule: Literal["relu", "topk", "batchtopk", "jumprelu"]
    """How its dictionary chooses."""
    pre_activation: float
    threshold: float
    """It fires above it. Of `topk` that is what the last latent that is kept there would need: the others
    decide."""
    fires: bool
    stands: bool
    """Whether the dictionary stands at the position; at the first one, special tokens and outliers it
    does not, and nothing fires."""
    n_ahead: int | None = None
    """Of `topk`: latents whose scores are higher."""

    @property
    def missing(self) -> float:
        """What it lacks; below 0 for a feature that is above its threshold."""
        return self.threshold - self.pre_activation
