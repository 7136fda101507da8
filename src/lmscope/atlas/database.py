"""SQLite files of an atlas: opened for one writer or any number of readers, sealed, and their errors in words."""

import hashlib
import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from lmscope.core.errors import ArtifactError
from lmscope.core.files import atomic_path

APPLICATION_ID: Final = 0x6C6D7361
"""`lmsa`, in the header of every SQLite file of an atlas."""

_NETWORKED: Final = re.compile(
    r"nfs\d?|cifs|smb\w*|lustre|gpfs|beegfs|ceph|glusterfs|panfs|pvfs2|orangefs|afs|9p|virtiofs|drvfs"
    r"|fuse\.(sshfs|s3fs|gcsfuse|glusterfs|ceph|juicefs|rclone)"
)
"""File systems on which SQLite's write-ahead log, shared memory among processes, is not safe."""
_MOUNTS: Final = Path("/proc/mounts")
_WAIT_S: Final = 10.0


def network_file_system(path: Path | str) -> str | None:
    """The kind of network file system that a path lies on, e.g. `nfs4`; None on a local disk.

    Where the machine does not list its mounts, disks are taken to be local.
    """
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    place = Path(path).resolve()
    kind, longest = None, -1
    for line in lines:
        words = line.split(" ")
        if len(words) < 3:
            continue
        # Spaces and the like stand as octal escapes there.
        mount = Path(words[1].encode().decode("unicode_escape"))
        # Of mounts on one place the later one is seen.
        if place.is_relative_to(mount) and len(mount.parts) >= longest:
            kind, longest = words[2], len(mount.parts)
    return kind if kind is not None and _NETWORKED.fullmatch(kind) else None


class WorkingFile:
    """A SQLite file while it is being written, in WAL mode, so that readers never wait.

    On a network file system, where that mode is not safe, it lies in the temporary folder of this
    machine until it is sealed.

    Attributes:
        path: Where it lies.
        notice: A sentence for the user when that is not where it was asked for.
    """

    def __init__(self, wanted: Path | str) -> None:
        wanted = Path(wanted)
        kind = network_file_system(wanted)
        self.path, self.notice = wanted, None
        if kind is not None:
            name = hashlib.sha256(str(wanted.resolve()).encode()).hexdigest()[:16]
            self.path = Path(tempfile.gettempdir()) / f"lmscope-{os.getuid()}-{name}" / wanted.name
            self.notice = (
                f"'{wanted.parent}' lies on a network file system ({kind}), where SQLite cannot share a file "
                f"that is being written: it is written at '{self.path}' and moved when it is whole."
            )

    def open(self, schema: str, version: int) -> sqlite3.Connection:
        """The file, made with its tables if it is not there.

        Raises:
            ArtifactError: It cannot be written, is no file of ours, or has another schema version.
        """
        with reported(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                with transaction(connection):
                    if not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
                        make_tables(connection, schema, version)
                check_header(connection, self.path, version)
            except BaseException:
                connection.close()
                raise
            return connection

    def remove(self) -> None:
        """Delete it with what SQLite keeps beside it."""
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)


def make_tables(connection: sqlite3.Connection, schema: str, version: int) -> None:
    """Make the tables of a schema, statement by statement, within the caller's transaction."""
    for statement in schema.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")


def check_header(connection: sqlite3.Connection, path: Path, version: int) -> int:
    """The file's schema version, if it is one of ours and not newer than `version`.

    Raises:
        ArtifactError: It is neither.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise ArtifactError(f"'{path}' is no file of an atlas: check the path.")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > version:
        raise ArtifactError(
            f"'{path}' has schema {found}, this lmscope reads up to {version}: upgrade lmscope."
        )
    return found


def open_for_reading(path: Path | str) -> sqlite3.Connection:
    """A SQLite file, which this connection cannot change.

    A sealed file is opened as one that nobody changes, which needs no locks and so works on any
    file system; one with a write-ahead log beside it is read while its writer goes on.

    Raises:
        ArtifactError: It is not there, or no SQLite file.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"There is no file at '{path}': check the path.")
    with reported(path):
        options = "mode=ro" if _is_being_written(path) else "mode=ro&immutable=1"
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?{options}",
            uri=True,
            timeout=_WAIT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA mmap_size = 1073741824")
            connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection


def _is_being_written(path: Path) -> bool:
    if path.with_name(path.name + "-wal").exists():
        return True
    with path.open("rb") as file:
        header = file.read(20)
    return len(header) == 20 and header[18:20] == b"\x02\x02"


def seal(
    connection: sqlite3.Connection,
    target: Path | str,
    finish: Callable[[sqlite3.Connection], None] | None = None,
) -> Path:
    """Write what a connection sees as one file that needs no other beside it.

    Rows are copied in the order of their keys, so equal content gives equal bytes, however often
    the writing was interrupted.

    Args:
        connection: A working file.
        target: The file to write.
        finish: Adds to the copy what follows from its rows, such as an index of words.

    Raises:
        ArtifactError: The disk is full or the folder cannot be written.
    """
    target = Path(target)
    with atomic_path(target) as temporary, reported(target):
        temporary.unlink()
        connection.execute("VACUUM INTO ?", (str(temporary),))
        copy = sqlite3.connect(temporary, isolation_level=None)
        try:
            copy.execute("PRAGMA journal_mode = DELETE")
            if finish is not None:
                with transaction(copy):
                    finish(copy)
                copy.execute("VACUUM")
        finally:
            copy.close()
    return target


class TableWriter:
    """A SQLite file while a run writes it; opening the same path again goes on with what was written.

    Args:
        path: The working file. It is no artifact: sealing makes the one that is.
        schema: Statements that make its tables, a table `meta` among them.
        version: Of the schema.
        key: Of the row of `meta` that says what the file is.
        meta: What it is.

    Attributes:
        notice: A sentence for the user if the file had to be put elsewhere; else None.

    Raises:
        ArtifactError: The file cannot be written, or holds something else.
    """

    def __init__(
        self, path: Path | str, schema: str, version: int, key: str, meta: dict[str, Any]
    ) -> None:
        self._file = WorkingFile(path)
        self.notice = self._file.notice
        self._connection = self._file.open(schema, version)
        try:
            self._take_meta(key, json.dumps(meta, sort_keys=True))
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the working file; it can be opened again."""
        self._connection.close()

    def remove(self) -> None:
        """Close and delete the working file."""
        self.close()
        self._file.remove()

    @contextmanager
    def _block(self) -> Iterator[None]:
        with reported(self._file.path), transaction(self._connection):
            yield

    def _take_meta(self, key: str, wanted: str) -> None:
        with self._block():
            query = "SELECT value FROM meta WHERE key = ?"
            row = self._connection.execute(query, (key,)).fetchone()
            if row is None:
                self._connection.execute("INSERT INTO meta VALUES (?, ?)", (key, wanted))
        if row is not None and row[0] != wanted:
            raise ArtifactError(
                f"'{self._file.path}' was begun for something else ({_difference(row[0], wanted)}): "
                "delete it, or use another run."
            )


def read_meta(connection: sqlite3.Connection, path: Path, key: str, what: str) -> dict[str, Any]:
    """What a file says of itself.

    Args:
        connection: The file.
        path: For the message.
        key: Of the row of `meta`.
        what: The thing that should be there, e.g. `census`.

    Raises:
        ArtifactError: It is not there.
    """
    with reported(path):
        tables = "SELECT 1 FROM sqlite_schema WHERE name = 'meta'"
        query = "SELECT value FROM meta WHERE key = ?"
        row = connection.execute(tables).fetchone()
        row = row and connection.execute(query, (key,)).fetchone()
    if row is None:
        raise ArtifactError(f"'{path}' holds no {what}: check the path, or make it anew.")
    return json.loads(row[0])


def _difference(found: str, wanted: str) -> str:
    a: dict[str, Any] = json.loads(found)
    b: dict[str, Any] = json.loads(wanted)
    key = min(key for key in {*a, *b} if a.get(key) != b.get(key))
    return f"{key} was {a.get(key)!r} and now is {b.get(key)!r}"


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written in the block, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def reported(path: Path | str) -> Iterator[None]:
    """SQLite's own errors as one sentence each.

    Raises:
        ArtifactError: The file is damaged, in use, or cannot be read or written; the disk is full.
    """
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        raise ArtifactError(_sentence(Path(path), error)) from None


def _sentence(path: Path, error: sqlite3.DatabaseError) -> str:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return (
            f"The disk is full: '{path}' was not written and nothing before it was lost. "
            "Free space and resume."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"'{path}' is damaged ({error}): copy it again, or make it anew."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"'{path}' is being written by another process: wait until it ends."
    return f"'{path}' cannot be used: {error}."
