"""FrozenCorpus: the contexts that a census reads, on disk, so that a position names a token for good."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from lmscope.atlas.text import CorpusDocument
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.files import write_failure
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.text.contexts import ContextRows, Contexts
from lmscope.text.token_bytes import vocabulary_bytes
from lmscope.text.tokens import TextTokenizer, tokenizer_fingerprint

KIND: Final = "corpus"
FORMAT_VERSION: Final = 1
READABLE: Final = (FORMAT_VERSION,)
"""Formats that `load` knows: this one and, once there is one, the one before."""
_ROWS_AT_ONCE: Final = 256


class CorpusConfig(Config):
    """The content of corpus.json."""

    context_length: int
    n_contexts: int
    n_tokens: int
    """Padding not counted."""
    n_vocab: int
    """Ids with bytes: those of the model, or of the tokenizer where it has more."""
    tokenizer_hash: str
    """`text.tokens.tokenizer_fingerprint`."""
    text_fingerprint: str
    """`Contexts.fingerprint` of the contexts that these were taken from."""


class CorpusRows(NamedTuple):
    """Consecutive contexts.

    Attributes:
        tokens: Vocabulary ids.
        mask: False at padding, which stands on the right.
    """

    tokens: Int32[np.ndarray, "context pos"]
    mask: Bool[np.ndarray, "context pos"]


class FrozenCorpus:
    """Contexts on disk with their documents and the bytes of every token; it is an `atlas.text.CorpusText`.

    A position is `context * context_length + place`. Files are mapped, so memory stays small.

    Attributes:
        path: Its folder, named by its digest.
        config: Its sizes and where it comes from.
        digest: Content digest of the folder.
        context_length: Positions of a context.
        n_contexts: Contexts.
    """

    def __init__(self, path: Path, config: CorpusConfig, digest: str) -> None:
        """Use `load` or `freeze`."""
        self.path, self.config, self.digest = path, config, digest
        self.context_length, self.n_contexts = config.context_length, config.n_contexts
        self._tokens = _mapped(path / "tokens.npy")
        self._lengths = _mapped(path / "lengths.npy")
        segments = _mapped(path / "segments.npy")
        self._segment_starts, self._segment_documents = segments[:, 0], segments[:, 1]
        self._bytes = (path / "token_bytes.bin").read_bytes()
        self._bytes_ends = np.concatenate([[0], np.cumsum(_mapped(path / "token_lengths.npy"))])
        lines = (path / "documents.jsonl").read_text(encoding="utf-8").split("\n")
        self._documents = lines[:-1]

    def __repr__(self) -> str:
        return (
            f"FrozenCorpus({self.n_contexts} contexts of {self.context_length}, {self.digest[:12]})"
        )

    @classmethod
    def freeze(
        cls,
        folder: Path | str,
        contexts: Contexts,
        tokenizer: TextTokenizer,
        *,
        indices: Sequence[int] | Int64[np.ndarray, "context"] | None = None,
        n_vocab: int | None = None,
    ) -> "FrozenCorpus":
        """Write contexts into `folder/DIGEST`; equal contexts give equal bytes.

        One that is there already is taken as it is. Memory: 256 contexts, beside what `Contexts` needs.

        Args:
            folder: Where frozen corpora lie.
            contexts: Where they come from.
            tokenizer: What made their tokens.
            indices: Which of them, ascending; all when None.
            n_vocab: Ids of the model, where it may have more than the tokenizer.

        Raises:
            DataError: The text cannot be read, or the tokenizer is slow.
            ArtifactError: The disk is full, or the folder cannot be written.
        """
        folder = Path(folder)
        chosen = (
            np.arange(len(contexts)) if indices is None else np.asarray(indices, dtype=np.int64)
        )
        vocabulary = vocabulary_bytes(tokenizer, n_vocab)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            above = Path(tempfile.mkdtemp(prefix=".corpus.", suffix=".part", dir=folder))
        except OSError as error:
            raise ArtifactError(write_failure(folder, error)) from error
        try:
            with write_artifact(above / KIND, KIND, FORMAT_VERSION) as part:
                _write(part, contexts, chosen, vocabulary, tokenizer_fingerprint(tokenizer))
            digest = read_manifest(above / KIND, KIND, READABLE).content_digest
            place = folder / digest
            if not place.exists():
                (above / KIND).rename(place)
        except OSError as error:
            raise ArtifactError(write_failure(folder, error)) from error
        finally:
            shutil.rmtree(above, ignore_errors=True)
        return cls.load(place)

    @classmethod
    def load(cls, path: Path | str, *, verify: bool = False) -> "FrozenCorpus":
        """Open a folder that `freeze` wrote.

        Args:
            path: The folder.
            verify: Hash every file too; otherwise only presence and size are checked.

        Raises:
            ArtifactError: It is missing, damaged, or of another kind or format.
        """
        path = Path(path)
        digest = read_manifest(path, KIND, READABLE, verify=verify).content_digest
        try:
            values = json.loads((path / "corpus.json").read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError("corpus.json is no object")
            config = CorpusConfig.from_mapping(values, f"'{path / 'corpus.json'}'")
            return cls(path, config, digest)
        except (OSError, ValueError, RecipeError) as error:
            raise ArtifactError(f"'{path}' holds no usable corpus: {error}") from None

    def tokens(self, start: int, length: int) -> Int32[np.ndarray, "length"]:
        """Token ids from a position on, within one context; padding ids where it is padded.

        Raises:
            ArtifactError: The position is not there, or the context ends before.
        """
        context, place = self._place(start)
        if length < 0 or place + length > self.context_length:
            raise ArtifactError(
                f"{length} tokens from position {start} do not lie in one context of {self.context_length}: "
                "the atlas and its corpus do not belong together."
            )
        return self._tokens[context, place : place + length].astype(np.int32)

    def rows(self, first: int, n: int) -> CorpusRows:
        """`n` contexts from number `first` on; fewer at the end."""
        tokens = self._tokens[first : first + n].astype(np.int32)
        lengths = self._lengths[first : first + n]
        return CorpusRows(tokens, np.arange(self.context_length) < lengths[:, None])

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; several tokens may share one character.

        Raises:
            ArtifactError: No token has this id.
        """
        if not 0 <= token < self.config.n_vocab:
            raise ArtifactError(
                f"Token {token} is not in the corpus's vocabulary of {self.config.n_vocab}: the atlas and "
                "its corpus do not belong together."
            )
        return self._bytes[self._bytes_ends[token] : self._bytes_ends[token + 1]]

    def document(self, start: int) -> CorpusDocument | None:
        """The document that a position lies in; None at padding.

        Raises:
            ArtifactError: The position is not there.
        """
        context, place = self._place(start)
        if place >= self._lengths[context]:
            return None
        number = int(self.document_numbers(np.asarray([start], dtype=np.int64))[0])
        return CorpusDocument(number, **json.loads(self._documents[number]))

    def document_numbers(
        self, positions: Int64[np.ndarray, "position"]
    ) -> Int32[np.ndarray, "position"]:
        """The document of each position, which must be none of padding, as a number from 0."""
        segment = np.searchsorted(self._segment_starts, positions, side="right") - 1
        return self._segment_documents[segment].astype(np.int32)

    def _place(self, start: int) -> tuple[int, int]:
        context, place = divmod(start, self.context_length)
        if not 0 <= context < self.n_contexts:
            raise ArtifactError(
                f"Position {start} is not in the corpus of {self.n_contexts} contexts of "
                f"{self.context_length} tokens: the atlas and its corpus do not belong together."
            )
        return context, place


def _mapped(path: Path) -> Integer[np.ndarray, "..."]:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _write(
    folder: Path,
    contexts: Contexts,
    chosen: Int64[np.ndarray, "context"],
    vocabulary: list[bytes],
    tokenizer_hash: str,
) -> None:
    lengths = np.zeros(len(chosen), dtype=np.int32)
    documents = _Documents(contexts)
    dtype = np.dtype(np.uint16 if len(vocabulary) <= 1 << 16 else np.uint32)
    header = {
        "descr": dtype.str,
        "fortran_order": False,
        "shape": (len(chosen), contexts.context_length),
    }
    # Not through a map: where the disk is full, writing to one ends the process without a word.
    with (folder / "tokens.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first, rows in _batches(contexts, chosen):
            file.write(rows.tokens.astype(dtype).tobytes())
            lengths[first : first + len(rows.tokens)] = rows.mask.sum(1)
            documents.add(first, rows)
    np.save(folder / "lengths.npy", lengths)
    np.save(folder / "segments.npy", np.concatenate(documents.segments))
    (folder / "documents.jsonl").write_text("".join(documents.lines), encoding="utf-8")
    (folder / "token_bytes.bin").write_bytes(b"".join(vocabulary))
    np.save(folder / "token_lengths.npy", np.asarray([len(b) for b in vocabulary], dtype=np.int32))
    config = CorpusConfig(
        context_length=contexts.context_length,
        n_contexts=len(chosen),
        n_tokens=int(lengths.sum()),
        n_vocab=len(vocabulary),
        tokenizer_hash=tokenizer_hash,
        text_fingerprint=contexts.fingerprint,
    )
    text = json.dumps(config.to_mapping(), indent=1, sort_keys=True) + "\n"
    (folder / "corpus.json").write_text(text, encoding="utf-8")


def _batches(
    contexts: Contexts, chosen: Int64[np.ndarray, "context"]
) -> Iterator[tuple[int, ContextRows]]:
    for first in range(0, len(chosen), _ROWS_AT_ONCE):
        yield first, contexts.rows(chosen[first : first + _ROWS_AT_ONCE])


class _Documents:
    """Where in the frozen corpus each document begins or goes on, and what it is.

    Attributes:
        segments: Arrays `[segment, (position, document)]`, ascending; documents are numbered anew.
        lines: One line of JSON a document.
    """

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self._numbers: dict[int, int] = {}
        self.segments: list[Int64[np.ndarray, "segment two"]] = []
        self.lines: list[str] = []

    def add(self, first: int, rows: ContextRows) -> None:
        """Note the documents of contexts from number `first` on."""
        found = rows.documents
        begins = np.ones_like(found, dtype=np.bool_)
        begins[:, 1:] = found[:, 1:] != found[:, :-1]
        begins &= rows.mask
        context, place = begins.nonzero()
        starts = (first + context) * self._contexts.context_length + place
        numbers = [self._number(old) for old in found[begins].tolist()]
        self.segments.append(np.stack([starts, np.asarray(numbers, dtype=np.int64)], axis=1))

    def _number(self, old: int) -> int:
        if old not in self._numbers:
            self._numbers[old] = len(self._numbers)
            entry = self._contexts.document(old)
            values = {
                "id": entry.id,
                "title": entry.title,
                "source": entry.source,
                "licence": entry.licence,
            }
            self.lines.append(json.dumps(values, sort_keys=True) + "\n")
        return self._numbers[old]
