"""How one row of a table (a JSON line, a Parquet row, a hub example) becomes a Document."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from lmscope.core.errors import DataError, did_you_mean
from lmscope.text.document import Document, Span, text_key


@runtime_checkable
class RowReader(Protocol):
    """Makes a Document of a row."""

    @property
    def column(self) -> str:
        """The column that holds the text."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when the same row would give another text."""
        ...

    def document(self, row: Mapping[str, Any], place: str, source: str) -> Document:
        """The row's document.

        Args:
            row: Values by column.
            place: Where the row stands, for messages and as its id: `corpus.jsonl:17`.
            source: The file or dataset.
        """
        ...


@dataclass(frozen=True, slots=True)
class TextColumn:
    """Plain text in one column; `id`, `title`, `source`, `licence` and `group` are read where present."""

    column: str = "text"

    @property
    def fingerprint(self) -> str:
        """The column's name says it all."""
        return f"text:{self.column}"

    def document(self, row: Mapping[str, Any], place: str, source: str) -> Document:
        """The row's document.

        Raises:
            DataError: The column is missing or holds something other than text.
        """
        text = cell(row, self.column, place)
        if not isinstance(text, str):
            raise DataError(
                f"{place}: column '{self.column}' holds {type(text).__name__}, not text."
            )
        return described(row, text, place, source)


def cell(row: Mapping[str, Any], column: str, place: str) -> Any:
    """One value of a row.

    Raises:
        DataError: The row has no such column; the message names those it has.
    """
    if column not in row:
        raise missing_column(column, row, place)
    return row[column]


def missing_column(column: str, present: Iterable[str], place: str) -> DataError:
    """The error for a column that is not there."""
    names = list(present)
    return DataError(
        f"{place} has no column '{column}'; it has {', '.join(names) or 'none'}."
        f"{did_you_mean(column, names) if len(names) > 1 else ''} Name the column that holds the text."
    )


def described(
    row: Mapping[str, Any], text: str, place: str, source: str, spans: tuple[Span, ...] = ()
) -> Document:
    """A document with what its row says about it; without a group, equal texts are one group."""

    def said(*names: str, default: str) -> str:
        return next((v for name in names if isinstance(v := row.get(name), str) and v), default)

    identity = said("id", default=place)
    return Document(
        id=identity,
        text=text,
        title=said("title", default=identity),
        source=said("source", default=source),
        licence=said("licence", "license", default="unknown"),
        group=said("group", default="") or text_key(text),
        spans=spans,
    )
