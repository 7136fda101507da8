"""What the model answers about a graph: attention scores taken apart, and prompts traced."""

from typing import Annotated, Literal

from pydantic import Field

from lmscope.server.schemas.common import Answer

MAX_PROMPT = 8_192
"""Characters of a prompt to trace; the model's own limit in tokens is checked beside it."""


class ScoreRequest(Answer):
    """An attention score to take apart."""

    layer: Annotated[int, Field(ge=0, le=10_000)]
    head: Annotated[int, Field(ge=0, le=10_000)]
    query: Annotated[int, Field(ge=0, le=1_000_000)]
    """Position that attends."""
    key: Annotated[int, Field(ge=0, le=1_000_000)]
    """Position attended to."""
    against: Annotated[int, Field(ge=0, le=1_000_000)] | Literal["mean"] | None = None
    """Another key, or the mean score under the pattern itself: the pairs are then of the difference."""


class ScoreSide(Answer):
    """Something that writes at the query or at a key."""

    id: str
    """As of a node: `token@3`, `mlp_out@2/17@3`; also `leaf:`, `skip:` and `constant:`."""
    kind: Literal["token", "position", "feature", "error", "leaf", "constant", "skip"]
    site: str | None
    latent: int | None
    position: int
    place: int | None
    """In the whole graph; null where it is no node."""
    label: str | None
    label_known: bool
    dictionary: str | None
    total: float
    """What it adds with all of the other side."""


class ScorePair(Answer):
    """What two of them add together."""

    query: int
    """Index into `queries`."""
    key: int
    """Index into `keys`."""
    value: float


class ScorePanel(Answer):
    """An attention score as a sum over pairs."""

    layer: int
    head: int
    query: int
    key: int
    against: int | Literal["mean"] | None
    value: float
    """Of the score before any softcap, or of the difference; all pairs sum to it."""
    log_ratio: float | None
    """Against another key: log of the ratio of attention paid to both."""
    queries: list[ScoreSide]
    """Largest total first, 40 at most, constants always among them."""
    keys: list[ScoreSide]
    matrix: list[list[float]]
    """A row for each of `queries` and last the rest, a column for each of `keys` and last the rest."""
    pairs: list[ScorePair]
    """Strongest first, both signs, among `queries` and `keys`."""
    n_queries: int
    n_keys: int
    residual: float
    """What the sum of all pairs misses the value by."""
    attention: list[float]
    """Of the head from the query to each position up to it."""
    scores: list[float]
    """Likewise, before any softcap."""
    n_heads: int
    n_layers: int
    elapsed_s: float


class TraceRequest(Answer):
    """A prompt to trace."""

    dictionaries: Annotated[str, Field(max_length=300)] | None = None
    """Id of a run that trained some, or that traced with some; null: what `lmscope trace` takes by itself."""
    only: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=64)]
        | None
    ) = None
    """Of these dictionaries: names, or patterns such as `mlp_norm-*`; null: all."""
    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
    target: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """As on the command line, e.g. `" Paris" - " London"`; null: the model's own top prediction."""
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the target that a feature needs; null: 0.01."""


class TraceAnswer(Answer):
    """The graph that was made."""

    run: str
    name: str
    elapsed_s: float
