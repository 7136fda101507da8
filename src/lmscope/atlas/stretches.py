"""Stretches: the equal parts that every context is cut into, and which of them hold the same tokens."""

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from lmscope.atlas.corpus import CorpusRows
from lmscope.core.errors import ArtifactError, DataError

_ROWS_AT_ONCE: Final = 1024
_PADDING: Final = -1
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)


@runtime_checkable
class CensusText(Protocol):
    """What tables ask of the frozen corpus: whole contexts, and documents of many positions at once."""

    digest: str
    context_length: int
    n_contexts: int

    def rows(self, first: int, n: int) -> CorpusRows:
        """`n` contexts from number `first` on; fewer at the end."""
        ...

    def document_numbers(
        self, positions: Int64[np.ndarray, "position"]
    ) -> Int32[np.ndarray, "position"]:
        """The document of each position that is none of padding."""
        ...


@dataclass(frozen=True, eq=False)
class Stretches:
    """The corpus by positions and by stretches; 9 bytes a position, 25 bytes a stretch.

    A position is `context * context_length + place`. Stretches are numbered in the order of positions;
    each context has equally many of them.

    Attributes:
        context_length: Positions of a context.
        size: Tokens of a stretch.
        tokens: Token of each position, -1 at padding.
        documents: Document of each position, -1 at padding.
        counted: Whether a position counts.
        length: Tokens of each stretch: fewer than `size` at the end of a context.
        first_equal: The first stretch with the same tokens; itself if it is the first.
        has_equal: Whether another stretch has the same tokens.
        eligible: The stretches with a position that counts.
    """

    context_length: int
    size: int
    tokens: Int32[np.ndarray, "position"]
    documents: Int32[np.ndarray, "position"]
    counted: Bool[np.ndarray, "position"]
    length: Int32[np.ndarray, "stretch"]
    first_equal: Int64[np.ndarray, "stretch"]
    has_equal: Bool[np.ndarray, "stretch"]
    eligible: Int64[np.ndarray, "eligible"]

    @classmethod
    def of(
        cls, corpus: CensusText, counted: Bool[np.ndarray, "context position"], size: int
    ) -> "Stretches":
        """Cut a corpus into stretches of `size` tokens.

        Raises:
            ArtifactError: `counted` is of another corpus.
            DataError: Not one position counts.
        """
        shape = (corpus.n_contexts, corpus.context_length)
        if counted.shape != shape:
            raise ArtifactError(
                f"The firing shards cover {counted.shape[0]} contexts of {counted.shape[1]} positions, the corpus "
                f"has {shape[0]} of {shape[1]}: finish the census, or take the corpus that it read."
            )
        if not counted.any():
            raise DataError(
                f"Not one position of {shape[0]} contexts counts: only special tokens, first positions "
                "and outliers are there; give other text."
            )
        tokens, documents = _read(corpus)
        if (tokens[counted] == _PADDING).any():
            raise ArtifactError(
                "The firing shards count positions at which the corpus has no text: they are of another "
                "corpus; run the census again."
            )
        per_context = -(-shape[1] // size)
        cells = np.full((*shape[:1], per_context * size), _PADDING, dtype=np.int32)
        cells[:, : shape[1]] = tokens
        cells = cells.reshape(-1, size)
        counts = np.zeros((*shape[:1], per_context * size), dtype=np.bool_)
        counts[:, : shape[1]] = counted
        first_equal = _first_equal(cells)
        has_equal = np.bincount(first_equal, minlength=len(cells))[first_equal] > 1
        return cls(
            context_length=shape[1],
            size=size,
            tokens=tokens.reshape(-1),
            documents=documents.reshape(-1),
            counted=counted.reshape(-1),
            length=(cells != _PADDING).sum(axis=1, dtype=np.int32),
            first_equal=first_equal,
            has_equal=has_equal,
            eligible=counts.reshape(-1, size).sum(axis=1).nonzero()[0],
        )

    def __len__(self) -> int:
        return len(self.length)

    def number(self, position: Int64[np.ndarray, "firing"]) -> Int64[np.ndarray, "firing"]:
        """The stretch that each position lies in."""
        context, place = np.divmod(position, self.context_length)
        return context * -(-self.context_length // self.size) + place // self.size

    def start(self, number: Integer[np.ndarray, "stretch"]) -> Int64[np.ndarray, "stretch"]:
        """The position at which each stretch begins."""
        context, part = np.divmod(number.astype(np.int64), -(-self.context_length // self.size))
        return context * self.context_length + part * self.size


def _read(
    corpus: CensusText,
) -> tuple[Int32[np.ndarray, "context position"], Int32[np.ndarray, "context position"]]:
    shape = (corpus.n_contexts, corpus.context_length)
    tokens, documents = np.empty(shape, np.int32), np.full(shape, _PADDING, np.int32)
    for first in range(0, shape[0], _ROWS_AT_ONCE):
        rows = corpus.rows(first, _ROWS_AT_ONCE)
        here = slice(first, first + len(rows.tokens))
        tokens[here] = np.where(rows.mask, rows.tokens, _PADDING)
        positions = rows.mask.reshape(-1).nonzero()[0] + first * shape[1]
        documents[here][rows.mask] = corpus.document_numbers(positions)
    return tokens, documents


def _first_equal(cells: Int32[np.ndarray, "stretch size"]) -> Int64[np.ndarray, "stretch"]:
    """The first row that equals each row."""
    key = np.zeros(len(cells), dtype=np.uint64)
    for column in cells.T:
        key = (key ^ column.astype(np.uint64)) * _MULTIPLIER
        key ^= key >> np.uint64(29)
    _, group, count = np.unique(key, return_inverse=True, return_counts=True)
    first = np.arange(len(cells))
    # Rows with equal keys may yet differ: those, and only those, are compared whole.
    twins = (count[group] > 1).nonzero()[0]
    if len(twins):
        rows = np.ascontiguousarray(cells[twins])
        whole = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).reshape(-1)
        _, where, which = np.unique(whole, return_index=True, return_inverse=True)
        first[twins] = twins[where[which]]
    return first
