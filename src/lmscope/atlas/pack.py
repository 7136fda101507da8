"""FILE.atlas: an atlas with its text, vectors and labels as one SQLite file.

It holds the tables of census.sqlite and labels.sqlite, and of the corpus the contexts that records
point to, so that it is read with nothing beside it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import zstandard
from jaxtyping import Float16, Int32

from lmscope.atlas.codec import from_varints, varints
from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.database import open_for_reading, read_meta, reported, seal
from lmscope.atlas.labels import LABEL_TABLES, LABELS_KEY, LabelReader, index_labels
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.store import CensusReader
from lmscope.atlas.text import CorpusDocument, CorpusText
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError

PACK_KEY: Final = "pack"
SUFFIX: Final = ".atlas"
_CONTEXTS_A_CHUNK: Final = 16
_ROWS_A_CHUNK: Final = 1024
_LEVEL: Final = 12
_LARGEST: Final = 1 << 28
_CACHED: Final = 64

_TABLES: Final = """
CREATE TABLE corpus_chunk (id INTEGER PRIMARY KEY, tokens BLOB NOT NULL);
CREATE TABLE corpus_segment (start INTEGER PRIMARY KEY, document INTEGER);
CREATE TABLE corpus_document (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    source TEXT NOT NULL,
    licence TEXT NOT NULL
);
CREATE TABLE token_bytes (token INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE vector_chunk (id INTEGER PRIMARY KEY, vectors BLOB NOT NULL);
"""


class PackMeta(Config):
    """What a packed atlas says of itself beside AtlasMeta."""

    atlas_digest: str
    """Content digest of the atlas that was packed; labels name it."""
    d_write: int | None = None
    """Width of the vectors; absent where there are none."""


@runtime_checkable
class Packable(Protocol):
    """What is packed; `atlas.Atlas` is."""

    census: CensusReader
    meta: AtlasMeta
    digest: str
    corpus: CorpusText
    labels: tuple[LabelReader, ...]

    @property
    def vectors(self) -> Float16[np.ndarray, "latent write"] | None:
        """Decoder rows."""
        ...


def pack(atlas: Packable, path: Path | str) -> Path:
    """Write an atlas as one file, of equal bytes for equal atlases.

    Of the labels those of the first source go with it: the newest explain run.

    Args:
        atlas: An open one.
        path: The file, which ends in `.atlas`; nothing may be there.

    Raises:
        ArtifactError: The atlas is packed already, something is there, the name has another ending, or the disk is full.
    """
    path = Path(path)
    if isinstance(atlas.corpus, PackedText):
        raise ArtifactError(f"'{atlas.census.path}' is packed already: copy the file.")
    if path.suffix != SUFFIX:
        raise ArtifactError(f"A packed atlas ends in {SUFFIX}, '{path.name}' does not: rename it.")
    if path.exists():
        raise ArtifactError(f"'{path}' exists already: remove it or choose another name.")

    def finish(copy: sqlite3.Connection) -> None:
        for statement in _TABLES.split(";\n"):
            if statement.strip():
                copy.execute(statement)
        _write_vectors(copy, atlas.vectors)
        _write_corpus(copy, atlas)
        if atlas.labels:
            _write_labels(copy, atlas.labels[0])
        vectors = atlas.vectors
        width = None if vectors is None else vectors.shape[1]
        values = PackMeta(atlas_digest=atlas.digest, d_write=width).to_mapping()
        row = (PACK_KEY, json.dumps(values, sort_keys=True))
        copy.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", row)

    return seal(atlas.census.connection, path, finish)


class PackedText:
    """The part of a corpus that a packed atlas holds; it is an `atlas.text.CorpusText`.

    Args:
        path: The packed atlas.
        meta: What it says of itself.
    """

    def __init__(self, path: Path | str, meta: AtlasMeta) -> None:
        self.path = Path(path)
        self.digest = meta.corpus_digest
        self.context_length, self.n_contexts = meta.context_length, meta.n_contexts
        self._connection = open_for_reading(path)
        self._chunk = lru_cache(maxsize=_CACHED)(self._read_chunk)
        self._bytes = lru_cache(maxsize=1 << 16)(self._read_bytes)

    def tokens(self, start: int, length: int) -> Int32[np.ndarray, "length"]:
        """Token ids from a position on, within one context.

        Raises:
            ArtifactError: The pack does not hold the position.
        """
        context, place = divmod(start, self.context_length)
        found = self._chunk(context // _CONTEXTS_A_CHUNK).get(context)
        if found is None or place + length > self.context_length:
            raise ArtifactError(
                f"'{self.path}' does not hold {length} tokens from position {start}: it has only the text "
                "that its records point to."
            )
        return found[place : place + length]

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for.

        Raises:
            ArtifactError: The pack does not hold the token.
        """
        return self._bytes(token)

    def document(self, start: int) -> CorpusDocument | None:
        """The document that a position lies in; None at padding or where it is not known."""
        with reported(self.path):
            row = self._connection.execute(
                "SELECT start, document FROM corpus_segment WHERE start <= ? ORDER BY start DESC LIMIT 1",
                (start,),
            ).fetchone()
            if row is None or row[1] is None:
                return None
            if row[0] // self.context_length != start // self.context_length:
                return None
            query = "SELECT * FROM corpus_document WHERE number = ?"
            return CorpusDocument(*self._connection.execute(query, (row[1],)).fetchone())

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _read_chunk(self, chunk: int) -> dict[int, Int32[np.ndarray, "pos"]]:
        with reported(self.path):
            query = "SELECT tokens FROM corpus_chunk WHERE id = ?"
            row = self._connection.execute(query, (chunk,)).fetchone()
        if row is None:
            return {}
        try:
            raw = zstandard.ZstdDecompressor().decompress(row[0], max_output_size=_LARGEST)
            numbers = from_varints(np.frombuffer(raw, dtype=np.uint8))
            places = numbers[1 : 1 + int(numbers[0])].tolist()
            tokens = numbers[1 + len(places) :].astype(np.int32).reshape(len(places), -1)
        except (zstandard.ZstdError, IndexError, ValueError) as error:
            raise ArtifactError(f"'{self.path}' is damaged ({error}): copy it again.") from None
        first = chunk * _CONTEXTS_A_CHUNK
        return {first + place: row for place, row in zip(places, tokens, strict=True)}

    def _read_bytes(self, token: int) -> bytes:
        with reported(self.path):
            query = "SELECT bytes FROM token_bytes WHERE token = ?"
            row = self._connection.execute(query, (token,)).fetchone()
        if row is None:
            raise ArtifactError(f"'{self.path}' does not hold token {token}.")
        return row[0]


def read_pack_meta(connection: sqlite3.Connection, path: Path) -> PackMeta:
    """What a packed atlas says of itself.

    Raises:
        ArtifactError: It is no packed atlas.
    """
    values = read_meta(connection, path, PACK_KEY, "packed atlas")
    return PackMeta.from_mapping(values, f"'{path}'")


def has_labels(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether a packed atlas has labels with it."""
    with reported(path):
        query = "SELECT 1 FROM meta WHERE key = ?"
        return connection.execute(query, (LABELS_KEY,)).fetchone() is not None


def read_packed_vectors(
    connection: sqlite3.Connection, path: Path, d_write: int
) -> Float16[np.ndarray, "latent write"]:
    """The vectors of a packed atlas.

    Raises:
        ArtifactError: They are damaged.
    """
    with reported(path):
        rows = connection.execute("SELECT vectors FROM vector_chunk ORDER BY id").fetchall()
    try:
        data = np.frombuffer(b"".join(row[0] for row in rows), dtype="<f2")
        return data.reshape(-1, d_write).astype(np.float16)
    except ValueError as error:
        raise ArtifactError(f"'{path}' is damaged ({error}): copy it again.") from None


def _write_vectors(
    copy: sqlite3.Connection, vectors: Float16[np.ndarray, "latent write"] | None
) -> None:
    if vectors is None:
        return
    for i, first in enumerate(range(0, len(vectors), _ROWS_A_CHUNK)):
        data = vectors[first : first + _ROWS_A_CHUNK].astype("<f2").tobytes()
        copy.execute("INSERT INTO vector_chunk VALUES (?, ?)", (i, data))


def _write_corpus(copy: sqlite3.Connection, atlas: Packable) -> None:
    corpus = atlas.corpus
    contexts, tokens = _needed(atlas.census.records(), atlas.meta)
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    documents: dict[int, CorpusDocument] = {}
    for chunk, ids in _chunks(contexts):
        rows = [corpus.tokens(c * corpus.context_length, corpus.context_length) for c in ids]
        tokens.update(np.unique(rows).tolist())
        places = [c - chunk * _CONTEXTS_A_CHUNK for c in ids]
        head = np.asarray([len(places), *places], dtype=np.int64)
        numbers = np.concatenate([head, np.concatenate(rows).astype(np.int64)])
        blob = compressor.compress(varints(numbers).tobytes())
        copy.execute("INSERT INTO corpus_chunk VALUES (?, ?)", (chunk, blob))
        for context in ids:
            copy.executemany(
                "INSERT INTO corpus_segment VALUES (?, ?)", _segments(corpus, context, documents)
            )
    copy.executemany(
        "INSERT INTO corpus_document VALUES (?, ?, ?, ?, ?)",
        [(d.number, d.id, d.title, d.source, d.licence) for _, d in sorted(documents.items())],
    )
    copy.executemany(
        "INSERT INTO token_bytes VALUES (?, ?)",
        ((token, corpus.token_bytes(token)) for token in sorted(tokens)),
    )


def _needed(records: Iterable[LatentRecord], meta: AtlasMeta) -> tuple[list[int], set[int]]:
    """The contexts that records point to, and the tokens that they name."""
    contexts: set[int] = set()
    tokens: set[int] = set()
    for record in records:
        starts = [example.start for group in record.groups for example in group.examples]
        contexts.update(start // meta.context_length for start in (*starts, *record.silent))
        tokens.update(one.token for one in record.tokens)
        named = (record.peak_tokens, record.top_logits, record.bottom_logits)
        tokens.update(one.id for ones in named for one in ones)
    return sorted(contexts), tokens


def _chunks(contexts: list[int]) -> Iterator[tuple[int, list[int]]]:
    by_chunk: dict[int, list[int]] = {}
    for context in contexts:
        by_chunk.setdefault(context // _CONTEXTS_A_CHUNK, []).append(context)
    yield from by_chunk.items()


def _segments(
    corpus: CorpusText, context: int, documents: dict[int, CorpusDocument]
) -> list[tuple[int, int | None]]:
    """Where in a context each document begins; None begins padding. Notes the documents too."""

    def number(position: int) -> int | None:
        document = corpus.document(position)
        if document is None:
            return None
        documents[document.number] = document
        return document.number

    def changes(low: int, high: int, before: Any, after: Any) -> list[tuple[int, int | None]]:
        # A document is in one piece, so equal ends mean that all between is equal.
        if before == after:
            return []
        if high - low == 1:
            return [(high, after)]
        middle = (low + high) // 2
        between = number(middle)
        return changes(low, middle, before, between) + changes(middle, high, between, after)

    first = context * corpus.context_length
    last = first + corpus.context_length - 1
    begin, end = number(first), number(last)
    return [(first, begin), *changes(first, last, begin, end)]


def _write_labels(copy: sqlite3.Connection, labels: LabelReader) -> None:
    for statement in LABEL_TABLES.split(";\n"):
        if statement.strip():
            copy.execute(statement)
    with reported(labels.path):
        for table, width in (("label", 6), ("score", 6)):
            rows = labels.connection.execute(f"SELECT * FROM {table}")
            copy.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)
    row = (LABELS_KEY, json.dumps(labels.meta.to_mapping(), sort_keys=True))
    copy.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", row)
    index_labels(copy)
