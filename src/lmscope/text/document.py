"""Document: one text that stays whole, and what gives documents."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ROLES: Final = {"system": 0, "user": 1, "assistant": 2, "tool": 3}
"""Numbers of the roles that chat messages have; -1 is text that nobody said (mark-up, plain text)."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a document, said in one role.

    Attributes:
        start: First character.
        end: One past the last character.
        role: A number of `ROLES`.
    """

    start: int
    end: int
    role: int


@dataclass(frozen=True, slots=True)
class Document:
    """One text that is packed, shuffled and held out as a whole.

    Attributes:
        id: Unique within its corpus.
        text: The text, never empty.
        title: What a person calls it.
        source: The file, dataset or project it comes from.
        licence: Under which licence it may be used; `unknown` when the source does not say.
        group: Documents of one group (parts of one book) are held out together.
        spans: Who said what, in order and apart from each other; empty for plain text.
    """

    id: str
    text: str
    title: str
    source: str
    licence: str
    group: str
    spans: tuple[Span, ...] = ()


class DocumentSource(ABC):
    """Where documents come from; every call of `documents` gives the same ones in the same order.

    Attributes:
        name: What a person calls the source, for messages.
    """

    name: str

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digits that change when any document or their order changes."""

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """The documents, one after the other."""


def text_key(text: str) -> str:
    """Sixteen hex digits that name a text: equal texts, equal keys, wherever they stand."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
