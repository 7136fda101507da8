"""Normalisation taken apart: the normalised value, and what the gain and bias make of it."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class NormStyle:
    """How a family normalises.

    Attributes:
        kind: `layer` takes the mean away and divides by the standard deviation, `rms` divides
            by the root of the mean square.
        gain_offset: What the family adds to the stored weight (Gemma stores gain - 1).
    """

    kind: Literal["layer", "rms"]
    gain_offset: float = 0.0

    def gain(self, norm: nn.Module) -> Float[Tensor, "width"]:
        """What the normalised value is multiplied by."""
        weight = _tensor(norm, "weight")
        assert weight is not None
        return weight if self.gain_offset == 0 else weight + self.gain_offset

    def bias(self, norm: nn.Module) -> Float[Tensor, "width"] | None:
        """What is added after the gain, if anything is."""
        return _tensor(norm, "bias")

    def eps(self, norm: nn.Module) -> float:
        """What keeps the division finite."""
        for name in ("eps", "variance_epsilon"):
            if isinstance(value := getattr(norm, name, None), float):
                return value
        raise AttributeError(f"{type(norm).__name__} has no eps")

    def normalise(
        self, norm: nn.Module, x: Float[Tensor, "*batch width"]
    ) -> Float[Tensor, "*batch width"]:
        """The value before gain and bias, computed in float32 as the models do."""
        wide = x.float()
        if self.kind == "layer":
            wide = wide - wide.mean(-1, keepdim=True)
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps(norm))
        return (wide * scale).to(x.dtype)

    def replace(
        self,
        norm: nn.Module,
        output: Float[Tensor, "*batch width"],
        old: Float[Tensor, "*batch width"],
        new: Float[Tensor, "*batch width"],
    ) -> Float[Tensor, "*batch width"]:
        """The norm's output with its normalised value replaced.

        Where `new` equals `old` the output stays as it is, bit for bit (the module's own fused
        arithmetic rounds otherwise than gain * x + bias), but keeps the gradient.
        """
        gain, bias = self.gain(norm).float(), self.bias(norm)
        pushed = new.float() * gain
        if bias is not None:
            pushed = pushed + bias.float()
        kept = output + ((new - old).float() * gain).to(output.dtype)
        return torch.where(new == old, kept, pushed.to(output.dtype))


LAYER_NORM = NormStyle("layer")
RMS_NORM = NormStyle("rms")
RMS_NORM_FROM_ONE = NormStyle("rms", gain_offset=1.0)


def _tensor(module: nn.Module, name: str) -> Tensor | None:
    value = getattr(module, name, None)
    return value if isinstance(value, torch.Tensor) else None
