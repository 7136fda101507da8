"""Sharing: processes that train on one batch each read a part of its text and hand it around."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.core.processes import ALONE, Processes
from lmscope.core.site import Site


class Sharing:
    """Puts the batch of one place on the data axis together from the rows that its processes read.

    A process gets only the sites that it trains on: with a site axis these are some of those that
    every forward pass reads.

    Args:
        processes: Who shares; the axes latent and site.
        wanted: For each place on the site axis the sites that are trained on there; absent: every
            process trains on all that are read.
    """

    def __init__(
        self, processes: Processes = ALONE, wanted: Sequence[Sequence[Site]] | None = None
    ) -> None:
        assert wanted is None or len(wanted) == processes.mesh.site
        self.mesh = processes.mesh
        self._group = processes.share
        self._wanted = wanted

    def _sites(self, member: int, read: Sequence[Site]) -> Sequence[Site]:
        # Members stand in the order (latent, site): the place on the site axis varies fastest.
        return read if self._wanted is None else self._wanted[member % len(self._wanted)]

    def values(
        self, own: Mapping[Site, Float[Tensor, "token _width"]]
    ) -> dict[Site, Float[Tensor, "all_tokens _width"]]:
        """The wanted sites' rows of all members, in the order of ranks."""
        mine = self._sites(self._group.rank, list(own))
        if self._group.size == 1:
            return {site: own[site] for site in mine}
        parts = [_flat(own, self._sites(member, list(own))) for member in range(self._group.size)]
        sizes = [own[site].numel() for site in mine]
        taken = self._group.exchange(parts, [sum(sizes)] * self._group.size)
        pieces = [part.split(sizes) for part in taken]
        return {
            site: torch.cat([piece[i].view(own[site].shape) for piece in pieces])
            for i, site in enumerate(mine)
        }

    def places(self, own: Int[Tensor, "token"]) -> Int[Tensor, "all_tokens"]:
        """Contexts or positions of all members' rows, in the same order."""
        return torch.cat(self._group.gather(own))


def _flat(own: Mapping[Site, Tensor], sites: Sequence[Site]) -> Tensor:
    """The values of some sites, one after the other."""
    none = next(iter(own.values())).new_empty(0)
    return torch.cat([none, *(own[site].flatten() for site in sites)])
