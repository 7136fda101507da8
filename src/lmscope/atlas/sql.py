"""Read-only SQL on an atlas: nothing can be changed, no other file opened, nothing runs for ever."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lmscope.atlas.database import open_for_reading, reported
from lmscope.core.errors import ArtifactError, BudgetError, RecipeError
from lmscope.display.tables import Cell, Table

_READING: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
_STEPS: Final = 10_000
"""Steps of SQLite's machine between two looks at the clock."""
_LARGEST_VALUE: Final = 1 << 24


@dataclass(frozen=True)
class SqlResult:
    """What a query gave.

    Attributes:
        columns: Their names.
        rows: At most as many as were asked for.
        is_cut: Whether there are more.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_cut: bool

    def table(self) -> Table:
        """As a table for people."""
        more = f"The first {len(self.rows)} rows; there are more." if self.is_cut else None
        return Table(self.columns, self.rows, caption=more)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def run_query(
    files: dict[str, Path],
    query: str,
    *,
    functions: dict[str, Callable[[Any], Any]],
    limit: int,
    timeout_s: float,
) -> SqlResult:
    """Run one SELECT on files of an atlas.

    Args:
        files: By the name that the query knows each by; the first is `main`.
        query: The SELECT.
        functions: Of one argument, that the query may call.
        limit: At most so many rows are given back.
        timeout_s: Longest time.

    Raises:
        RecipeError: The query cannot be run, does something else than read, or is more than one.
        BudgetError: It took longer.
        ArtifactError: A file is damaged.
    """
    main, *others = files.values()
    with closing(open_for_reading(main)) as connection:
        for name, path in zip(list(files)[1:], others, strict=True):
            with reported(path):
                uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
                connection.execute(f"ATTACH ? AS {name}", (uri,))
        for name, function in functions.items():
            connection.create_function(name, 1, function, deterministic=True)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
        connection.set_authorizer(_only_reading)
        end = time.monotonic() + timeout_s
        connection.set_progress_handler(lambda: int(time.monotonic() > end), _STEPS)
        return _rows(connection, main, query, limit, timeout_s)


def _rows(
    connection: sqlite3.Connection, path: Path, query: str, limit: int, timeout_s: float
) -> SqlResult:
    try:
        with closing(connection.execute(query)) as cursor:
            found = cursor.fetchmany(limit + 1)
            columns = tuple(column[0] for column in cursor.description or ())
    except sqlite3.DatabaseError as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            raise BudgetError(
                f"The query took longer than {timeout_s:g} s: narrow it, or allow more time."
            ) from None
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise ArtifactError(f"'{path}' is damaged ({error}): copy it again.") from None
        raise RecipeError(_sentence(error, code)) from None
    except sqlite3.Warning as error:
        raise RecipeError(f"The query cannot be run: {error}") from None
    if not columns:
        raise RecipeError("The query gives no columns: write one SELECT.")
    rows = tuple(tuple(_cell(value) for value in row) for row in found[:limit])
    return SqlResult(columns, rows, len(found) > limit)


def _sentence(error: sqlite3.DatabaseError, code: int) -> str:
    if code in (sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY):
        return f"Queries can only read ({error}): write one SELECT."
    return f"The query cannot be run: {error}."


def _only_reading(action: int, *_details: Any) -> int:
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _cell(value: Any) -> Cell:
    return f"{len(value)} bytes" if isinstance(value, bytes) else value
