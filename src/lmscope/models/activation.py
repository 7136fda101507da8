"""Activation functions as a gate on their own input, `act(z) = z * gate(z)`."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.errors import ModelError, did_you_mean

Gate = Callable[[Tensor], Tensor]


def self_gate(name: str) -> Gate:
    """The gate of an activation function by its Hugging Face name (he2024othello, MLP circuits).

    The gate is computed directly, never as act(z) / z, so it is right at z = 0.

    Raises:
        ModelError: The function is not known here.
    """
    if name not in GATES:
        raise ModelError(
            f"The activation function '{name}' is not known as a gate.{did_you_mean(name, GATES)}"
        )
    return GATES[name]


def _gaussian(z: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))


def _tanh(z: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def _step(z: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    return (z > 0).to(z.dtype)


def _quick(z: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    return torch.sigmoid(1.702 * z)


GATES: Final[Mapping[str, Gate]] = MappingProxyType(
    {
        "relu": _step,
        "gelu": _gaussian,
        "gelu_python": _gaussian,
        "gelu_new": _tanh,
        "gelu_fast": _tanh,
        "gelu_pytorch_tanh": _tanh,
        "quick_gelu": _quick,
        "silu": torch.sigmoid,
        "swish": torch.sigmoid,
        "linear": torch.ones_like,
    }
)
"""By Hugging Face name: ReLU a step, GELU the Gaussian distribution function or its tanh form, SiLU the
logistic function."""
