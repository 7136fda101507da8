"""notes.sqlite: what people write down about latents; theirs, so that no run ever touches it.

One file lies in the folder of all runs. Latents are named by the content of their dictionary, so a note
stays with its latent when an atlas is built anew.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from lmscope.atlas.database import (
    check_header,
    make_tables,
    network_file_system,
    reported,
    transaction,
)
from lmscope.core.errors import RecipeError

NOTES_FILE: Final = "notes.sqlite"
NOTES_SCHEMA: Final = 1
_WAIT_S: Final = 10.0
LONGEST_TEXT: Final = 20_000
"""Characters of a note that replaces another one."""
_LONGEST_TAG: Final = 64
_MOST_TAGS: Final = 50
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

_TABLES: Final = """
CREATE TABLE note (
    dictionary TEXT NOT NULL,
    latent INTEGER NOT NULL,
    text TEXT NOT NULL DEFAULT '',
    star INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (dictionary, latent)
) WITHOUT ROWID;
CREATE TABLE tag (
    dictionary TEXT NOT NULL,
    latent INTEGER NOT NULL,
    tag TEXT NOT NULL,
    PRIMARY KEY (dictionary, latent, tag)
) WITHOUT ROWID;
CREATE INDEX tag_name ON tag (tag);
"""


@dataclass(frozen=True)
class Note:
    """What people wrote down about one latent.

    Attributes:
        dictionary_digest: Content digest of its dictionary.
        latent: Its number.
        text: Free text.
        star: Whether it is starred.
        tags: In alphabetical order.
    """

    dictionary_digest: str
    latent: int
    text: str = ""
    star: bool = False
    tags: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written down."""
        return not (self.text or self.star or self.tags)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"text": self.text, "star": self.star, "tags": list(self.tags)}


class Notes:
    """The notes of a folder of runs; reading needs no file, the first note makes it.

    Args:
        path: The file.

    Raises:
        ArtifactError: It is damaged or of a newer schema.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._connection: sqlite3.Connection | None = None
        if self.path.exists():
            self._connection = self._opened()

    def __enter__(self) -> "Notes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def note(self, dictionary_digest: str, latent: int) -> Note:
        """What is written down about a latent; an empty note where nothing is."""
        key = (dictionary_digest, latent)
        row = self._rows("SELECT text, star FROM note WHERE dictionary = ? AND latent = ?", *key)
        tags = self._rows(
            "SELECT tag FROM tag WHERE dictionary = ? AND latent = ? ORDER BY tag", *key
        )
        text, star = row[0] if row else ("", 0)
        return Note(dictionary_digest, latent, text, bool(star), tuple(tag for (tag,) in tags))

    def notes(
        self, dictionary_digest: str, *, starred: bool = False, tag: str | None = None
    ) -> tuple[Note, ...]:
        """All notes of a dictionary by latent, or those that are starred or have a tag."""
        rows = self._rows(
            "SELECT latent FROM note WHERE dictionary = ? UNION SELECT latent FROM tag WHERE dictionary = ? "
            "ORDER BY latent",
            dictionary_digest,
            dictionary_digest,
        )
        found = [self.note(dictionary_digest, latent) for (latent,) in rows]
        return tuple(
            one
            for one in found
            if not one.is_empty and (one.star or not starred) and (tag is None or tag in one.tags)
        )

    def tags(self) -> tuple[str, ...]:
        """All tags in use, in alphabetical order."""
        return tuple(tag for (tag,) in self._rows("SELECT DISTINCT tag FROM tag ORDER BY tag"))

    def starred(self, dictionary_digest: str) -> frozenset[int]:
        """The starred latents of a dictionary."""
        query = "SELECT latent FROM note WHERE dictionary = ? AND star"
        return frozenset(latent for (latent,) in self._rows(query, dictionary_digest))

    def tagged(self, dictionary_digest: str, tag: str) -> frozenset[int]:
        """The latents of a dictionary that have a tag."""
        query = "SELECT latent FROM tag WHERE dictionary = ? AND tag = ?"
        return frozenset(latent for (latent,) in self._rows(query, dictionary_digest, tag))

    def replace(self, note: Note) -> Note:
        """Put a note in the place of what was written down about its latent, in one transaction.

        Returns:
            The note as it is kept: spaces around tags are taken away, and each tag is kept once.

        Raises:
            RecipeError: The text is too long, there are too many tags, or a tag is empty, too long, or holds
                a comma.
            ArtifactError: The disk is full, or the folder cannot be written.
        """
        _check_digest(note.dictionary_digest)
        _check_text(note.text)
        tags = sorted({_checked_tag(tag) for tag in note.tags})
        if len(tags) > _MOST_TAGS:
            raise RecipeError(f"A note has at most {_MOST_TAGS} tags, this one has {len(tags)}.")
        key = (note.dictionary_digest, note.latent)
        with self._writing() as connection:
            for table in ("note", "tag"):
                connection.execute(f"DELETE FROM {table} WHERE dictionary = ? AND latent = ?", key)
            values = (*key, note.text, int(note.star))
            connection.execute("INSERT INTO note VALUES (?, ?, ?, ?)", values)
            rows = [(*key, tag) for tag in tags]
            connection.executemany("INSERT INTO tag VALUES (?, ?, ?)", rows)
        return Note(*key, note.text, note.star, tuple(tags))

    def write(self, dictionary_digest: str, latent: int, text: str) -> None:
        """Write the text of a latent's note; an empty one takes it away.

        Raises:
            ArtifactError: The disk is full, or the folder cannot be written.
        """
        self._put(dictionary_digest, latent, "text", text)

    def star(self, dictionary_digest: str, latent: int, on: bool = True) -> None:
        """Star a latent, or take the star away.

        Raises:
            ArtifactError: As of `write`.
        """
        self._put(dictionary_digest, latent, "star", int(on))

    def tag(self, dictionary_digest: str, latent: int, tag: str) -> None:
        """Give a latent a tag.

        Raises:
            RecipeError: The tag is empty, too long, or holds a comma.
            ArtifactError: As of `write`.
        """
        tag = _checked_tag(tag)
        _check_digest(dictionary_digest)
        with self._writing() as connection:
            values = (dictionary_digest, latent, tag)
            connection.execute("INSERT OR IGNORE INTO tag VALUES (?, ?, ?)", values)

    def untag(self, dictionary_digest: str, latent: int, tag: str) -> None:
        """Take a tag from a latent.

        Raises:
            ArtifactError: As of `write`.
        """
        with self._writing() as connection:
            query = "DELETE FROM tag WHERE dictionary = ? AND latent = ? AND tag = ?"
            connection.execute(query, (dictionary_digest, latent, tag.strip()))

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _put(self, dictionary_digest: str, latent: int, column: str, value: Any) -> None:
        _check_digest(dictionary_digest)
        with self._writing() as connection:
            connection.execute(
                f"INSERT INTO note (dictionary, latent, {column}) VALUES (?, ?, ?) "
                f"ON CONFLICT DO UPDATE SET {column} = excluded.{column}",
                (dictionary_digest, latent, value),
            )

    def _rows(self, query: str, *values: Any) -> list[Any]:
        if self._connection is None and self.path.exists():
            self._connection = self._opened()
        if self._connection is None:
            return []
        with reported(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            self._connection = self._opened()
        with reported(self.path), transaction(self._connection):
            yield self._connection

    def _opened(self) -> sqlite3.Connection:
        with reported(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            try:
                if network_file_system(self.path) is None:
                    connection.execute("PRAGMA journal_mode = WAL")
                with transaction(connection):
                    if not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
                        make_tables(connection, _TABLES, NOTES_SCHEMA)
                check_header(connection, self.path, NOTES_SCHEMA)
            except BaseException:
                connection.close()
                raise
            return connection


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise RecipeError(
            f"Notes name dictionaries by content digest, 64 hex digits; '{digest}' is none."
        )


def _check_text(text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise RecipeError(
            f"A note has at most {LONGEST_TEXT:,} characters, this one has {len(text):,}: shorten it."
        )


def _checked_tag(tag: str) -> str:
    tag = tag.strip()
    if not tag or len(tag) > _LONGEST_TAG or "," in tag:
        raise RecipeError(
            f"A tag is a word or a few, of at most {_LONGEST_TAG} characters and without commas; '{tag[:80]}' "
            "is none."
        )
    return tag
