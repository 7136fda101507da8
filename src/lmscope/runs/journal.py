"""Journal: a file of JSON lines that only grows, and survives being cut off."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmscope.core.errors import RunError
from lmscope.core.files import disk_is_full, write_text


class Journal:
    """JSON lines of one file, each written by one system call.

    Numbers that are not finite are written as null: JSON has none.

    Args:
        path: The file; made when the first line is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def append(self, values: Mapping[str, Any]) -> None:
        """Add one line; on failure the file is as long as before.

        Raises:
            RunError: The disk is full or the file cannot be written.
        """
        line = (json.dumps(_plain(values), allow_nan=False) + "\n").encode()
        try:
            if self._handle < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._handle = os.open(self.path, flags, 0o644)
            size = os.fstat(self._handle).st_size
            if os.write(self._handle, line) < len(line):
                os.ftruncate(self._handle, size)
                raise RunError(_full(self.path))
        except OSError as error:
            reason = f"'{self.path}' cannot be written: {error.strerror}."
            raise RunError(_full(self.path) if disk_is_full(error) else reason) from error

    def sync(self) -> None:
        """Have the lines so far on the disk itself before going on."""
        if self._handle >= 0:
            os.fsync(self._handle)

    def close(self) -> None:
        """Give the file back; a later `append` opens it again."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def rows(self) -> list[dict[str, Any]]:
        """All whole lines, oldest first; a last line that was cut off is left out.

        Raises:
            RunError: A line is damaged.
        """
        return [json.loads(line) for line in self._whole_lines()]

    def keep(self, wanted: Callable[[dict[str, Any]], bool] = lambda row: True) -> None:
        """Drop the lines that are not wanted, and a last line that was cut off.

        Raises:
            RunError: A line is damaged.
            ArtifactError: The file cannot be written.
        """
        if not self.path.exists():
            return
        self.close()
        kept = [line for line in self._whole_lines() if wanted(json.loads(line))]
        text = "".join(line + "\n" for line in kept)
        if text.encode() != self.path.read_bytes():
            write_text(self.path, text)

    def _whole_lines(self) -> list[str]:
        try:
            text = self.path.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"'{self.path}' cannot be read: {error.strerror}.") from None
        lines = text.split("\n")[:-1]  # what follows the last newline was cut off
        for number, line in enumerate(lines, 1):
            if not _is_object(line):
                raise RunError(
                    f"Line {number} of '{self.path}' is damaged: remove that line to go on."
                )
        return lines


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _plain(value: Any) -> Any:
    """The value as JSON holds it; numpy and torch scalars become numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "item"):
        value = value.item()
        return value if isinstance(value, str | bool | int) else _plain(float(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def _full(path: Path) -> str:
    return f"The disk is full: '{path}' was not written and nothing before it was lost. Free space and resume."
