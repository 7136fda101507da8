"""How often the latents of a dictionary fire and how large their rows are, against published guidelines."""

from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.config import Config
from lmscope.dictionaries.folding import decoder_norms
from lmscope.dictionaries.latent_statistics import LatentStatistics
from lmscope.dictionaries.report import Histogram

ULTRA_ACTIVE: Final = 0.1
"""Firing on more than this share of the tokens is ultra-active (he2024llamascope)."""
MAX_INACTIVE_SHARE: Final = 0.1
"""About so many latents may be inactive over 100,000 tokens (he2024llamascope)."""
MAX_ULTRA_ACTIVE_SHARE: Final = 0.02
"""Fewer than so many should be ultra-active (he2024llamascope)."""
GUIDELINE_TOKENS: Final = 100_000
"""Tokens for which the guideline about inactive latents is stated."""
_UNIT_TOLERANCE: Final = 1e-3
_QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Frequencies(Config):
    """Firing frequencies in a few numbers, beside the guideline of the Llama Scope paper."""

    n_tokens: int
    """Evaluated tokens; 0 where no latent ever fired."""
    inactive_share: float
    """Latents that fired on none of them."""
    ultra_active_share: float
    """Latents that fired on more than a tenth of them."""
    inactive_is_fine: bool | None = None
    """Whether at most a tenth is inactive. Absent where more are, but on fewer than the 100,000 tokens
    that the guideline is stated for."""
    ultra_active_is_fine: bool
    """Whether fewer than 2 % are ultra-active."""
    histogram: Histogram
    """Living latents by log10 of their frequency, four bins a decade."""


def frequencies(latents: LatentStatistics) -> Frequencies:
    """What the paper's guideline asks of firing frequencies (he2024llamascope)."""
    alive = latents.n_fired > 0
    frequency = latents.firing_frequency[alive]
    n_tokens = int((latents.n_fired[alive] / frequency).round().max()) if bool(alive.any()) else 0
    inactive = 1 - alive.double().mean().item()
    ultra = (latents.firing_frequency > ULTRA_ACTIVE).double().mean().item()
    enough = n_tokens >= GUIDELINE_TOKENS
    is_fine = inactive <= MAX_INACTIVE_SHARE
    return Frequencies(
        n_tokens=n_tokens,
        inactive_share=inactive,
        ultra_active_share=ultra,
        inactive_is_fine=is_fine if enough or is_fine else None,
        ultra_active_is_fine=ultra < MAX_ULTRA_ACTIVE_SHARE,
        histogram=histogram(frequency.log10(), 0.25),
    )


class Norms(Config):
    """Norms of the rows of a dictionary."""

    rows: Literal["decoder", "encoder"]
    """Whose norms these are: the encoder's where every decoder row that is not zero has norm 1, for a
    folded dictionary carries its norms in the encoder."""
    mean: float
    """Over all latents."""
    quantiles: dict[str, float]
    """By the share of latents below."""
    histogram: Histogram
    """Latents by log10 of the norm, those with a row of zeros left out; twenty bins a decade."""
    n_zero: int
    """Latents with a row of zeros."""


class StatisticsReport(Config):
    """How often the latents of a dictionary fire and how large their rows are."""

    dictionary: str
    n_latents: int
    norms: Norms
    frequencies: Frequencies | None = None
    """Absent where the dictionary was never measured on text."""

    def headline(self) -> dict[str, Any]:
        """The figures that a reader wants first."""
        found = self.frequencies
        shares = found and {
            "inactive_share": found.inactive_share,
            "ultra_active_share": found.ultra_active_share,
        }
        return {"norms_of": self.norms.rows, "mean_norm": self.norms.mean, **(shares or {})}


def norms(decoder: Float[Tensor, "latent write"], encoder: Float[Tensor, "latent read"]) -> Norms:
    """Decoder norms, or encoder norms where folding has made all decoder norms 1."""
    size = decoder_norms(decoder.float())
    is_folded = bool(((size - 1).abs() < _UNIT_TOLERANCE).logical_or(size == 0).all())
    if is_folded:
        size = decoder_norms(encoder.float())
    size = size.double().cpu()
    levels = torch.tensor(_QUANTILES, dtype=torch.float64)
    values = torch.quantile(size, levels).tolist()
    return Norms(
        rows="encoder" if is_folded else "decoder",
        mean=size.mean().item(),
        quantiles={str(q): v for q, v in zip(_QUANTILES, values, strict=True)},
        histogram=histogram(size[size > 0].log10(), 0.05),
        n_zero=int((size == 0).sum()),
    )


def histogram(values: Float[Tensor, "value"], width: float) -> Histogram:
    """Counts in bins `[i * width, (i + 1) * width)`, from the lowest used one to the highest."""
    if not len(values):
        return Histogram(edges=(0.0, width), counts=(0,))
    place = (values / width).floor().long()
    first = int(place.min())
    counts = (place - first).bincount().tolist()
    edges = tuple((first + i) * width for i in range(len(counts) + 1))
    return Histogram(edges=edges, counts=tuple(counts))
