"""Rotary positions of one run: how each layer turns queries and keys at each position (su2021roformer)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Rotation:
    """Turns the first coordinates of a head's queries or keys, pairs half their number apart.

    Attributes:
        cos, sin: One row a position, one column for each coordinate that turns; the others stay.
    """

    cos: Float[Tensor, "pos turned"]
    sin: Float[Tensor, "pos turned"]

    def __call__(
        self, x: Float[Tensor, "*batch pos head_dim"]
    ) -> Float[Tensor, "*batch pos head_dim"]:
        """Queries or keys, turned."""
        n = self.cos.shape[-1]
        part, rest = x[..., :n], x[..., n:]
        return torch.cat([part * self.cos + _half(part) * self.sin, rest], -1)

    def at(self, position: int) -> "Rotation":
        """That of one position, for values of one position."""
        return Rotation(self.cos[position : position + 1], self.sin[position : position + 1])

    def back(
        self, read: Float[Tensor, "*batch pos head_dim"]
    ) -> Float[Tensor, "*batch pos head_dim"]:
        """The transpose: read vectors of turned values as read vectors of what was turned."""
        n = self.cos.shape[-1]
        part, rest = read[..., :n], read[..., n:]
        return torch.cat([part * self.cos - _half(part * self.sin), rest], -1)


def _half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


@contextmanager
def watching_rotations(modules: dict[int, nn.Module]) -> Iterator[dict[int, Rotation]]:
    """Within the block a run of the model leaves each layer's rotation in the result, by layer."""
    found: dict[int, Rotation] = {}
    hooks = []

    def watch(layer: int) -> Any:
        def seen(_module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
            pair = kwargs.get("position_embeddings")
            if pair is not None:
                found[layer] = Rotation(pair[0][0], pair[1][0])

        return seen

    try:
        for layer, module in modules.items():
            hooks.append(module.register_forward_pre_hook(watch(layer), with_kwargs=True))
        yield found
    finally:
        for hook in hooks:
            hook.remove()
