"""Mean and spread of a layer's values, by which a soft prompt's size is set."""

import math
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.core.errors import DataError

_N_CLIPS: Final = 5
_WITHIN: Final = 3.0
_N_AT_ONCE: Final = 2**22


class Moments(NamedTuple):
    """Mean and (population) standard deviation of values."""

    mean: float
    std: float


def embedding_moments(weights: Float[Tensor, "vocab model"]) -> Moments:
    """Of all entries of a token embedding (sun2022bbt).

    Raises:
        DataError: They have no spread, or are no finite numbers.
    """
    return _moments(weights.detach(), "The token embeddings")


def clipped_moments(
    hidden: Float[Tensor, "batch pos model"],
    mask: Bool[Tensor, "batch pos"],
    *,
    paper_faithful: bool = False,
) -> Moments:
    """Of the values that enter a layer, after outliers were pulled in (sun2022bbtv2).

    Five times all values are clipped to three standard deviations around their mean.

    Differs: only the positions of `mask` count. The authors count padding and the prompt's own
    positions too.

    Args:
        hidden: What enters the layer.
        mask: True at text, False at padding and at the prompt's positions.
        paper_faithful: Count all positions, as the authors do.

    Raises:
        DataError: No position counts, or values have no spread or are no finite numbers.
    """
    values = hidden.detach() if paper_faithful else hidden.detach()[mask]
    if not values.numel():
        raise DataError(
            "No position of the batch is text outside the prompt, so the layer's values cannot be measured: "
            "give longer examples, or count all positions."
        )
    values = values.flatten().to(torch.promote_types(values.dtype, torch.float32))
    found = _moments(values, "The values that enter the layer")
    for _ in range(_N_CLIPS):
        reach = _WITHIN * found.std
        values = values.clamp(found.mean - reach, found.mean + reach)
        found = _moments(values, "The values that enter the layer")
    return found


def _moments(values: Float[Tensor, "*value"], what: str) -> Moments:
    flat = values.flatten()
    # In parts: a whole copy of large embeddings in double precision would take gigabytes.
    mean = sum(float(part.double().sum()) for part in flat.split(_N_AT_ONCE)) / len(flat)
    squares = sum(float((part.double() - mean).square().sum()) for part in flat.split(_N_AT_ONCE))
    std = math.sqrt(squares / len(flat)) if math.isfinite(squares) else math.nan
    if not std > 0:
        raise DataError(
            f"{what} have a mean of {mean:.3g} and a standard deviation of {std:.3g}: a soft prompt cannot be "
            "sized by them. Check the model, or load it in float32."
        )
    return Moments(mean, std)
