"""The active latents of one dictionary on one prompt, as writers and as readers."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.pairs import ByLatent, Kept, by_latent, dot_pairs, keep_pairs, sum_rows

_PADDED: Final = 4
"""Rows by position are filled up to one length where that takes at most so many times their number."""


@dataclass(frozen=True, eq=False)
class ActiveFeatures:
    """The latents that fire, sorted by position and latent, and what the dictionary leaves over.

    Attributes:
        site: Where they write.
        dictionary: In the number format of the linear model.
        position: Of each.
        latent: Of each.
        value: Activation of each, above 0; equal to its pre-activation.
        error: What stands at the site less what the dictionary makes of it. At positions that it does
            not stand at, all of it.
        stands: 1 at positions where the dictionary stands, 0 elsewhere.
    """

    site: Site
    dictionary: Dictionary
    position: Int[Tensor, "node"]
    latent: Int[Tensor, "node"]
    value: Float[Tensor, "node"]
    error: Float[Tensor, "pos model"]
    stands: Float[Tensor, "pos"]

    @classmethod
    def at(
        cls,
        dictionary: Dictionary,
        read: Float[Tensor, "pos read"],
        written: Float[Tensor, "pos model"],
        stands: Float[Tensor, "pos"],
    ) -> "ActiveFeatures":
        """What a dictionary makes of one run.

        Args:
            dictionary: In the number format of the values.
            read: What it reads.
            written: What stands at the site that it writes.
            stands: 1 where it takes part.
        """
        latents = dictionary.encode(read) * stands[:, None]
        position, latent = latents.nonzero(as_tuple=True)
        value = latents[position, latent]
        pairs = keep_pairs(position, latent, len(stands))
        made = sum_rows(dictionary.W_dec, latent, pairs.first, value) + dictionary.b_dec
        if dictionary.W_skip is not None:
            made = made + (read * dictionary.scale_in) @ dictionary.W_skip.T
        error = torch.where(stands[:, None] > 0, written - made / dictionary.scale_out, written)
        site = dictionary.config.write_site
        return cls(site, dictionary, position, latent, value, error, stands)

    def __len__(self) -> int:
        return len(self.value)

    @property
    def decoder_rows(self) -> Float[Tensor, "node model"]:
        """What one unit of each writes; made anew each time, for all of them are large."""
        return self.dictionary.W_dec[self.latent] / self.dictionary.scale_out

    @property
    def encoder_rows(self) -> Float[Tensor, "node read"]:
        """What each reads; made anew each time."""
        return self.dictionary.W_enc[self.latent] * self.dictionary.scale_in

    @cached_property
    def encoder_biases(self) -> Float[Tensor, "node"]:
        """The constant in each one's pre-activation."""
        return self.dictionary.encoder_bias()[self.latent]

    @property
    def decoder_bias(self) -> Float[Tensor, "model"]:
        """What the dictionary writes at every position where it stands."""
        return self.dictionary.b_dec / self.dictionary.scale_out

    @property
    def skip(self) -> Float[Tensor, "write read"] | None:
        """Its linear path."""
        weights = self.dictionary
        if weights.W_skip is None:
            return None
        return weights.W_skip * weights.scale_in / weights.scale_out

    def only(self, nodes: Int[Tensor, "kept"]) -> "ActiveFeatures":
        """Some of them, by their places in ascending order; errors stay those of all."""
        return replace(
            self,
            position=self.position[nodes],
            latent=self.latent[nodes],
            value=self.value[nodes],
        )

    def until(self, length: int) -> "ActiveFeatures":
        """Those of the first positions."""
        n = int(torch.searchsorted(self.position, length))
        return replace(
            self,
            position=self.position[:n],
            latent=self.latent[:n],
            value=self.value[:n],
            error=self.error[:length],
            stands=self.stands[:length],
        )

    def gradient(self, read: Float[Tensor, "target pos model"]) -> Float[Tensor, "target node"]:
        """What one unit of each adds to targets that read the site it writes."""
        weights = self.dictionary
        if read.shape[0] == 1:
            products = dot_pairs(read[0], weights.W_dec, self._pairs, self._by_latent)
            return (products / weights.scale_out)[None]
        return self._products(read, self.decoder_rows)

    def back(self, on: Float[Tensor, "target node"]) -> Float[Tensor, "target pos read"]:
        """From how much of each goes on, read vectors of what the dictionary reads."""
        weights, pairs = self.dictionary, self._pairs
        amounts = on * weights.scale_in
        return torch.stack(
            [sum_rows(weights.W_enc, pairs.latent, pairs.first, one) for one in amounts]
        )

    def pre_activations(self, read: Float[Tensor, "pos read"]) -> Float[Tensor, "node"]:
        """Of each, given what the dictionary reads; can be differentiated."""
        if read.requires_grad:
            products = (read[self.position] * self.encoder_rows).sum(-1)
        else:
            weights = self.dictionary
            products = dot_pairs(read, weights.W_enc, self._pairs, self._by_latent)
            products = products * weights.scale_in
        return products + self.encoder_biases

    def write(self, active: Float[Tensor, "node"]) -> Float[Tensor, "pos model"]:
        """What they write when they are so active, without constants; can be differentiated."""
        if active.requires_grad:
            none = torch.zeros_like(self.error)
            return none.index_add(0, self.position, active[:, None] * self.decoder_rows)
        weights, pairs = self.dictionary, self._pairs
        return sum_rows(weights.W_dec, pairs.latent, pairs.first, active) / weights.scale_out

    @cached_property
    def _pairs(self) -> Kept:
        return keep_pairs(self.position, self.latent, len(self.stands))

    @cached_property
    def _by_latent(self) -> ByLatent:
        return by_latent(self._pairs, self.dictionary.config.n_latents)

    def _products(
        self, read: Float[Tensor, "target pos model"], rows: Float[Tensor, "node model"]
    ) -> Float[Tensor, "target node"]:
        """Of each target's read vectors at a feature's position with the feature's row."""
        positions, counts = self.position.unique_consecutive(return_counts=True)
        width = int(counts.max()) if len(counts) else 0
        if width * len(counts) > _PADDED * len(self):
            ends = zip(positions.tolist(), rows.split(counts.tolist()), strict=True)
            return torch.cat([read[:, place] @ some.T for place, some in ends], 1)
        place = torch.arange(width, device=counts.device)
        filled = place < counts[:, None]
        index = torch.where(filled, (counts.cumsum(0) - counts)[:, None] + place, 0)
        found = torch.einsum("tpd,pkd->tpk", read[:, positions], rows[index])
        return found[:, filled]
