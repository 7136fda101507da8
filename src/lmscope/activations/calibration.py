"""Calibration: norms and mean of each site, estimated once at the beginning of a stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.models.exclusion import Exclusion


@dataclass(frozen=True)
class SiteStatistics:
    """What is known of a site's activations (he2024llamascope, sec. 3: scale by sqrt(width) / mean norm).

    Attributes:
        mean_norm: Mean Euclidean norm over the tokens that are no outliers.
        median_norm: Median norm (the lower one of two) over all kept tokens; outliers are measured by it.
        mean: Mean over the tokens that are no outliers, float32 on the CPU.
        n_tokens: How many these are.
        n_outliers: How many were left out.
    """

    mean_norm: float
    median_norm: float
    mean: Float[Tensor, "width"]
    n_tokens: int
    n_outliers: int


def site_statistics(site: Site, parts: Sequence[Float[Tensor, "_ width"]]) -> SiteStatistics:
    """Statistics of a site's values, given in parts; sums run in float64, in the order of the parts.

    Raises:
        DataError: There is no value, or one is not finite.
    """
    norms = torch.cat([part.float().norm(dim=-1) for part in parts])
    if not len(norms) or not bool(torch.isfinite(norms).all()):
        found = (
            "not finite: read the model in another dtype" if len(norms) else "none: use more text"
        )
        raise DataError(f"The activations of '{site}' for its calibration are {found}.")
    median = float(norms.median())
    exclusion = Exclusion({site: median})
    n_tokens, norm_sum = 0, 0.0
    total = torch.zeros(parts[0].shape[-1], dtype=torch.float64, device=norms.device)
    for part in parts:
        values = part.float()
        values = values[exclusion.inlier(site, values)]
        n_tokens += len(values)
        norm_sum += float(values.norm(dim=-1).sum(dtype=torch.float64))
        total += values.sum(0, dtype=torch.float64)
    return SiteStatistics(
        mean_norm=norm_sum / n_tokens,
        median_norm=median,
        mean=(total / n_tokens).float().cpu(),
        n_tokens=n_tokens,
        n_outliers=len(norms) - n_tokens,
    )


def calibration_state(calibration: Mapping[Site, SiteStatistics]) -> dict[str, Any]:
    """The statistics as plain values and tensors."""
    return {str(site): vars(statistics) for site, statistics in calibration.items()}


def calibration_from_state(state: Mapping[str, Any]) -> dict[Site, SiteStatistics]:
    """What `calibration_state` wrote."""
    return {Site.parse(text): SiteStatistics(**values) for text, values in state.items()}
