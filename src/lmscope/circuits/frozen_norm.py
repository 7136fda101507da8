"""A norm with its scale frozen: linear, and its transpose."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.models.weights_view import NormWeights


class BiasKey(NamedTuple):
    """One constant of the model or of a dictionary.

    Attributes:
        layer: Its layer; the number of layers for the final norm and the unembedding.
        name: `attn_norm`, `b_V`, `b_O`, `b_enc`, `b_dec`, `b_in`, ...
    """

    layer: int
    name: str

    def __str__(self) -> str:
        return f"{self.name}@{self.layer}"


class Biases:
    """What constants add to a batch of targets, met on the way down.

    Attributes:
        found: One number for each target, by constant.
    """

    def __init__(self) -> None:
        self.found: dict[BiasKey, Tensor] = {}

    def add(self, key: BiasKey, value: Float[Tensor, "target"]) -> None:
        """Add to what was found of a constant."""
        self.found[key] = self.found[key] + value if key in self.found else value

    def of(
        self,
        key: BiasKey,
        read: Float[Tensor, "target pos width"],
        bias: Float[Tensor, "width"] | None,
    ) -> None:
        """Add what a constant that stands at every position gives to read vectors."""
        if bias is not None:
            self.add(key, read.sum(1) @ bias)


@dataclass(frozen=True, eq=False)
class FrozenNorm:
    """`(x [- mean]) * scale * gain + bias`, the scale taken from one run (he2024othello, 1.2).

    Attributes:
        centred: Whether the mean is taken away (LayerNorm).
        scale: 1 / standard deviation or root mean square, one a position.
        gain: What is multiplied then; for Gemma 1 + w.
        bias: What is added last.
        key: What the bias is called.
    """

    centred: bool
    scale: Float[Tensor, "pos"]
    gain: Float[Tensor, "model"]
    bias: Float[Tensor, "model"] | None
    key: BiasKey

    @classmethod
    def at(cls, norm: NormWeights, x: Float[Tensor, "pos model"], key: BiasKey) -> "FrozenNorm":
        """The norm as it acts on one run's values."""
        centred = norm.style.kind == "layer"
        kept = x - x.mean(-1, keepdim=True) if centred else x
        scale = torch.rsqrt(kept.pow(2).mean(-1) + norm.eps)
        bias = None if norm.bias is None else norm.bias.detach().to(x)
        return cls(centred, scale, norm.gain.detach().to(x), bias, key)

    def normalised(self, x: Float[Tensor, "*batch pos model"]) -> Float[Tensor, "*batch pos model"]:
        """Before gain and bias."""
        kept = x - x.mean(-1, keepdim=True) if self.centred else x
        return kept * self.scale[:, None]

    def __call__(self, x: Float[Tensor, "*batch pos model"]) -> Float[Tensor, "*batch pos model"]:
        """The norm's output, affine in x."""
        out = self.normalised(x) * self.gain
        return out if self.bias is None else out + self.bias

    def until(self, length: int) -> "FrozenNorm":
        """On the first positions."""
        return replace(self, scale=self.scale[:length])

    def back(
        self, read: Float[Tensor, "target pos model"], biases: Biases
    ) -> Float[Tensor, "target pos model"]:
        """Read vectors of the output as read vectors of the input."""
        biases.of(self.key, read, self.bias)
        return self.back_normalised(read * self.gain)

    def back_normalised(
        self, read: Float[Tensor, "*batch pos model"]
    ) -> Float[Tensor, "*batch pos model"]:
        """Read vectors of the normalised value as read vectors of the input."""
        read = read * self.scale[:, None]
        return read - read.mean(-1, keepdim=True) if self.centred else read
