"""Direct rows: what each writer adds to some targets, through layers without a dictionary only."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.descent import Descent
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Branch, Frozen
from lmscope.circuits.frozen_norm import Biases
from lmscope.core.site import Site


@dataclass(frozen=True, eq=False)
class DirectRows:
    """Direct contributions to some targets.

    Attributes:
        sites: Of the active features of each site below.
        tokens, positions: Of embeddings.
        errors, leaves: Of what dictionaries leave over and of outputs not traced through.
        biases: Of all constants together.
    """

    sites: Mapping[Site, Float[Tensor, "target _node"]]
    tokens: Float[Tensor, "target pos"]
    positions: Float[Tensor, "target pos"]
    errors: Mapping[Site, Float[Tensor, "target pos"]]
    leaves: Mapping[Site, Float[Tensor, "target pos"]]
    biases: Float[Tensor, "target"]

    def total(self) -> Float[Tensor, "target"]:
        """All contributions: the pre-activation of each target."""
        parts = [*self.sites.values(), self.tokens, self.positions]
        parts += [*self.errors.values(), *self.leaves.values()]
        return torch.stack([part.sum(1) for part in parts]).sum(0) + self.biases


def direct_rows(
    frozen: Frozen, stage: int, read: Float[Tensor, "target pos model"], biases: Biases
) -> DirectRows:
    """What adds to targets directly.

    Args:
        frozen: The run.
        stage: Stages below the stream that they read.
        read: What reads it.
        biases: What constants above it add.
    """
    sites: dict[Site, Tensor] = {}

    def stop(branch: Branch, features: ActiveFeatures, gradient: Tensor) -> None:
        sites[branch.site] = gradient * features.value

    with torch.no_grad():
        met = Descent(stop, read, biases).go(frozen, stage)
        found = list(met.biases.found.values())
        constant = torch.stack(found).sum(0) if found else read.new_zeros(len(read))
        return rows_of(frozen, met, sites, constant)


def rows_of(
    frozen: Frozen, met: Descent, sites: dict[Site, Tensor], biases: Float[Tensor, "target"]
) -> DirectRows:
    """What a descent met that has reached the embeddings; nothing above where a target joined it."""
    n = len(biases)
    return DirectRows(
        _filled(sites, n),
        met.tokens(frozen),
        met.positions(frozen),
        _filled(met.errors, n),
        _filled(met.leaves, n),
        biases,
    )


def _filled(parts: dict[Site, Tensor], n: int) -> dict[Site, Tensor]:
    """In forward order, with zeros for targets that joined further down."""
    return {
        site: torch.cat([part, part.new_zeros(n - len(part), part.shape[1])])
        if len(part) < n
        else part
        for site, part in reversed(parts.items())
    }
