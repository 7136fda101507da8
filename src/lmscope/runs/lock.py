"""FolderLock: one writer for a folder, for as long as the process lives."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from lmscope.core.errors import RunError

LOCK_FILE: Final = ".lock"
_TRIES, _PAUSE_S = 5, 0.02


class FolderLock:
    """The exclusive right to write a folder.

    The operating system holds it (flock on `.lock`), so it vanishes with the process even when that
    is killed. Another opening of the same folder is refused within one process too.

    Args:
        folder: An existing folder.

    Raises:
        RunError: Another process has it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        try:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunError(f"'{folder}' cannot be written: {error.strerror}.") from None
        if not _acquire(self._handle):
            owner = os.pread(self._handle, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._handle)
            raise RunError(
                f"'{folder}' is in use by process {owner}: wait until it ends, or use another folder."
            )
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def release(self, *, remove: bool = False) -> None:
        """Give the folder free; a second call does nothing.

        Args:
            remove: Take the lock file away, for a folder that nobody may write again.
        """
        if self._handle < 0:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = -1


def is_locked(folder: Path) -> bool:
    """Whether some process is writing the folder now; takes nothing away from it."""
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared and only for this moment; `_acquire` tries again rather than stumble over it.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _acquire(handle: int) -> bool:
    for attempt in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < _TRIES:
                time.sleep(_PAUSE_S)
        else:
            return True
    return False
