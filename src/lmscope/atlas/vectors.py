"""DecoderRows: cosines with all decoder rows, which stay in memory as float16."""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float, Float16, Float32

from lmscope.core.errors import RecipeError

_ROWS_AT_ONCE: Final = 512
"""Few enough that what a block becomes in float32 is still in the processor's cache when it is used."""

_REMEMBERED: Final = 4


class DecoderRows:
    """The decoder rows of all latents.

    Args:
        rows: As an atlas keeps them.
    """

    def __init__(self, rows: Float16[np.ndarray, "latent write"]) -> None:
        self.rows = rows
        # Who looks through a long list of neighbours asks for the same ones again and again.
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._cosines_with)

    def cosines_with(self, latent: int) -> Float32[np.ndarray, "latent"]:
        """The cosine of each row with that of one latent, and -inf for the latent itself; read-only.

        Raises:
            RecipeError: Its row is zero.
        """
        return self._remembered(latent)

    def cosines(self, vector: Float[np.ndarray, "width"]) -> Float32[np.ndarray, "latent"]:
        """The cosine of each row with a vector; 0 for rows of zeros.

        Raises:
            RecipeError: The vector has another width or is zero.
        """
        wanted = vector.astype(np.float32)
        norm = float(np.linalg.norm(wanted))
        if wanted.shape != self.rows.shape[1:] or not norm > 0:
            raise RecipeError(
                f"A vector of width {self.rows.shape[1]} that is not zero is needed; this one has width "
                f"{len(wanted)} and norm {norm:g}."
            )
        wanted /= norm
        found = np.empty(len(self.rows), dtype=np.float32)
        for place, block in self._blocks():
            np.matmul(block, wanted, out=found[place])
        found /= self._norms
        return found

    def _cosines_with(self, latent: int) -> Float32[np.ndarray, "latent"]:
        found = self.cosines(self.rows[latent])
        found[latent] = -np.inf
        found.flags.writeable = False
        return found

    @cached_property
    def _norms(self) -> Float32[np.ndarray, "latent"]:
        """Of each row; 1 for rows of zeros."""
        found = np.empty(len(self.rows), dtype=np.float32)
        for place, block in self._blocks():
            found[place] = np.linalg.norm(block, axis=1)
        found[found == 0] = 1
        return found

    def _blocks(self) -> Iterator[tuple[slice, Float32[np.ndarray, "row write"]]]:
        """Rows as float32 with their places; each block is gone when the next one comes."""
        buffer = np.empty((_ROWS_AT_ONCE, self.rows.shape[1]), dtype=np.float32)
        for first in range(0, len(self.rows), _ROWS_AT_ONCE):
            part = self.rows[first : first + _ROWS_AT_ONCE]
            np.copyto(buffer[: len(part)], part)
            yield slice(first, first + len(part)), buffer[: len(part)]
