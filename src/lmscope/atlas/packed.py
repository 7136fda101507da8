"""Reading FILE.atlas: the text and the vectors of a packed atlas."""

import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import zstandard
from jaxtyping import Float16, Int32

from lmscope.atlas.codec import from_varints
from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.database import open_for_reading, read_meta, reported
from lmscope.atlas.labels import LABELS_KEY
from lmscope.atlas.text import CorpusDocument
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError

PACK_KEY: Final = "pack"
CONTEXTS_A_CHUNK: Final = 16
_LARGEST: Final = 1 << 28
"""No chunk unpacks to more bytes; a damaged one may claim anything."""
_CACHED: Final = 64


class PackMeta(Config):
    """What a packed atlas says of itself beside AtlasMeta."""

    atlas_digest: str
    """Content digest of the atlas that was packed; labels name it."""
    d_write: int | None = None
    """Width of the vectors; absent where there are none."""


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
        found = self._chunk(context // CONTEXTS_A_CHUNK).get(context)
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
        first = chunk * CONTEXTS_A_CHUNK
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
