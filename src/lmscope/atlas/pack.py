"""FILE.atlas: an atlas with its text, vectors and labels as one SQLite file.

It holds the tables of census.sqlite and labels.sqlite, and of the corpus the contexts that records
point to, so that it is read with nothing beside it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import zstandard
from jaxtyping import Float16

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.codec import varints
from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.database import reported, seal
from lmscope.atlas.labels import LABEL_TABLES, LABELS_KEY, LabelReader, index_labels
from lmscope.atlas.packed import CONTEXTS_A_CHUNK, PACK_KEY, PackedText, PackMeta
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.text import CorpusDocument, CorpusText
from lmscope.core.errors import ArtifactError

SUFFIX: Final = ".atlas"
_ROWS_A_CHUNK: Final = 1024
_LEVEL: Final = 12

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


def pack(atlas: Atlas, path: Path | str) -> Path:
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


def _write_vectors(
    copy: sqlite3.Connection, vectors: Float16[np.ndarray, "latent write"] | None
) -> None:
    if vectors is None:
        return
    for i, first in enumerate(range(0, len(vectors), _ROWS_A_CHUNK)):
        data = vectors[first : first + _ROWS_A_CHUNK].astype("<f2").tobytes()
        copy.execute("INSERT INTO vector_chunk VALUES (?, ?)", (i, data))


def _write_corpus(copy: sqlite3.Connection, atlas: Atlas) -> None:
    corpus = atlas.corpus
    contexts, tokens = _needed(atlas.census.records(), atlas.meta)
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    documents: dict[int, CorpusDocument] = {}
    for chunk, ids in _chunks(contexts):
        rows = [corpus.tokens(c * corpus.context_length, corpus.context_length) for c in ids]
        tokens.update(np.unique(rows).tolist())
        places = [c - chunk * CONTEXTS_A_CHUNK for c in ids]
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
        by_chunk.setdefault(context // CONTEXTS_A_CHUNK, []).append(context)
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
