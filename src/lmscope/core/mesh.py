"""Mesh: how many processes share the data, the latents and the sites of a run."""

from dataclasses import dataclass

from lmscope.core.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Mesh:
    """Axis sizes and this process's place on each; all 1 and 0 in one process.

    Attributes:
        data: Processes that read different text.
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

    def owned_streams(self, n_streams: int) -> tuple[int, ...]:
        """The virtual streams of text that this process reads: neighbours, in order.

        So the batches of the ranks, one after the other, are the batch of one process.

        Raises:
            RecipeError: The streams cannot be shared evenly.
        """
        if n_streams % self.data:
            raise RecipeError(
                f"{n_streams} text streams cannot be shared by {self.data} processes: "
                "use a data axis that divides them."
            )
        share = n_streams // self.data
        return tuple(range(self.data_rank * share, (self.data_rank + 1) * share))


SINGLE = Mesh()
"""One process."""
