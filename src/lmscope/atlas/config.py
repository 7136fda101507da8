"""What a census keeps, and what an atlas says of itself."""

from typing import Annotated, Any, Final

from pydantic import Field

from lmscope.core.config import Config

SCHEMA_VERSION: Final = 1
"""Of census.sqlite, in PRAGMA user_version."""

Count = Annotated[int, Field(ge=1)]


class CensusOptions(Config):
    """How much is kept of each latent."""

    n_top: Count = 12
    """Examples with the largest peaks."""
    n_intervals: Annotated[int, Field(ge=0)] = 4
    """Intervals of peaks, each with an equal share of a latent's stretches."""
    n_each: Count = 3
    """Examples drawn from each interval."""
    n_silent: Annotated[int, Field(ge=0)] = 16
    """Stretches drawn in which the latent never fires."""
    stretch: Count = 64
    """Tokens of an example."""
    n_tokens: Count = 10
    """Tokens kept of each list of tokens."""
    n_neighbours: Count = 10
    """Latents kept of each list of latents."""
    coactivation_tokens: Annotated[int, Field(ge=0)] = 200_000
    """Positions, at even distances, on which co-activation is counted; 0: it is not."""
    dense_above: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """A latent with a larger density is flagged as dense."""


class AtlasMeta(Config):
    """What census.sqlite says of itself; no time and no path, so that equal censuses have equal bytes."""

    dictionary: str
    """Its name."""
    dictionary_digest: str
    """Content digest of its folder."""
    dictionary_config: dict[str, Any]
    """`DictionaryConfig.to_mapping()`."""
    model: str
    weights_hash: str
    tokenizer_hash: str
    corpus_digest: str
    """Of the frozen corpus that positions refer to."""
    context_length: int
    n_contexts: int
    n_counted: int
    """Positions that count."""
    median_norms: dict[str, float] = {}  # noqa: RUF012 (a frozen value)
    """By site: what outliers were told by, for who reads other text with the same dictionary."""
    n_latents: int
    options: CensusOptions
