"""One feature: its label with evidence, its figures, its text."""

from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from lmscope.server.schemas.common import Answer, Estimate, Histogram, Provenance
from lmscope.server.schemas.home import DictionaryLine


@dataclass(slots=True)
class Token:
    """Neighbouring tokens that stand for whole characters together, nearly always one."""

    text: str
    """As it is, newlines and all; what no neighbour completes is spelt `<0xE4>`."""
    ids: list[int]
    bytes: str
    """Hexadecimal."""
    value: float
    """The largest activation among its tokens, 0 where the latent does not fire."""
    # A page has 1,500 of these: as a dataclass they take an eighth of the time of models.
    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Passage(Answer):
    """An example: a stretch of the corpus with the latent's activations."""

    tokens: list[Token]
    peak: int
    """Place in `tokens`."""
    max: float
    context: int
    position: int
    """Of the first token, in its context."""
    document: dict[str, Any] | None
    """Name, source, licence and the like, where the corpus knows."""
    held_out: bool
    """Whether it lies in a context that explainers never read."""


class PassageGroup(Answer):
    """Examples whose peaks lie in one interval."""

    name: str
    """`top` or `quantile`."""
    low: float
    high: float
    share: float
    """Stretches of the interval, of all in which the latent fires."""
    passages: list[Passage]


class WeightedToken(Answer):
    """A token with a number: a logit effect or a count."""

    id: int
    text: str
    value: float


class TokenRate(Answer):
    """How a latent answers to one token."""

    id: int
    text: str
    n_fired: int
    n_seen: int


class Related(Answer):
    """Another feature with a number: a cosine, or a share of positions (Jaccard)."""

    latent: int
    value: float
    label: str
    density: float
    peak: str | None = None
    """Text of the token at which it peaks most often, for those without a label."""


class ScoreLine(Answer):
    """How far a label can be trusted, by one scorer."""

    scorer: str
    estimate: Estimate
    chance: float | None
    """What a label that says nothing would score."""
    meaning: str
    """The definition in one sentence."""


class LabelSource(Answer):
    """What one explain run says of the latent."""

    run: str | None
    explainer: str
    judge: str | None = None
    """Who answered for the label when it was scored."""
    label: str
    """The label as it was written; the page shows it as a guess where `known` is false."""
    known: bool
    threshold: float
    precision: float | None
    recall: float | None
    scores: list[ScoreLine]


class NoteBody(Answer):
    """What a person writes down about a feature."""

    text: str = ""
    star: bool = False
    tags: list[str] = []


class FeaturePage(Answer):
    """A feature."""

    dictionary: DictionaryLine
    atlas: str
    """Which atlas of the dictionary this is from."""
    latent: int
    n_latents: int
    label: str
    known: bool
    sources: list[LabelSource]
    """Newest first; the first one decides."""
    missed: list[Passage]
    """Examples on which it fires although the label promises that it does not: counter-examples, strongest first, a dozen at most."""
    n_missed: int | None = None
    """How many there are; null where the label has no rule that a program can follow."""
    n_promised: int | None = None
    """Of so many examples that the rule was asked about."""
    n_fired: int
    density: float
    mean: float
    max: float
    dead: bool
    dense: bool
    n_stretches: int
    n_documents: int
    document_share: float
    density_rank: int
    """1 for the latent that fires most."""
    activations: Histogram
    """Firings by size; edges on a logarithmic scale, the first one 0."""
    densities: Histogram | None
    """log10 densities of all latents of the dictionary, to place this one in."""
    groups: list[PassageGroup]
    peak_tokens: list[WeightedToken]
    tokens: list[TokenRate]
    top_logits: list[WeightedToken]
    bottom_logits: list[WeightedToken]
    neighbours: list[Related]
    coactive: list[Related]
    note: NoteBody | None
    """Null where notes cannot be kept."""
    live: bool
    """Whether its model and weights are here, for the test box and steering."""
    previous: int | None
    next: int | None
    provenance: Provenance
