"""Rows of files: lines with a label ahead, tables and JSON lines, plain or compressed."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lmscope.core.errors import DataError, did_you_mean
from lmscope.text.lines import Line, read_lines
from lmscope.text.tasks.choices.task import Layout

csv.field_size_limit(1 << 24)  # a long document is no mistake here


class Row(NamedTuple):
    """One row and the line that it ends on, from 1."""

    number: int
    values: dict[str, Any]


def file_rows(path: Path, layout: Layout) -> Iterator[Row]:
    """The rows of a file that are not blank, by column.

    Raises:
        DataError: The file is absent, damaged, in another encoding or of another format; the message names the line.
    """
    if not path.is_file():
        raise _missing(path)
    lines = read_lines(path) if layout.encoding == "utf-8" else _latin_lines(path)
    if layout.format == "label-first":
        yield from _label_first_rows(lines)
    elif layout.format == "table":
        yield from _table_rows(path, lines, layout)
    else:
        yield from _json_rows(path, lines)


def plain_name(path: Path) -> str:
    """A file's name in small letters without the mark of compression."""
    name = path.name.lower()
    return name.removesuffix(".gz").removesuffix(".zst")


def _missing(path: Path) -> DataError:
    if path.is_dir():
        return DataError(f"'{path}' is a folder: give the file of examples in it.")
    if not path.parent.is_dir():
        return DataError(f"There is no '{path}': the folder '{path.parent}' does not exist.")
    near = did_you_mean(path.name, (entry.name for entry in path.parent.iterdir()))
    return DataError(f"There is no '{path}'.{near} Check the path of the file of examples.")


def _latin_lines(path: Path) -> Iterator[Line]:
    """Lines of a Latin-1 file: every byte is a character, and only a line feed ends a line."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                yield Line(number, bytes(line).decode("latin-1"))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"'{path}' is damaged or cut off ({error}): fetch or compress it again."
        ) from None
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from None


def _label_first_rows(lines: Iterator[Line]) -> Iterator[Row]:
    for number, line in lines:
        if not line.strip():
            continue
        label, _, text = line.strip().partition(" ")
        yield Row(number, {"label": label, "text": text.strip()})


def _table_rows(path: Path, lines: Iterator[Line], layout: Layout) -> Iterator[Row]:
    # csv takes a line's end as it is, so a quoted cell may run over several lines.
    reader = csv.reader(
        (line.text for line in lines),
        delimiter=layout.separator,
        quoting=csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE,
        strict=True,
    )
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None and layout.header:
                header = [cell.strip() for cell in cells]
                continue
            names = header or [str(i) for i in range(1, len(cells) + 1)]
            if len(cells) != len(names):
                raise DataError(
                    f"'{path}' line {reader.line_num} has {len(cells)} cells and the header {len(names)}: mend the "
                    "line, or check the separator and the quotation marks of the layout."
                )
            yield Row(reader.line_num, dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise DataError(
            f"'{path}' line {reader.line_num} is no row of a table: {error}. Mend the line, or check the separator "
            "and the quotation marks of the layout."
        ) from None


def _json_rows(path: Path, lines: Iterator[Line]) -> Iterator[Row]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"'{path}' line {number} is not JSON: {error}. Mend or remove the line."
            ) from None
        if not isinstance(values, dict):
            raise DataError(
                f"'{path}' line {number} holds {type(values).__name__}, not an object: write one object a line."
            )
        yield Row(number, values)
