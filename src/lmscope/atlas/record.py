"""LatentRecord: all that a census knows of one latent, as plain values."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, Int32

N_HISTOGRAM_BINS: Final = 32
HISTOGRAM_OCTAVES: Final = 10
"""Activations below max / 2^10 are counted in the first bin."""

HELD_OUT_EVERY: Final = 2
"""Every second context of a corpus is for scoring labels; what makes labels reads the others only."""


@dataclass(frozen=True, eq=False)
class Example:
    """A stretch of the frozen corpus with the latent's activations.

    A stretch is one of the equal parts that a context is cut into, so no two overlap.

    Attributes:
        start: Where it begins, as `context * context_length + position`.
        length: Its tokens; the last stretch of a context may be shorter.
        peak: Place in the stretch of the largest activation, the first of equal ones.
        places: Places in the stretch on which the latent fires, ascending.
        values: Activations there.
    """

    start: int
    length: int
    peak: int
    places: Int32[np.ndarray, "firing"]
    values: Float32[np.ndarray, "firing"]

    @property
    def max(self) -> float:
        """The largest activation."""
        return float(self.values.max()) if len(self.values) else 0.0

    def activations(self) -> Float32[np.ndarray, "length"]:
        """One value for each token, 0 where the latent does not fire."""
        values = np.zeros(self.length, dtype=np.float32)
        values[self.places] = self.values
        return values


@dataclass(frozen=True)
class ExampleGroup:
    """Examples whose peaks lie in one interval.

    Attributes:
        name: `top`: the largest peaks; `quantile`: uniformly drawn among all stretches of the interval.
        low: Least peak of the interval.
        high: Largest peak of the interval.
        share: Stretches of the interval, of all stretches in which the latent fires.
        examples: By falling peak; ties to the earlier stretch.
    """

    name: str
    low: float
    high: float
    share: float
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class TokenFirings:
    """How a latent answers to one token, over the contexts that are not held out.

    Attributes:
        token: Vocabulary id.
        n_fired: Occurrences on which the latent fires.
        n_seen: Occurrences.
    """

    token: int
    n_fired: int
    n_seen: int


@dataclass(frozen=True)
class Weighted:
    """A token or a latent with a number: a logit effect, a cosine, a share."""

    id: int
    value: float


@dataclass(frozen=True, eq=False)
class LatentRecord:
    """One latent.

    Attributes:
        latent: Its number.
        n_fired: Positions that count on which it fires.
        density: Their share of all positions that count.
        mean: Mean activation where it fires, in the dictionary's units (raw for a folded one); 0 if dead.
        max: Largest activation; 0 if dead.
        histogram: Firings by size, in bins of `histogram_edges(max)`.
        n_stretches: Stretches in which it fires.
        n_documents: Documents in which it fires.
        document_share: Share of its firings that lie in the one document with most of them.
        groups: Examples, `top` first, then quantile intervals from the strongest to the weakest.
        silent: Starts of stretches in which it never fires, drawn uniformly, ascending.
        peak_tokens: Tokens at the peaks of its stretches with their counts, commonest first.
        tokens: Tokens on which it fires most often, by falling `n_fired`.
        top_logits: Tokens whose logit its decoder row raises most, with the mean effect of one unit.
        bottom_logits: Tokens whose logit it lowers most.
        neighbours: Latents with the largest cosine of decoder rows.
        coactive: Latents that fire on the same positions most often, with the share of positions with
            either on which both fire (Jaccard).
    """

    latent: int
    n_fired: int
    density: float
    mean: float
    max: float
    histogram: tuple[int, ...]
    n_stretches: int
    n_documents: int
    document_share: float
    groups: tuple[ExampleGroup, ...]
    silent: tuple[int, ...]
    peak_tokens: tuple[Weighted, ...]
    tokens: tuple[TokenFirings, ...]
    top_logits: tuple[Weighted, ...]
    bottom_logits: tuple[Weighted, ...]
    neighbours: tuple[Weighted, ...]
    coactive: tuple[Weighted, ...]

    @property
    def is_dead(self) -> bool:
        """Whether it never fired."""
        return self.n_fired == 0

    @property
    def peak_token(self) -> int | None:
        """The token at which it peaks most often."""
        return self.peak_tokens[0].id if self.peak_tokens else None


def histogram_edges(maximum: float) -> Float64[np.ndarray, "edge"]:
    """Edges of the bins, equally far apart on a logarithmic scale; the first one is 0."""
    edges = maximum * 2.0 ** np.linspace(-HISTOGRAM_OCTAVES, 0, N_HISTOGRAM_BINS + 1)
    edges[0] = 0.0
    return edges


def is_held_out(start: int, context_length: int) -> bool:
    """Whether a stretch lies in a context that is for scoring labels only."""
    return (start // context_length) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
