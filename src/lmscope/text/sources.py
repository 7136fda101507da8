"""Documents from files and from memory."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lmscope.core.errors import DataError, did_you_mean
from lmscope.core.files import sha256_file
from lmscope.text.document import Document, DocumentSource, text_key
from lmscope.text.lines import read_lines
from lmscope.text.rows import RowReader, missing_column

FORMATS: Final = (
    ".txt",
    ".txt.gz",
    ".txt.zst",
    ".jsonl",
    ".jsonl.gz",
    ".jsonl.zst",
    ".parquet",
)
"""Ends of the file names that can be read."""
_PARQUET_ROWS = 256
_GLOB_MARKS = frozenset("*?[")


@dataclass(frozen=True)
class FileSource(DocumentSource):
    """Documents of one or many files, read one after the other in the order of their names.

    Attributes:
        name: What the user called the files.
        paths: The files.
        reader: Makes documents of rows (JSON Lines, Parquet).
        separator: The line that stands between two documents of a `.txt` file; None: each file is
            one document, held in memory whole.
    """

    name: str
    paths: tuple[Path, ...]
    reader: RowReader
    separator: str | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of the files' bytes and of how they are read; their names do not count."""
        files = [(_format(path), sha256_file(path)) for path in self.paths]
        return digest("files", files, self.reader.fingerprint, self.separator)

    def documents(self) -> Iterator[Document]:
        """Every document that has text.

        Raises:
            DataError: A file is damaged, not UTF-8, lacks the column or holds a bad line.
        """
        for path in self.paths:
            if _format(path).startswith(".txt"):
                documents = _text_documents(path, self.separator)
            elif _format(path) == ".parquet":
                documents = _parquet_documents(path, self.reader)
            else:
                documents = _json_documents(path, self.reader)
            yield from (document for document in documents if document.text)


@dataclass(frozen=True)
class MemorySource(DocumentSource):
    """Documents that are already there."""

    name: str
    items: tuple[Document, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of the texts, their spans and their groups."""
        items = [
            (d.id, d.group, text_key(d.text), [(s.start, s.end, s.role) for s in d.spans])
            for d in self.items
        ]
        return digest("memory", items)

    def documents(self) -> Iterator[Document]:
        """Every document that has text."""
        return (document for document in self.items if document.text)


def find_files(source: str) -> tuple[Path, ...]:
    """The files that a path, a folder or a glob means, ordered by name.

    Raises:
        DataError: Nothing is there, or nothing that can be read; the message names near matches.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and _format(p))
        if not found:
            raise DataError(
                f"The folder '{source}' holds no text that can be read: put in files that end in "
                f"{', '.join(FORMATS)}."
            )
        return tuple(found)
    if not path.exists() and _GLOB_MARKS & set(source):
        root = Path(path.anchor) if path.is_absolute() else Path()
        pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else str(path)
        found = sorted(p for p in root.glob(pattern) if p.is_file() and _format(p))
        if not found:
            raise DataError(f"No file that can be read matches '{source}'.")
        return tuple(found)
    if not path.exists():
        raise _missing(source, path)
    if not _format(path):
        raise DataError(
            f"'{source}' is of no known format: its name must end in {', '.join(FORMATS)}."
        )
    return (path,)


def digest(*parts: Any) -> str:
    """Thirty-two hex digits of plain values."""
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def documents_from_texts(texts: Sequence[str], name: str) -> tuple[Document, ...]:
    """Plain texts as documents named by their place."""
    return tuple(
        Document(f"{name}:{i}", text, f"{name}:{i}", name, "unknown", text_key(text))
        for i, text in enumerate(texts)
    )


def _format(path: Path) -> str:
    return next((end for end in FORMATS if path.name.lower().endswith(end)), "")


def _missing(source: str, path: Path) -> DataError:
    if not path.parent.is_dir():
        return DataError(f"There is no '{source}': the folder '{path.parent}' does not exist.")
    known = did_you_mean(path.name, (p.name for p in path.parent.iterdir()))
    return DataError(
        f"There is no '{source}'.{known} Give a file, a folder, a glob, 'sample', 'hf:NAME' or 'othello:6'."
    )


def _text_documents(path: Path, separator: str | None) -> Iterator[Document]:
    def document(parts: list[str]) -> Document:
        text = "".join(parts)
        place = path.name if separator is None else f"{path.name}:{first}"
        return Document(place, text, place, path.name, "unknown", text_key(text))

    parts: list[str] = []
    first = 1
    for number, line in read_lines(path):
        if separator is not None and line.strip() == separator:
            yield document(parts)
            parts, first = [], number + 1
        else:
            parts.append(line)
    yield document(parts)


def _json_documents(path: Path, reader: RowReader) -> Iterator[Document]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"'{path}' line {number} is not JSON: {error}. Mend or remove the line."
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f"'{path}' line {number} holds {type(row).__name__}, not an object: write "
                f'{{"{reader.column}": ...}} on every line.'
            )
        yield reader.document(row, f"{path.name}:{number}", path.name)


def _parquet_documents(path: Path, reader: RowReader) -> Iterator[Document]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"'{path}' needs pyarrow: run pip install pyarrow.") from None
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if reader.column not in file.schema_arrow.names:
                raise missing_column(reader.column, file.schema_arrow.names, f"'{path}'")
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield reader.document(row, f"{path.name}:{number}", path.name)
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"'{path}' is not a whole Parquet file: {reason}.") from None
