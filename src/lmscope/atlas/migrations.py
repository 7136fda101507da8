"""Schema versions of census.sqlite: older files are brought up to date, one version at a time."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from lmscope.atlas.config import SCHEMA_VERSION
from lmscope.atlas.database import open_for_reading, reported, transaction
from lmscope.core.errors import ArtifactError

Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: Final[dict[int, Migration]] = {}
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


@contextmanager
def migrated_copy(
    path: Path,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    version: int = SCHEMA_VERSION,
) -> Iterator[Path]:
    """A temporary copy of an older file in the newest schema, for as long as the block lasts.

    The file itself, whose hash its manifest names, stays as it is.

    Raises:
        ArtifactError: As of `migrate`.
    """
    with tempfile.TemporaryDirectory(prefix="lmscope-") as folder, reported(path):
        place = Path(folder) / path.name
        with (
            closing(open_for_reading(path)) as source,
            closing(sqlite3.connect(place, isolation_level=None)) as copy,
        ):
            source.backup(copy)
            migrate(copy, migrations, version, path)
        yield place
