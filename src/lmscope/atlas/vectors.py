"""Cosines between decoder rows, in blocks, so that float16 rows never stand in memory as float32."""

from typing import Final

import numpy as np
from jaxtyping import Float, Float16, Float32

from lmscope.core.errors import RecipeError

_ROWS_AT_ONCE: Final = 8192


def cosines(
    rows: Float16[np.ndarray, "latent write"], vector: Float[np.ndarray, "width"]
) -> Float32[np.ndarray, "latent"]:
    """The cosine of each row with a vector; 0 for rows of zeros.

    Raises:
        RecipeError: The vector has another width or is zero.
    """
    wanted = vector.astype(np.float32)
    norm = float(np.linalg.norm(wanted))
    if wanted.shape != rows.shape[1:] or not norm > 0:
        raise RecipeError(
            f"A vector of width {rows.shape[1]} that is not zero is needed; this one has width {len(wanted)} and "
            f"norm {norm:g}."
        )
    found = np.empty(len(rows), dtype=np.float32)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        block = rows[first : first + _ROWS_AT_ONCE].astype(np.float32)
        norms = np.linalg.norm(block, axis=1)
        found[first : first + len(block)] = (block @ (wanted / norm)) / np.where(
            norms > 0, norms, 1
        )
    return found
