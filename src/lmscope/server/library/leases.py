"""OpenAtlases: atlases that stay open between requests, one user at a time each."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lmscope.atlas.atlas import Atlas
from lmscope.core.errors import ArtifactError
from lmscope.server.library.entries import AtlasEntry, Signature

_MOST: Final = 16
"""Atlases that stay open while nobody uses them; each holds a few files and what it cached."""
_Key = tuple[Path, Signature]


@dataclass
class _Opened:
    lock: threading.RLock = field(default_factory=threading.RLock)
    atlas: Atlas | None = None
    n_users: int = 0
    is_stale: bool = False


class OpenAtlases:
    """Atlases by path and state of their files. Each is used by one thread at a time; several wait.

    SQLite connections and caches of an atlas are shared by all requests, which is why they take turns.

    Args:
        most: Unused ones that stay open, those used last.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._opened: dict[_Key, _Opened] = {}

    @contextmanager
    def lease(self, entry: AtlasEntry) -> Iterator[Atlas]:
        """The atlas, for this thread alone within the block.

        Raises:
            ArtifactError: It cannot be opened.
        """
        key = (entry.path, entry.signature)
        with self._lock:
            # Put back at the end: the first ones are those not used for longest.
            opened = self._opened.pop(key, None) or _Opened()
            self._opened[key] = opened
            opened.n_users += 1
        try:
            with opened.lock:
                if opened.atlas is None:
                    opened.atlas = _open(entry.path)
                yield opened.atlas
        finally:
            with self._lock:
                opened.n_users -= 1
                if opened.atlas is None and not opened.n_users and not opened.is_stale:
                    del self._opened[key]
            self._close_unused()

    def keep(self, entries: Collection[AtlasEntry]) -> None:
        """Close those that are not among these, as soon as nobody uses them."""
        wanted = {(entry.path, entry.signature) for entry in entries}
        with self._lock:
            for key in [key for key in self._opened if key not in wanted]:
                opened = self._opened.pop(key)
                opened.is_stale = True
                if not opened.n_users:
                    _close(opened)
                else:
                    self._opened[key] = opened
        self._close_unused()

    def close(self) -> None:
        """Close all; those in use when they are given back."""
        self.keep(())

    def _close_unused(self) -> None:
        with self._lock:
            unused = [key for key, opened in self._opened.items() if not opened.n_users]
            surplus = set(unused[: max(0, len(unused) - self._most)])
            for key in unused:
                if key in surplus or self._opened[key].is_stale:
                    _close(self._opened.pop(key))


def _open(path: Path) -> Atlas:
    try:
        return Atlas.open(path)
    except OSError as error:  # a file went between two looks at it
        raise ArtifactError(f"'{path}' cannot be read: {error.strerror or error}.") from None


def _close(opened: _Opened) -> None:
    if opened.atlas is not None:
        opened.atlas.close()
        opened.atlas = None
