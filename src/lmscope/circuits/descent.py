"""Descent: read vectors on their way down a frozen model, and what they meet.

One pass carries a read vector for each target and position. At a dictionary it meets the active features:
what one unit of a feature adds to the target is the product of the read vector and of what the feature
writes. What a caller lets pass goes on to what the feature reads; layers without a dictionary pass all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Branch, Frozen
from lmscope.circuits.frozen_norm import Biases, BiasKey
from lmscope.core.site import Site

Passes = Callable[[Branch, ActiveFeatures, Float[Tensor, "target node"]], Tensor | None]
"""From what one unit of each feature adds to each target, to how much of it goes on; None for nothing."""


@dataclass
class Descent:
    """What read vectors met.

    Attributes:
        passes: What goes on at features.
        read: Where the read vectors stand now, one for each target and position.
        biases: What constants add.
        errors: What errors add, by site and position.
        leaves: What outputs add that are not traced through.
    """

    passes: Passes
    read: Float[Tensor, "target pos model"]
    biases: Biases
    errors: dict[Site, Float[Tensor, "target pos"]] = field(default_factory=dict)
    leaves: dict[Site, Float[Tensor, "target pos"]] = field(default_factory=dict)

    def go(self, frozen: Frozen, stage: int, until: int = 0) -> "Descent":
        """Pass the stages below one, down to the embeddings or to a lower one."""
        for branches in reversed(frozen.stages[until:stage]):
            below = torch.zeros_like(self.read) if branches[0].is_stream else self.read
            for branch in branches:
                passed = self._through(branch)
                below = below if passed is None else below + passed
            self.read = below
        return self

    def tokens(self, frozen: Frozen) -> Float[Tensor, "target pos"]:
        """What token embeddings add; after `go`."""
        return _products(self.read, frozen.embed)

    def positions(self, frozen: Frozen) -> Float[Tensor, "target pos"]:
        """What position embeddings add; after `go`."""
        if frozen.pos_embed is None:
            return torch.zeros(self.read.shape[:2], dtype=self.read.dtype, device=self.read.device)
        return _products(self.read, frozen.pos_embed)

    def _through(self, branch: Branch) -> Tensor | None:
        """What reads the stream below on behalf of a branch; None for nothing."""
        if branch.features is not None:
            return self._meet(branch, branch.features)
        if branch.leaf is not None:
            self.leaves[branch.site] = _products(self.read, branch.leaf)
            return None
        assert branch.linear is not None
        return branch.linear.back(self.read, self.biases)

    def _meet(self, branch: Branch, features: ActiveFeatures) -> Tensor | None:
        layer, part = branch.site.layer or 0, branch.site.part
        self.errors[branch.site] = _products(self.read, features.error)
        standing = torch.einsum("tpd,p->td", self.read, features.stands) @ features.decoder_bias
        self.biases.add(BiasKey(layer, f"b_dec {part}"), standing)
        on = self.passes(branch, features, features.gradient(self.read))
        if on is None and features.skip is None:
            return None
        below = None
        if on is not None:
            self.biases.add(BiasKey(layer, f"b_enc {part}"), on @ features.encoder_biases)
            below = features.back(on)
        if features.skip is not None:
            skipped = (self.read * features.stands[:, None]) @ features.skip
            below = skipped if below is None else below + skipped
        assert below is not None
        return branch.back_read(below, self.biases)


def _products(
    read: Float[Tensor, "target pos model"], written: Float[Tensor, "pos model"]
) -> Float[Tensor, "target pos"]:
    """Of each target and position what reads there with what is written there."""
    return torch.einsum("tpd,pd->tp", read, written)
