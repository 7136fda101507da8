"""Prompts: candidates for the rows that are added at the prompt's tokens, layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.site import Site

EMBED = 0
"""The layer whose input is `embed`, as sun2022bbt and sun2022bbtv2 have it."""


@dataclass(frozen=True)
class Prompts:
    """Several soft prompts of one shape (sun2022bbtv2, section 3).

    What is added stands on top of the prompt's own tokens, so nothing added is the manual prompt.

    Attributes:
        added: For some layers, what is added to the layer's input at the prompt's tokens; one
            candidate's rows serve all of them.
    """

    added: Mapping[int, Float[Tensor, "_ prompt model"]]

    def __len__(self) -> int:
        """How many candidates there are."""
        return max((len(value) for value in self.added.values()), default=1)

    @property
    def layers(self) -> tuple[int, ...]:
        """Where something is added, lowest first."""
        return tuple(sorted(self.added))

    def take(self, first: int, last: int) -> "Prompts":
        """The candidates from one number up to another."""
        return Prompts(
            {layer: v[first:last] if len(v) > 1 else v for layer, v in self.added.items()}
        )

    def with_layers(self, added: Mapping[int, Float[Tensor, "_ prompt model"]]) -> "Prompts":
        """The same with other rows at some layers."""
        return Prompts({**self.added, **added})

    def at(self, layer: int, candidates: Tensor) -> Float[Tensor, "row prompt model"]:
        """What is added at a layer, for each row the rows of its candidate."""
        value = self.added[layer]
        return value.expand(len(candidates), -1, -1) if len(value) == 1 else value[candidates]


def prompt_site(layer: int) -> Site:
    """Where a layer's rows are added: `embed` for the lowest, else `resid_pre@l`."""
    return Site("embed") if layer == EMBED else Site("resid_pre", layer)


def joined(prompts: Sequence[Prompts]) -> Prompts:
    """Candidates one after another; all must add at the same layers."""
    layers = prompts[0].layers
    sizes = [len(one) for one in prompts]
    parts = {
        layer: [one.added[layer].expand(n, -1, -1) for one, n in zip(prompts, sizes, strict=True)]
        for layer in layers
    }
    return Prompts({layer: torch.cat(values) for layer, values in parts.items()})
