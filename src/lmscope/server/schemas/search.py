"""Search over all dictionaries, and two dictionaries side by side."""

from lmscope.server.schemas.common import Answer, Histogram, Problem, Provenance
from lmscope.server.schemas.dictionary import FeatureLine
from lmscope.server.schemas.home import DictionaryLine


class Hits(Answer):
    """What one dictionary has."""

    dictionary: DictionaryLine
    value_name: str | None = None
    rows: list[FeatureLine]
    total: int | None = None


class SearchAnswer(Answer):
    """What a search found, dictionary by dictionary."""

    kind: str
    """`label`, `token`, `near` or `number`."""
    query: str
    hits: list[Hits]
    problems: list[Problem]
    """Dictionaries that could not be asked: no labels, no vectors."""


class Child(Answer):
    """A latent of the wide dictionary below its parent."""

    latent: int
    label: str
    density: float | None
    """Share of tokens on which it fires; null where that was not measured."""
    cosine: float


class Group(Answer):
    """A latent of the narrow dictionary and what the wide one makes of it."""

    latent: int
    label: str
    density: float | None
    kind: str
    """`split` (two children or more), `carried over` (one) or `lost` (none)."""
    children: list[Child]
    """By falling cosine."""


class Share(Answer):
    """A share beside what chance gives."""

    name: str
    meaning: str
    value: float
    null: float


class Comparison(Answer):
    """Two dictionaries that write the same stream, compared by their decoder rows."""

    narrow: DictionaryLine
    wide: DictionaryLine
    threshold: float
    """Cosine above which a wide latent is a child of its nearest narrow one."""
    shares: list[Share]
    """new, split, carried over, lost; mean largest cosine both ways."""
    cosines: Histogram
    """Of each wide latent with its nearest narrow one."""
    cosines_null: Histogram
    total: int
    offset: int
    groups: list[Group]
    new: list[Child]
    """Wide latents without a parent, those that fire most first; `cosine` is with the nearest."""
    provenance: Provenance
