"""What people make of a graph, beside it: saved views and tests of its claims, one file each."""

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from lmscope.core.errors import ArtifactError
from lmscope.core.files import write_text
from lmscope.server.failures import WrongInput
from lmscope.server.library.graphs import GraphEntry

VIEWS: Final = ".views.json"
TESTS: Final = ".tests.json"
FORMAT: Final = 1
MAX_VIEWS: Final = 100
MAX_TESTS: Final = 1_000
MAX_BYTES: Final = 8 * 2**20
"""Of one file."""
_Changed = TypeVar("_Changed")


class GraphNotes:
    """Reads and writes them; files are whole or absent, and changes come one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def views(self, entry: GraphEntry) -> dict[str, Any]:
        """Saved views by name, as plain values.

        Raises:
            ArtifactError: The file is damaged.
        """
        found = _read(entry.beside(VIEWS), "views", {})
        if not isinstance(found, dict):
            raise _damaged(entry.beside(VIEWS), "it holds no table")
        return found

    def tests(self, entry: GraphEntry) -> list[dict[str, Any]]:
        """Tests, oldest first.

        Raises:
            ArtifactError: The file is damaged.
        """
        found = _read(entry.beside(TESTS), "tests", [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise _damaged(entry.beside(TESTS), "it holds no list")
        return found

    def save_view(self, entry: GraphEntry, name: str, view: Mapping[str, Any]) -> None:
        """Put a view in the place of one of its name.

        Raises:
            WrongInput: There are too many, or they are too large.
            ArtifactError: The file is damaged or cannot be written.
        """
        with self._lock:
            views = self.views(entry)
            if name not in views and len(views) >= MAX_VIEWS:
                raise WrongInput(f"A graph keeps {MAX_VIEWS} views. Delete one first.")
            _write(entry.beside(VIEWS), "views", {**views, name: view})

    def delete_view(self, entry: GraphEntry, name: str) -> bool:
        """Forget a view; whether it was there.

        Raises:
            ArtifactError: The file is damaged or cannot be written.
        """
        with self._lock:
            views = self.views(entry)
            if name not in views:
                return False
            _write(entry.beside(VIEWS), "views", {k: v for k, v in views.items() if k != name})
            return True

    def add_test(
        self, entry: GraphEntry, make: Callable[[str], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Keep a test behind those that are there.

        Args:
            entry: The graph.
            make: From the test's number, as a text, to its values.

        Raises:
            WrongInput: There are too many.
            ArtifactError: The file is damaged or cannot be written.
        """
        with self._lock:
            tests = self.tests(entry)
            self.check_room(tests)
            number = max(
                (int(one["id"]) for one in tests if str(one.get("id")).isdecimal()), default=0
            )
            made = make(str(number + 1))
            _write(entry.beside(TESTS), "tests", [*tests, made])
            return made

    def check_room(self, tests: list[dict[str, Any]]) -> None:
        """Refuse a test more than are kept.

        Raises:
            WrongInput: There are too many.
        """
        if len(tests) >= MAX_TESTS:
            raise WrongInput(
                f"A graph keeps {MAX_TESTS:,} tests. Move its file of tests away to begin anew."
            )


def _read(path: Path, key: str, empty: _Changed) -> Any | _Changed:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _damaged(path, "it is too large")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return empty
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise _damaged(path, "it has another format")
    return values.get(key, empty)


def _write(path: Path, key: str, values: Any) -> None:
    text = json.dumps(
        {"format": FORMAT, key: values}, indent=1, ensure_ascii=False, allow_nan=False
    )
    if len(text.encode()) > MAX_BYTES:
        raise WrongInput(
            f"What is kept beside a graph may have {MAX_BYTES:,} bytes. Delete some first."
        )
    write_text(path, text + "\n")


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(f"'{path}' is damaged: {why}. Move it away to begin anew.")
