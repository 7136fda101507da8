"""Files that are whole or absent, and their hashes."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmscope.core.errors import ArtifactError


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`; renamed onto it, synced, when the block ends well.

    Whatever stood at `path` stays untouched if the block raises. The temporary file is removed.

    Raises:
        ArtifactError: The disk is full or the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise ArtifactError(write_failure(path, error)) from error
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise ArtifactError(write_failure(path, error)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """A temporary folder beside `path`; renamed onto it, synced, when the block ends well.

    A folder that stood at `path` is replaced; it stays untouched if the block raises.

    Raises:
        ArtifactError: The disk is full or the parent folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise ArtifactError(write_failure(path, error)) from error
    try:
        yield temporary
        for inner in [*temporary.rglob("*"), temporary]:
            _sync(inner)
        temporary.chmod(0o755)
        if path.exists():
            old = temporary.with_suffix(".old.part")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise ArtifactError(write_failure(path, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file that is whole or absent."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_file(path: Path | str) -> str:
    """The file's SHA-256 as 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_is_full(error: OSError) -> bool:
    """Whether writing failed because no space, or no quota, is left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_failure(path: Path, error: OSError) -> str:
    """Why a file or folder could not be written, as one sentence."""
    if disk_is_full(error):
        return f"The disk is full: '{path}' was not written and nothing before it was lost. Free space and resume."
    return f"'{path}' cannot be written: {error.strerror or error}."
