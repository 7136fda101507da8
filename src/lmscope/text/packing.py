"""Where documents go in rows of one length: back to back, or each in rows of its own."""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int8

from lmscope.core.errors import DataError
from lmscope.text.token_store import TokenStore

Style = Literal["packed", "encoder"]
"""`packed`: documents back to back (decoders); `encoder`: `[CLS] x [SEP]`, never packed."""


@runtime_checkable
class Packing(Protocol):
    """Puts tokenised documents into a store and says which part of it each row shows."""

    def add(self, ids: Int[np.ndarray, "token"], roles: Int8[np.ndarray, "token"] | None) -> None:
        """Put in the next document."""
        ...

    def finish(self, drop_tail: bool) -> int:
        """No document follows; returns the tokens that are in no row."""
        ...

    @property
    def n_rows(self) -> int:
        """Rows that no later document changes."""
        ...

    def bounds(self, row: int) -> tuple[int, int]:
        """First token of a row in the store and one past its last; rows follow each other."""
        ...


class BackToBack:
    """BOS before each document, and every row begins where the last one ended.

    A document that already begins with BOS (a chat template may write it) gets no second one.
    Without a BOS (`bos_id` None) documents follow each other with nothing between them.

    Differs: peers put BOS at the start of every row and lose or repeat tokens at row ends. Here each
    token of the corpus stands in exactly one row, and position 0 of a row, which models use as
    an attention sink whatever token stands there, is left out of statistics by the one mask.
    """

    def __init__(self, store: TokenStore, context_length: int, bos_id: int | None) -> None:
        self._store = store
        self._length = context_length
        self._bos_id = bos_id
        self._has_tail = False

    def add(self, ids: Int[np.ndarray, "token"], roles: Int8[np.ndarray, "token"] | None) -> None:
        """Put in the next document."""
        self._store.begin_document()
        if self._bos_id is not None and not (len(ids) and ids[0] == self._bos_id):
            self._store.append(np.asarray([self._bos_id], dtype=np.int32))
        self._store.append(ids, roles)

    def finish(self, drop_tail: bool) -> int:
        """No document follows: the rest becomes a shorter last row or, if asked, is dropped."""
        tail = len(self._store) % self._length
        self._has_tail = tail > 0 and not drop_tail
        return tail if drop_tail else 0

    @property
    def n_rows(self) -> int:
        """Full rows so far, and the shorter last one at the end."""
        return len(self._store) // self._length + self._has_tail

    def bounds(self, row: int) -> tuple[int, int]:
        """First token of a row in the store and one past its last."""
        start = row * self._length
        return start, min(start + self._length, len(self._store))


class OneDocumentRows:
    """`[CLS] x [SEP]` rows: a document longer than a row goes on in further rows of its own.

    Raises:
        DataError: The tokenizer has no such tokens, or a row has no room between them.
    """

    def __init__(
        self, store: TokenStore, context_length: int, cls_id: int | None, sep_id: int | None
    ) -> None:
        if cls_id is None or sep_id is None:
            raise DataError(
                "This tokenizer has no [CLS] and [SEP] tokens, so its texts cannot become encoder "
                "rows: use style='packed'."
            )
        if context_length < 3:
            raise DataError(f"[CLS] x [SEP] needs 3 tokens or more, not {context_length}.")
        self._store = store
        self._room = context_length - 2
        self._ends = (
            np.asarray([cls_id], dtype=np.int32),
            np.asarray([sep_id], dtype=np.int32),
        )
        self._starts = [0]

    def add(self, ids: Int[np.ndarray, "token"], roles: Int8[np.ndarray, "token"] | None) -> None:
        """Put in the next document; one of no tokens gets no row."""
        self._store.begin_document()
        for start in range(0, len(ids), self._room):
            piece = slice(start, start + self._room)
            self._store.append(self._ends[0])
            self._store.append(ids[piece], None if roles is None else roles[piece])
            self._store.append(self._ends[1])
            self._starts.append(len(self._store))

    def finish(self, drop_tail: bool) -> int:
        """No document follows; every row is whole already and nothing is dropped."""
        del drop_tail
        return 0

    @property
    def n_rows(self) -> int:
        """Rows so far."""
        return len(self._starts) - 1

    def bounds(self, row: int) -> tuple[int, int]:
        """First token of a row in the store and one past its last."""
        return self._starts[row], self._starts[row + 1]
