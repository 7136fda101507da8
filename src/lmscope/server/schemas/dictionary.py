"""One dictionary: how it was trained, how good it is, and the list of its features."""

from typing import Any

from lmscope.server.schemas.common import (
    Answer,
    Estimate,
    Histogram,
    Line,
    Problem,
    Provenance,
)
from lmscope.server.schemas.home import DictionaryLine


class AtlasLine(Answer):
    """An atlas of a dictionary."""

    id: str
    """The beginning of its digest; `?atlas=` takes it."""
    run: str | None
    where: str
    """Folder or packed file, as seen from the served folder."""
    model: str
    n_tokens: int
    """Positions that the census counted."""
    n_examples_kept: int
    """Examples kept of a latent, at most."""
    n_labels_known: int
    n_labels: int
    explainers: list[str]


class Arm(Answer):
    """One row of the evaluation table: the dictionary, PCA, a random dictionary, the identity, or an ablation."""

    name: str
    n_active: float | None
    figures: dict[str, Estimate]
    """`explained_variance_centred`, `mse`, `cosine`, `l2_ratio`, `ce`, `kl`, `ce_recovered_zero`, `ce_recovered_mean`, ..."""


class PositionLine(Answer):
    """Figures of a range of positions in the context."""

    first: int
    last: int
    figures: dict[str, Estimate]


class Evaluation(Answer):
    """One health report of a dictionary."""

    run: str
    title: str
    """E.g. `held-out text of its own training`, or what the evaluation's recipe says."""
    model: str
    n_tokens: int
    n_scored_tokens: int
    context_length: int
    arms: list[Arm]
    positions: list[PositionLine]
    n_dead: int
    n_dense: int
    frequency: Histogram
    """log10 of the share of tokens on which a latent fires."""
    l0: Histogram
    notes: list[str]


class DictionaryPage(Answer):
    """A dictionary."""

    line: DictionaryLine
    digest: str
    d_read: int | None
    d_write: int | None
    config: dict[str, Any]
    atlases: list[AtlasLine]
    evaluations: list[Evaluation]
    curves: list[Line]
    """Its training: `loss`, `l0`, `explained_variance_centred`, `n_dead`, ... by step."""
    norms: Histogram | None
    """Norms of the decoder rows that the atlas holds."""
    density: Histogram | None
    """log10 of the share of the atlas's tokens on which a latent fires."""
    n_dead: int | None
    n_dense: int | None
    others: list[DictionaryLine]
    """Dictionaries that it can be compared with: of the same model and the same written width, nearest sites first."""
    problems: list[Problem]
    provenance: Provenance


class FeatureMap(Answer):
    """Two coordinates a latent, from the decoder rows."""

    method: str
    explained_share: list[float] | None
    latents: list[int]
    """Those that fire; of a very wide dictionary some at even distances."""
    x: list[float]
    y: list[float]
    density: list[float] | None
    """Share of tokens on which it fires, for colour; null where that was not measured."""
    labels: list[str]
    """As shown: empty where nobody was asked."""


class FeatureLine(Answer):
    """A feature in a line."""

    latent: int
    label: str
    """`not known` below the threshold; empty where nobody was asked."""
    known: bool
    detection: float | None
    n_fired: int
    density: float
    mean: float
    max: float
    n_documents: int
    document_share: float
    peak: str | None
    """Text of the token at which it peaks most often."""
    dead: bool
    dense: bool
    starred: bool = False
    value: float | None = None
    """What the list is ranked by, where it is none of the columns, e.g. a cosine."""


class FeatureRows(Answer):
    """A stretch of a list of features."""

    total: int
    offset: int
    value_name: str | None = None
    rows: list[FeatureLine]
