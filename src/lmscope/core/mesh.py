"""Mesh: how many processes share the data, the latents and the sites of a run."""

import os
from dataclasses import dataclass

from lmscope.core.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Mesh:
    """Axis sizes and this process's place on each; all 1 and 0 in one process.

    Attributes:
        data: Processes that train on different parts of each batch.
        latent: Processes that hold different latents of each dictionary.
        site: Processes that train different dictionaries.
        rank: This process, in row-major order of (data, latent, site).
    """

    data: int = 1
    latent: int = 1
    site: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        if min(self.data, self.latent, self.site) < 1 or not 0 <= self.rank < self.size:
            raise RecipeError(
                f"Mesh axes count processes from 1 and ranks from 0: got data={self.data}, "
                f"latent={self.latent}, site={self.site}, rank={self.rank}."
            )

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.data * self.latent * self.site

    @property
    def data_rank(self) -> int:
        """This process's place on the data axis."""
        return self.rank // (self.latent * self.site)

    @property
    def latent_rank(self) -> int:
        """This process's place on the latent axis."""
        return self.rank // self.site % self.latent

    @property
    def site_rank(self) -> int:
        """This process's place on the site axis."""
        return self.rank % self.site

    def owned_streams(self, n_streams: int) -> tuple[int, ...]:
        """The virtual streams of text that this process reads: neighbours, in order.

        Every process reads, whatever it trains. The rows of all ranks, one after the other, are the batch
        of one process; those of the ranks with one place on the data axis are neighbours.

        Raises:
            RecipeError: The streams cannot be shared evenly.
        """
        if n_streams % self.size:
            raise RecipeError(
                f"{n_streams} text streams cannot be shared by {self.size} processes: set "
                "stream.n_streams to a multiple, or start another number of processes."
            )
        share = n_streams // self.size
        return tuple(range(self.rank * share, (self.rank + 1) * share))

    def rows(self, n: int) -> tuple[int, int]:
        """First and last (exclusive) of `n` latents that this process holds.

        Raises:
            RecipeError: The latents cannot be shared evenly.
        """
        if n % self.latent:
            raise RecipeError(
                f"{n} latents cannot be shared by {self.latent} processes: use a latent axis that divides them."
            )
        share = n // self.latent
        return self.latent_rank * share, (self.latent_rank + 1) * share


SINGLE = Mesh()
"""One process."""


def started_processes() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_started() -> bool:
    """Whether this is the process that talks to the user."""
    return int(os.environ.get("RANK", "0")) == 0


def own_gpu() -> int:
    """The number of this process's GPU on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))
