"""CorpusText: what an atlas asks of the frozen corpus that its positions refer to."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32


@dataclass(frozen=True)
class CorpusDocument:
    """A document of the corpus, for attribution."""

    number: int
    id: str
    title: str
    source: str
    licence: str


@runtime_checkable
class CorpusText(Protocol):
    """Token ids by position, and their bytes; `atlas.corpus.FrozenCorpus` and packed atlases have it."""

    digest: str
    """Content digest of the whole corpus, also of a packed part."""
    context_length: int
    n_contexts: int

    def tokens(self, start: int, length: int) -> Int32[np.ndarray, "length"]:
        """Token ids from a position on, within one context.

        Raises:
            ArtifactError: The position is not there.
        """
        ...

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; several tokens may share one character."""
        ...

    def document(self, start: int) -> CorpusDocument | None:
        """The document that a position lies in; None at padding or where it is not known."""
        ...
