"""labels.sqlite: what one explain run says that latents mean, and how far it can be trusted.

A label whose detection score is too low, or that has none, is never shown: it reads `not known`.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field

from lmscope.atlas.database import (
    TableWriter,
    check_header,
    open_for_reading,
    read_meta,
    reported,
    seal,
)
from lmscope.atlas.explain.protocols import NOT_KNOWN, Label, Score
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RecipeError

LABELS_KIND: Final = "labels"
"""Of its manifest."""
LABELS_FORMAT: Final = 1
LABELS_FILE: Final = "labels.sqlite"
LABELS_SCHEMA: Final = 1
LABELS_KEY: Final = "labels"
DECIDING_SCORER: Final = "detection"
"""The lower end of its interval decides whether a label is shown."""

LABEL_TABLES: Final = """
CREATE TABLE label (
    latent INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    explainer TEXT NOT NULL,
    rule TEXT,
    precision REAL,
    recall REAL
);
CREATE TABLE score (
    latent INTEGER NOT NULL,
    scorer TEXT NOT NULL,
    value REAL NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (latent, scorer)
) WITHOUT ROWID;
"""
LABEL_INDEXES: Final = """
CREATE VIRTUAL TABLE label_words USING fts5 (
    text, content = 'label', content_rowid = 'latent', tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE label_parts USING fts5 (
    text, content = 'label', content_rowid = 'latent', tokenize = 'trigram'
);
INSERT INTO label_words (label_words) VALUES ('rebuild');
INSERT INTO label_parts (label_parts) VALUES ('rebuild');
INSERT INTO label_words (label_words) VALUES ('optimize');
INSERT INTO label_parts (label_parts) VALUES ('optimize');
"""
_META_TABLE: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_STOP_WORDS: Final = frozenset(
    "a an and are as at be by for from in is it its of on or that the this to with".split()  # noqa: SIM905
)
_UNSPACED: Final = re.compile(r"CJK|HIRAGANA|KATAKANA|HANGUL|THAI|LAO|KHMER|MYANMAR|TIBETAN")
"""Scripts whose words are not set apart by spaces, by the names of their characters."""


class LabelsMeta(Config):
    """What labels.sqlite says of itself; no time and no path, so that equal runs have equal bytes."""

    atlas_digest: str
    """Content digest of the atlas that was explained."""
    dictionary_digest: str
    """Of the dictionary of that atlas."""
    explainer: str
    judge: str | None = None
    """Who answered for the labels when they were scored."""
    threshold: Annotated[float, Field(ge=0, le=1)]
    """The least lower end of the detection score with which a label is shown."""
    options: dict[str, Any] = Field(default_factory=dict)
    """How the labels were made, as plain values."""


class Found(NamedTuple):
    """A label that a search found.

    Attributes:
        latent: Its latent.
        text: The label.
        detection: Its detection score.
        detection_low: The lower end of that score's interval.
    """

    latent: int
    text: str
    detection: float
    detection_low: float


class LabelWriter(TableWriter):
    """Takes labels with their scores, in blocks, and seals them.

    Opening the same path again goes on with what was written.

    Args:
        path: The working file. It is no artifact: `seal` makes the one that is.
        meta: What the labels are of.

    Attributes:
        notice: A sentence for the user if the file had to be put elsewhere; else None.

    Raises:
        ArtifactError: The file cannot be written, or holds other labels.
    """

    def __init__(self, path: Path | str, meta: LabelsMeta) -> None:
        self.meta = meta
        tables = _META_TABLE + LABEL_TABLES
        super().__init__(path, tables, LABELS_SCHEMA, LABELS_KEY, meta.to_mapping())

    def __enter__(self) -> "LabelWriter":
        return self

    def written(self) -> frozenset[int]:
        """The latents that are done, also those for which there was nothing to say."""
        with reported(self._file.path):
            rows = self._connection.execute("SELECT latent FROM label")
            return frozenset(row[0] for row in rows)

    def append(self, labels: Iterable[tuple[Label, Sequence[Score]]]) -> None:
        """Write labels and their scores, all of them or none; those of a latent replace what it had.

        Raises:
            ArtifactError: The disk is full.
        """
        with self._block():
            for label, scores in labels:
                self._write(label, scores)

    def seal(self, target: Path | str) -> Path:
        """Write the labels as one file with its index of words, of equal bytes for equal labels.

        The working file stays; `remove` deletes it once the artifact stands.

        Raises:
            ArtifactError: The disk is full.
        """
        return seal(self._connection, target, index_labels)

    def _write(self, label: Label, scores: Sequence[Score]) -> None:
        rule = None if label.rule is None else json.dumps(label.rule, sort_keys=True)
        execute = self._connection.execute
        execute("DELETE FROM score WHERE latent = ?", (label.latent,))
        execute(
            "INSERT OR REPLACE INTO label VALUES (?, ?, ?, ?, ?, ?)",
            (label.latent, label.text, label.explainer, rule, label.precision, label.recall),
        )
        for one in scores:
            values = (label.latent, one.scorer, one.value, one.low, one.high, one.n)
            execute("INSERT INTO score VALUES (?, ?, ?, ?, ?, ?)", values)


class LabelReader:
    """Reads the labels of one explain run, or those of a packed atlas.

    Args:
        path: The file.

    Attributes:
        path: The file.
        meta: What the labels are of.

    Raises:
        ArtifactError: It is not there, damaged, holds no labels, or is of a newer schema.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.connection = open_for_reading(self.path)
        try:
            with reported(self.path):
                check_header(self.connection, self.path, LABELS_SCHEMA)
            values = read_meta(self.connection, self.path, LABELS_KEY, "labels")
            self.meta = LabelsMeta.from_mapping(values, f"'{self.path}'")
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self) -> "LabelReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._one("SELECT count(*) FROM label")[0]

    def label(self, latent: int) -> Label | None:
        """What the explainer said, however far it can be trusted; None where it was not asked."""
        row = self._one("SELECT * FROM label WHERE latent = ?", latent)
        return None if row is None else _label(row)

    def scores(self, latent: int) -> tuple[Score, ...]:
        """The scores of a latent's label, by name."""
        with reported(self.path):
            query = "SELECT scorer, value, low, high, n FROM score WHERE latent = ? ORDER BY scorer"
            return tuple(Score(*row) for row in self.connection.execute(query, (latent,)))

    def shown(self, latent: int, threshold: float | None = None) -> str:
        """The label as a reader sees it: `not known` where its detection score is too low.

        Args:
            latent: Whose.
            threshold: The least lower end of the detection score; by default that of the explain run.
        """
        row = self._one(
            "SELECT text FROM label JOIN score USING (latent) "
            "WHERE latent = ? AND text <> '' AND scorer = ? AND low >= ?",
            latent,
            DECIDING_SCORER,
            self._threshold(threshold),
        )
        return NOT_KNOWN if row is None else row[0]

    def known(self, threshold: float | None = None) -> frozenset[int]:
        """The latents whose labels are shown."""
        with reported(self.path):
            rows = self.connection.execute(
                "SELECT latent FROM label JOIN score USING (latent) "
                "WHERE text <> '' AND scorer = ? AND low >= ?",
                (DECIDING_SCORER, self._threshold(threshold)),
            )
            return frozenset(row[0] for row in rows)

    def latents(self) -> frozenset[int]:
        """The latents for which the explainer was asked."""
        with reported(self.path):
            rows = self.connection.execute("SELECT latent FROM label")
            return frozenset(row[0] for row in rows)

    def score_values(self, scorer: str) -> dict[int, float]:
        """One scorer's values by latent."""
        with reported(self.path):
            query = "SELECT latent, value FROM score WHERE scorer = ?"
            return dict(self.connection.execute(query, (scorer,)))

    def labels(self) -> Iterator[Label]:
        """All that the explainer said, by latent, however far it can be trusted."""
        with (
            reported(self.path),
            closing(self.connection.execute("SELECT * FROM label ORDER BY latent")) as rows,
        ):
            yield from map(_label, rows)

    def search(self, text: str, limit: int = 100, threshold: float | None = None) -> list[Found]:
        """Labels that are shown and hold all words of a text, the most fitting first.

        Words are compared by their stems, and the last one may be the beginning of a word. Common
        words count only if there are no others. Of scripts without spaces, and of signs, every part
        between spaces must stand in the label as it is.

        Raises:
            RecipeError: The text is empty.
            ArtifactError: The labels are still being written.
        """
        # SQLite's index of words takes a NUL for the end of what is searched for.
        text = text.replace("\0", " ")
        if not text.strip():
            raise RecipeError("A search needs at least one word.")
        if self._one("SELECT 1 FROM sqlite_schema WHERE name = 'label_words'") is None:
            raise ArtifactError(
                f"'{self.path}' is still being written: search it when it is whole."
            )
        table, condition, values = _condition(text)
        with reported(self.path):
            rows = self.connection.execute(
                f"SELECT label.latent, label.text, value, low FROM {table} "
                "JOIN score ON score.latent = label.latent AND scorer = ? AND low >= ? "
                f"WHERE {condition}, label.latent LIMIT ?",
                (DECIDING_SCORER, self._threshold(threshold), *values, limit),
            )
            return [Found(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def _threshold(self, threshold: float | None) -> float:
        return self.meta.threshold if threshold is None else threshold

    def _one(self, query: str, *values: Any) -> Any:
        with reported(self.path):
            return self.connection.execute(query, values).fetchone()


def index_labels(connection: Any) -> None:
    """Add the index of words to a file that holds labels."""
    for statement in LABEL_INDEXES.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _label(row: Sequence[Any]) -> Label:
    latent, text, explainer, rule, precision, recall = row
    return Label(
        latent, text, explainer, None if rule is None else json.loads(rule), precision, recall
    )


def _condition(text: str) -> tuple[str, str, list[str]]:
    """Where to look, the condition with its order, and the condition's values."""
    words = re.findall(r"\w+", text.casefold())
    if words and not any(_is_unspaced(character) for character in text):
        kept = [word for word in words if word not in _STOP_WORDS] or words
        matched = " ".join(f'"{word}"' for word in kept) + " *"
        table = "label_words JOIN label ON label.latent = label_words.rowid"
        return table, "label_words MATCH ? ORDER BY bm25(label_words)", [matched]
    parts = text.split()
    long = [part for part in parts if len(part) >= 3]
    short = [part for part in parts if len(part) < 3]
    contains = " AND ".join(["instr(lower(label.text), lower(?))"] * len(short))
    if not long:
        return "label", f"{contains} ORDER BY length(label.text)", short
    matched = " ".join('"' + part.replace('"', '""') + '"' for part in long)
    table = "label_parts JOIN label ON label.latent = label_parts.rowid"
    also = f" AND {contains}" if short else ""
    return table, f"label_parts MATCH ?{also} ORDER BY bm25(label_parts)", [matched, *short]


def _is_unspaced(character: str) -> bool:
    return not character.isascii() and bool(_UNSPACED.match(unicodedata.name(character, "")))
