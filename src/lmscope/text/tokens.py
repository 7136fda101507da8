"""Documents as token ids, and what names a tokenizer."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int8

from lmscope.core.errors import DataError
from lmscope.core.known_words import known_words
from lmscope.text.document import Document, Span

_BATCH_CHARS = 1 << 20
_BATCH_DOCUMENTS = 256


@runtime_checkable
class TextTokenizer(Protocol):
    """A Hugging Face tokenizer, as far as text becoming contexts needs one."""

    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None
    cls_token_id: int | None
    sep_token_id: int | None
    is_fast: bool

    def __len__(self) -> int: ...

    def __call__(
        self, text: list[str], /, *, add_special_tokens: bool = True, **options: Any
    ) -> Any:
        """Token ids, and offsets if asked, of many texts."""
        ...

    def get_vocab(self) -> dict[str, int]:
        """Ids of all tokens."""
        ...


class TokenisedDocument(NamedTuple):
    """A document and its tokens, without any special token added.

    Attributes:
        document: Where the tokens come from.
        ids: Vocabulary ids.
        roles: Role of each token, -1 for none; None for a document without spans.
    """

    document: Document
    ids: Int[np.ndarray, "pos"]
    roles: Int8[np.ndarray, "pos"] | None


def tokenise(
    documents: Iterable[Document], tokenizer: TextTokenizer
) -> Iterator[list[TokenisedDocument]]:
    """Batches of tokenised documents, each document tokenised whole, in order.

    Memory: one batch, about a million characters or one document, whichever is more.

    Raises:
        DataError: A document has spans and the tokenizer cannot say where its tokens come from, or a document
            holds a word that the tokenizer does not know.
    """
    for batch in _batches(documents):
        with_spans = any(document.spans for document in batch)
        if with_spans and not tokenizer.is_fast:
            raise DataError(
                "Conversations need a fast tokenizer, which knows where in the text each token "
                "stands; this one is slow."
            )
        # verbose=False: a long document is no mistake here, contexts cut it.
        texts = [document.text for document in batch]
        with known_words(tokenizer, texts):
            found = tokenizer(
                texts,
                add_special_tokens=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                return_offsets_mapping=with_spans,
                verbose=False,
            )
        offsets = found["offset_mapping"] if with_spans else [[]] * len(batch)
        yield [
            TokenisedDocument(
                document,
                np.asarray(ids, dtype=np.int32),
                token_roles(document.spans, places) if document.spans else None,
            )
            for document, ids, places in zip(batch, found["input_ids"], offsets, strict=True)
        ]


def token_roles(
    spans: Sequence[Span], offsets: Sequence[tuple[int, int]]
) -> Int8[np.ndarray, "pos"]:
    """The role of each token: that of the span in which the token's first character stands.

    Args:
        spans: In order and apart from each other.
        offsets: First character of each token and one past its last.
    """
    starts = np.asarray([start for start, _ in offsets], dtype=np.int64)
    span = np.searchsorted(np.asarray([s.start for s in spans]), starts, side="right") - 1
    ends = np.asarray([s.end for s in spans])
    roles = np.asarray([s.role for s in spans], dtype=np.int8)
    return np.where((span >= 0) & (starts < ends[span]), roles[span], np.int8(-1))


def tokenizer_fingerprint(tokenizer: TextTokenizer) -> str:
    """Thirty-two hex digits that change when the tokenizer would cut a text differently.

    A fast tokenizer's whole pipeline counts; of a slow one, its class and its vocabulary.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        pipeline = json.loads(backend.to_str())
        # Left over from earlier calls, and never used here.
        pipeline.pop("truncation", None)
        pipeline.pop("padding", None)
        described: Any = pipeline
    else:
        described = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    text = json.dumps(described, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    n_chars = 0
    for document in documents:
        batch.append(document)
        n_chars += len(document.text)
        if n_chars >= _BATCH_CHARS or len(batch) == _BATCH_DOCUMENTS:
            yield batch
            batch, n_chars = [], 0
    if batch:
        yield batch
