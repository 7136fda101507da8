"""Schema versions of census.sqlite: older files are brought up to date, one version at a time."""

import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lmscope.atlas.config import SCHEMA_VERSION
from lmscope.atlas.database import transaction
from lmscope.core.errors import ArtifactError

Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: Final[Mapping[int, Migration]] = {}
"""By the version that each starts from; version 1 is the first that was ever written."""


def migrate(
    connection: sqlite3.Connection,
    migrations: Mapping[int, Migration],
    version: int,
    path: Path | str,
) -> None:
    """Bring a file up to a version, each step whole or not at all.

    Args:
        connection: The file.
        migrations: By the version that each starts from.
        version: The one to reach.
        path: For the message.

    Raises:
        ArtifactError: The file is too old: no migration starts from its version.
    """
    while (found := connection.execute("PRAGMA user_version").fetchone()[0]) < version:
        if found not in migrations:
            raise ArtifactError(
                f"'{path}' has schema {found}, this lmscope reads from {min(migrations, default=version)} "
                "on: build the atlas anew."
            )
        with transaction(connection):
            migrations[found](connection)
            connection.execute(f"PRAGMA user_version = {found + 1}")


def migrated_copy(
    source: sqlite3.Connection,
    path: Path | str,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    version: int = SCHEMA_VERSION,
) -> sqlite3.Connection:
    """A temporary copy of an older file in the newest schema; it vanishes with its connection.

    The file itself, whose hash its manifest names, stays as it is. `source` is closed if all goes well.

    Raises:
        ArtifactError: As of `migrate`.
    """
    handle = tempfile.NamedTemporaryFile(prefix="lmscope-", suffix=".sqlite")  # noqa: SIM115
    copy = sqlite3.connect(handle.name, isolation_level=None, check_same_thread=False)
    try:
        source.backup(copy)
        migrate(copy, migrations, version, path)
        copy.execute("PRAGMA query_only = ON")
        # Unlinked while open: the system frees it when the connection closes.
        handle.close()
    except BaseException:
        copy.close()
        handle.close()
        raise
    source.close()
    return copy
