"""Planted dictionaries: activations made of known features, to see whether training finds them."""

from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Generator, Tensor


class Planted(NamedTuple):
    """Known features and how often each fires.

    Attributes:
        features: Directions of norm 1.
        probability: Chance that a feature fires at a token.
    """

    features: Float[Tensor, "feature width"]
    probability: Float[Tensor, "feature"]

    def sample(self, n_tokens: int, generator: Generator) -> Float[Tensor, "token width"]:
        """Sums of the features that fire, each independently, with strengths uniform in [0.5, 1.5].

        Args:
            n_tokens: Tokens to draw.
            generator: Random stream on the CPU.
        """
        size = (n_tokens, len(self.features))
        fires = torch.rand(size, generator=generator) < self.probability
        strength = 0.5 + torch.rand(size, generator=generator)
        return (fires * strength) @ self.features


def plant(
    n_features: int, width: int, mean_l0: float, generator: Generator, *, zipf: float = 0.0
) -> Planted:
    """Random features that fire `mean_l0` at a time on average.

    Args:
        n_features: How many.
        width: Of the activations.
        mean_l0: Features that fire at a token on average.
        generator: Random stream on the CPU.
        zipf: The i-th feature fires as often as `i ** -zipf` (at most always); 0: all equally often.
    """
    features = nnf.normalize(torch.randn(n_features, width, generator=generator), dim=1)
    weight = torch.arange(1, n_features + 1, dtype=torch.float32) ** -zipf
    return Planted(features, (weight * (mean_l0 / weight.sum())).clamp(max=1.0))


def mean_max_cosine(
    W: Float[Tensor, "latent width"], truth: Float[Tensor, "feature width"]
) -> float:
    """Mean over true features of the largest cosine with any row of W; 1 if all are found."""
    cosine = nnf.normalize(truth, dim=1) @ nnf.normalize(W, dim=1).T
    return cosine.max(dim=1).values.mean().item()
