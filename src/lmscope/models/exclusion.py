"""Exclusion: which positions count for scale, training, metrics and ablation; the one mask."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmscope.core.errors import SiteError
from lmscope.core.site import Site


@dataclass(frozen=True)
class Exclusion:
    """Tells the positions that count from those that do not.

    Two kinds are left out. By token: padding, special ids, and the first position of every
    attention context, where models park attention (at `resid_post@14` of SmolLM2 its norm is
    25,000 against a median of 152). By value: outliers, whose norm exceeds a multiple of the
    site's median norm; these differ from site to site.

    Attributes:
        median_norm: Median norm of each site's values over the positions that `keep_tokens` keeps.
        ratio: An outlier's norm is above so many medians.
    """

    median_norm: Mapping[Site, float] = field(default_factory=dict)
    ratio: float = 10.0

    def keep_tokens(
        self,
        tokens: Int[Tensor, "batch pos"],
        mask: Bool[Tensor, "batch pos"] | None,
        special_ids: Iterable[int],
    ) -> Bool[Tensor, "batch pos"]:
        """True where a position counts, as far as tokens tell.

        Args:
            tokens: Vocabulary ids.
            mask: True where a position holds text; all of them when None.
            special_ids: Ids that are no text, such as BOS and padding.
        """
        text = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        first = text & (text.long().cumsum(-1) == 1)
        special = torch.isin(
            tokens, torch.tensor(sorted(special_ids), dtype=tokens.dtype, device=tokens.device)
        )
        return text & ~first & ~special

    def inlier(self, site: Site, x: Float[Tensor, "*batch width"]) -> Bool[Tensor, "*batch"]:
        """True where a value's norm is at most `ratio` medians of its site; False for NaN.

        Raises:
            SiteError: The site's median norm was not measured.
        """
        if site not in self.median_norm:
            known = ", ".join(str(s) for s in sorted(self.median_norm)) or "none"
            raise SiteError(f"The median norm of '{site}' was not measured. Measured: {known}.")
        return x.float().norm(dim=-1) <= self.ratio * self.median_norm[site]
