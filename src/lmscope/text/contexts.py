"""Contexts: a corpus as token sequences of one length, by number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64

from lmscope.core.errors import DataError, did_you_mean
from lmscope.text.document import DocumentSource
from lmscope.text.packing import BackToBack, OneDocumentRows, Packing, Style
from lmscope.text.sources import digest
from lmscope.text.token_store import TokenStore
from lmscope.text.tokens import TextTokenizer, tokenise, tokenizer_fingerprint

_FORMAT = 1
"""Raised when the same arguments would give other rows than before."""


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """What is kept of a document once it is tokenised."""

    id: str
    title: str
    source: str
    licence: str


@dataclass(frozen=True)
class ContextRows:
    """Some contexts of a corpus.

    Attributes:
        tokens: Vocabulary ids; the padding id where `mask` is False.
        mask: True where there is text (BOS, `[CLS]` and `[SEP]` included), False at padding, which
            stands on the right.
        documents: Each token's place in `Contexts.documents`; -1 at padding.
        spans: Who said each token (`text.document.ROLES`), -1 for nobody.
        index: The contexts' numbers, as they were asked for.
    """

    tokens: Int32[np.ndarray, "batch pos"]
    mask: Bool[np.ndarray, "batch pos"]
    documents: Int32[np.ndarray, "batch pos"]
    spans: Int8[np.ndarray, "batch pos"]
    index: Int64[np.ndarray, "batch"]


class Contexts:
    """A corpus as token sequences of one length, by number: equal arguments, equal rows.

    `packed`: documents back to back with BOS at each one's start (none when `bos_id` is None; position
    0 of a row is left out of statistics either way); each row begins where the last one ended, so
    every token of every document stands in exactly one row, in order. A row may hold the end of one
    document and the beginning of another; attention is not masked between them.
    `encoder`: `[CLS] x [SEP]`, one document a row, long ones in several rows.

    Documents are tokenised when a row beyond them is first asked for, so a streamed corpus is read as
    far as needed. `len()`, `n_tokens`, `documents` and `n_dropped_tokens` need the end and read up to it:
    give `max_tokens` for a corpus that does not fit. Memory: 2 bytes a token (4 for a vocabulary of
    more than 65,536; 1 more with spans), 1.0 GB for 500M tokens, and the titles of the documents.
    """

    def __init__(
        self,
        corpus: DocumentSource,
        tokenizer: TextTokenizer,
        context_length: int,
        *,
        bos_id: int | None,
        max_tokens: int | None = None,
        style: Style | str = "packed",
        drop_tail: bool = False,
    ) -> None:
        """Plan the contexts; nothing is read yet.

        Args:
            corpus: The documents.
            tokenizer: Cuts them; it adds no special token itself.
            context_length: Positions of a row.
            bos_id: What stands before each document in packed rows; None for nothing.
            max_tokens: Use only the first rows, so many that together they hold at most this many.
            style: `packed` or `encoder`.
            drop_tail: Drop the last packed row if it is not full (counted in `n_dropped_tokens`);
                otherwise it is padded.

        Raises:
            DataError: A length is not positive, or the style does not suit the tokenizer.
        """
        if context_length < 1 or (max_tokens is not None and max_tokens < 1):
            raise DataError(
                f"Contexts need at least one token: got context_length={context_length}, "
                f"max_tokens={max_tokens}."
            )
        if style not in get_args(Style):
            raise DataError(f"'{style}' is no style.{did_you_mean(style, get_args(Style))}")
        self.context_length = context_length
        self.style = style
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._bos_id = bos_id
        self._max_tokens = max_tokens
        self._drop_tail = drop_tail
        self._pad_id = next(
            (i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0
        )
        self._store = TokenStore(max(len(tokenizer), (bos_id or 0) + 1))
        self._packing: Packing = (
            BackToBack(self._store, context_length, bos_id)
            if style == "packed"
            else OneDocumentRows(
                self._store, context_length, tokenizer.cls_token_id, tokenizer.sep_token_id
            )
        )
        self._entries: list[DocumentEntry] = []
        self._batches = self._fill()
        self._n_rows: int | None = None
        self._n_dropped = 0
        self._failure: BaseException | None = None
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        """Contexts in all; reads the corpus to its end or to `max_tokens`.

        Raises:
            DataError: There is not even one.
        """
        return self._read_to_end()

    @property
    def bos_id(self) -> int | None:
        """What stands before each document in packed rows; None for nothing."""
        return self._bos_id

    @property
    def fingerprint(self) -> str:
        """Thirty-two hex digits that name these rows: text, tokenizer, length, style, limits."""
        if self._fingerprint is None:
            self._fingerprint = digest(
                _FORMAT,
                self._corpus.fingerprint,
                tokenizer_fingerprint(self._tokenizer),
                self.context_length,
                self.style,
                self._bos_id,
                self._tokenizer.cls_token_id if self.style == "encoder" else None,
                self._tokenizer.sep_token_id if self.style == "encoder" else None,
                self._pad_id,
                self._max_tokens,
                self._drop_tail,
            )
        return self._fingerprint

    @property
    def n_tokens(self) -> int:
        """Tokens in all rows, padding not counted."""
        return self._packing.bounds(self._read_to_end() - 1)[1]

    @property
    def n_dropped_tokens(self) -> int:
        """Tokens of the unfinished last row, if `drop_tail` dropped it."""
        self._read_to_end()
        return self._n_dropped

    @property
    def documents(self) -> tuple[DocumentEntry, ...]:
        """Every document of which a token stands in a row, in order."""
        n_tokens = self.n_tokens
        return tuple(self._entries[: self._store.documents(n_tokens - 1, n_tokens)[0] + 1])

    def document(self, number: int) -> DocumentEntry:
        """The document that `ContextRows.documents` calls by this number; reads nothing further."""
        if number < 0:
            raise IndexError("padding belongs to no document")
        return self._entries[number]

    def rows(self, indices: Sequence[int] | Int64[np.ndarray, "batch"]) -> ContextRows:
        """The contexts of these numbers, in this order; documents up to them are read if need be.

        Raises:
            IndexError: There is no such context.
            DataError: The corpus cannot be read on.
        """
        index = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(index):
            self._read_up_to(int(index.min()), int(index.max()))
        shape = (len(index), self.context_length)
        rows = ContextRows(
            tokens=np.full(shape, self._pad_id, dtype=np.int32),
            mask=np.zeros(shape, dtype=np.bool_),
            documents=np.full(shape, -1, dtype=np.int32),
            spans=np.full(shape, -1, dtype=np.int8),
            index=index,
        )
        for place, number in enumerate(index.tolist()):
            start, stop = self._packing.bounds(number)
            n = stop - start
            rows.tokens[place, :n] = self._store.tokens(start, stop)
            rows.mask[place, :n] = True
            rows.documents[place, :n] = self._store.documents(start, stop)
            rows.spans[place, :n] = self._store.roles(start, stop)
        return rows

    def _fill(self) -> Iterator[None]:
        """Read on, one batch of documents at a time, and count the rows at the end."""
        for batch in tokenise(self._corpus.documents(), self._tokenizer):
            for item in batch:
                d = item.document
                self._entries.append(DocumentEntry(d.id, d.title, d.source, d.licence))
                self._packing.add(item.ids, item.roles)
            if self._max_tokens is not None and len(self._store) >= self._max_tokens:
                break
            yield
        else:
            self._n_dropped = self._packing.finish(self._drop_tail)
        n_rows = self._n_allowed_rows()
        if n_rows == 0:
            raise self._too_short()
        self._n_rows = n_rows

    def _n_allowed_rows(self) -> int:
        """Rows that hold at most `max_tokens` together."""
        n_rows = self._packing.n_rows
        if self._max_tokens is None:
            return n_rows
        while n_rows and self._packing.bounds(n_rows - 1)[1] > self._max_tokens:
            n_rows -= 1
        return n_rows

    def _read_to_end(self) -> int:
        while self._n_rows is None:
            self._advance()
        return self._n_rows

    def _read_up_to(self, lowest: int, highest: int) -> None:
        while self._n_rows is None and not self._is_ready(highest):
            self._advance()
        n = self._n_rows
        if lowest < 0 or (n is not None and highest >= n):
            raise IndexError(f"contexts {lowest} to {highest} of {n if n is not None else 'many'}")

    def _is_ready(self, row: int) -> bool:
        if row >= self._packing.n_rows:
            return False
        return self._max_tokens is None or self._packing.bounds(row)[1] <= self._max_tokens

    def _advance(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            next(self._batches)
        except StopIteration:
            return  # _fill has counted the rows
        except BaseException as error:
            self._failure = error  # a generator that raised is spent, and rows must not go missing
            raise

    def _too_short(self) -> DataError:
        if self._max_tokens is not None and self._max_tokens < self.context_length:
            return DataError(
                f"At most {self._max_tokens} tokens of '{self._corpus.name}' were asked for, which fill no "
                f"context of {self.context_length}: allow more tokens, or shorten the context."
            )
        return DataError(
            f"'{self._corpus.name}' holds {len(self._store)} tokens, which fill no context of "
            f"{self.context_length}: give more text, or shorten the context."
        )
