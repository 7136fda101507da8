"""The active latents of one dictionary on one prompt, as writers and as readers."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary


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
        here = stands > 0
        latents = dictionary.encode(read) * stands[:, None]
        position, latent = latents.nonzero(as_tuple=True)
        value = latents[position, latent]
        made = dictionary.decode(latents, read)
        error = torch.where(here[:, None], written - made, written)
        site = dictionary.config.write_site
        return cls(site, dictionary, position, latent, value, error, stands)

    def __len__(self) -> int:
        return len(self.value)

    @cached_property
    def decoder_rows(self) -> Float[Tensor, "node model"]:
        """What one unit of each writes."""
        return self.dictionary.W_dec[self.latent] / self.dictionary.scale_out

    @cached_property
    def encoder_rows(self) -> Float[Tensor, "node read"]:
        """What each reads."""
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

    def gradient(self, read: Float[Tensor, "target pos model"]) -> Float[Tensor, "target node"]:
        """What one unit of each adds to targets that read the site it writes."""
        if read.shape[0] == 1:
            return (read[0, self.position] * self.decoder_rows).sum(-1)[None]
        index, filled = self._by_position
        rows = self.decoder_rows[index] * filled[..., None]
        found = torch.einsum("tpd,pkd->tpk", read, rows)
        return found[:, filled.bool()]

    @cached_property
    def _by_position(self) -> tuple[Int[Tensor, "pos k"], Float[Tensor, "pos k"]]:
        """Places in the list by position, and 1 where there is one; the list's order is kept."""
        length = len(self.stands)
        counts = torch.bincount(self.position, minlength=length)
        width = max(int(counts.max()), 1) if len(counts) else 1
        first = counts.cumsum(0) - counts
        place = torch.arange(width, device=counts.device)
        filled = place < counts[:, None]
        index = torch.where(filled, first[:, None] + place, 0)
        return index.clamp(max=max(len(self) - 1, 0)), filled.to(self.value)
