"""Edit: a function that stands at a site and may change what the model computed there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lmscope.core.errors import SiteError
from lmscope.core.site import Site


@dataclass(frozen=True)
class At:
    """Where and when an edit is called.

    Attributes:
        site: The site it stands at.
        positions: Absolute positions of the tokens of this pass.
        mask: True where they are text.
        rows: A number for each row of the batch.
        step: 0 in the first pass over a context, then one more with each pass that continues it.
    """

    site: Site
    positions: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    rows: Int[Tensor, "batch"]
    step: int


EditFunction = Callable[[Tensor, At], Tensor]
"""Takes the value at a site, gives the value to go on with (the same shape)."""

Edits = Mapping[str | Site, EditFunction]
"""What stands at which sites; `mlp_out@*` puts one function at every layer."""


def apply_edit(function: EditFunction, value: Tensor, at: At) -> Tensor:
    """The edited value, in the dtype of the site.

    Raises:
        SiteError: The function gave no tensor, another shape or another device.
    """
    edited = function(value, at)
    if not isinstance(edited, torch.Tensor):
        raise SiteError(
            f"The edit at '{at.site}' returned {type(edited).__name__}: return the tensor to go on with."
        )
    if edited.shape != value.shape:
        raise SiteError(
            f"The edit at '{at.site}' returned shape {tuple(edited.shape)} "
            f"where the model has {tuple(value.shape)}."
        )
    if edited.device != value.device:
        raise SiteError(
            f"The edit at '{at.site}' returned a tensor on {edited.device}; the model is on {value.device}."
        )
    return edited.to(value.dtype)
