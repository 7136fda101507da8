"""census.sqlite: one row a latent, written while a census runs, sealed when it is whole.

The working file takes blocks of records in transactions, so that a killed census goes on where it
was. The sealed file has equal bytes for equal censuses, changes no more, and is read without locks.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from jaxtyping import Float16, Float32

from lmscope.atlas import migrations
from lmscope.atlas.codec import RecordCodec, Scalars, scalars_of
from lmscope.atlas.config import SCHEMA_VERSION, AtlasMeta
from lmscope.atlas.database import (
    TableWriter,
    check_header,
    open_for_reading,
    read_meta,
    reported,
    seal,
)
from lmscope.atlas.record import LatentRecord
from lmscope.core.errors import ArtifactError

ATLAS_KIND: Final = "atlas"
"""Of its manifest."""
ATLAS_FORMAT: Final = 1
META_KEY: Final = "atlas"
"""Of the row of `meta` that holds AtlasMeta."""
CENSUS_FILE: Final = "census.sqlite"
VECTORS_FILE: Final = "vectors.safetensors"
VECTORS_NAME: Final = "W_dec"

CENSUS_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE latent (
    id INTEGER PRIMARY KEY,
    n_fired INTEGER NOT NULL,
    density REAL NOT NULL,
    mean REAL NOT NULL,
    max REAL NOT NULL,
    n_stretches INTEGER NOT NULL,
    n_documents INTEGER NOT NULL,
    document_share REAL NOT NULL,
    peak_token INTEGER,
    dead INTEGER NOT NULL,
    dense INTEGER NOT NULL,
    blob BLOB NOT NULL
);
CREATE TABLE token_latent (
    token INTEGER NOT NULL,
    latent INTEGER NOT NULL,
    n_fired INTEGER NOT NULL,
    PRIMARY KEY (token, latent)
) WITHOUT ROWID;
CREATE INDEX latent_density ON latent (density);
CREATE INDEX latent_max ON latent (max);
CREATE INDEX latent_peak_token ON latent (peak_token);
"""
_SCALARS: Final = "id, n_fired, density, mean, max, n_stretches, n_documents, document_share"


class CensusWriter(TableWriter):
    """Takes the records of a census, in blocks, and seals them.

    Opening the same path again goes on with what was written.

    Args:
        path: The working file. It is no artifact: `seal` makes the one that is.
        meta: What the atlas says of itself.

    Attributes:
        notice: A sentence for the user if the file had to be put elsewhere; else None.

    Raises:
        ArtifactError: The file cannot be written, or holds another census.
    """

    def __init__(self, path: Path | str, meta: AtlasMeta) -> None:
        self.meta = meta
        self._codec = RecordCodec(meta.context_length, meta.options.stretch)
        super().__init__(path, CENSUS_TABLES, SCHEMA_VERSION, META_KEY, meta.to_mapping())

    def __enter__(self) -> "CensusWriter":
        return self

    @property
    def n_written(self) -> int:
        """Records that are there."""
        with reported(self._file.path):
            return self._connection.execute("SELECT count(*) FROM latent").fetchone()[0]

    def written(self) -> frozenset[int]:
        """The latents whose records are there."""
        with reported(self._file.path):
            rows = self._connection.execute("SELECT id FROM latent")
            return frozenset(row[0] for row in rows)

    def append(self, records: Iterable[LatentRecord]) -> None:
        """Write records, all of them or none; one that is there already is replaced.

        Raises:
            ArtifactError: The disk is full, or a record names a latent that the dictionary has not.
        """
        with self._block():
            for record in records:
                self._write(record)

    def seal(self, target: Path | str) -> Path:
        """Write the whole census as one file, of equal bytes for equal censuses.

        The working file stays; `remove` deletes it once the artifact stands.

        Raises:
            ArtifactError: Records are missing, or the disk is full.
        """
        missing = self.meta.n_latents - self.n_written
        if missing:
            raise ArtifactError(
                f"The census lacks the records of {missing} of {self.meta.n_latents} latents: "
                "resume its run before it is sealed."
            )
        return seal(self._connection, target)

    def _write(self, record: LatentRecord) -> None:
        if not 0 <= record.latent < self.meta.n_latents:
            raise ArtifactError(
                f"A record is of latent {record.latent}, the dictionary has {self.meta.n_latents}."
            )
        execute = self._connection.execute
        if execute("SELECT 1 FROM latent WHERE id = ?", (record.latent,)).fetchone():
            # This scans the table, but only after a kill between two blocks.
            execute("DELETE FROM token_latent WHERE latent = ?", (record.latent,))
        execute(
            "INSERT OR REPLACE INTO latent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *scalars_of(record),
                record.peak_token,
                int(record.is_dead),
                int(record.density > self.meta.options.dense_above),
                self._codec.encode(record),
            ),
        )
        self._connection.executemany(
            "INSERT INTO token_latent VALUES (?, ?, ?)",
            [(one.token, record.latent, one.n_fired) for one in record.tokens if one.n_fired],
        )


class CensusReader:
    """Reads census.sqlite or a packed atlas; a working file too, while its writer goes on.

    A file of an older schema is brought up to date in a temporary copy; the file stays as it is.

    Args:
        path: The file.

    Attributes:
        path: The file.
        place: The file that is read: `path`, or the copy.
        meta: What the atlas says of itself.

    Raises:
        ArtifactError: It is not there, damaged, no census, or of a newer schema.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with ExitStack() as stack:
            place = stack.enter_context(_newest(self.path))
            self.connection = stack.enter_context(closing(open_for_reading(place)))
            self.place = place
            values = read_meta(self.connection, self.path, META_KEY, "census")
            self.meta = AtlasMeta.from_mapping(values, f"'{self.path}'")
            self._open = stack.pop_all()
        self._codec = RecordCodec(self.meta.context_length, self.meta.options.stretch)

    def __enter__(self) -> "CensusReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.meta.n_latents

    def record(self, latent: int) -> LatentRecord:
        """One latent's record.

        Raises:
            ArtifactError: The dictionary has no such latent, or its record is not written yet or damaged.
        """
        with reported(self.path):
            query = f"SELECT {_SCALARS}, blob FROM latent WHERE id = ?"
            row = self.connection.execute(query, (latent,)).fetchone()
        if row is None:
            raise ArtifactError(self._absent(latent))
        return self._record(row)

    def records(self, latents: Sequence[int] | None = None) -> Iterator[LatentRecord]:
        """Records in the order asked for; by default all, by number. One is in memory at a time.

        Raises:
            ArtifactError: As of `record`.
        """
        if latents is not None:
            yield from map(self.record, latents)
            return
        query = f"SELECT {_SCALARS}, blob FROM latent ORDER BY id"
        with reported(self.path), closing(self.connection.execute(query)) as rows:
            for row in rows:
                yield self._record(row)

    def on_token(self, token: int, limit: int = 100) -> list[tuple[int, int]]:
        """Latents that have a token among those on which they fire most, with how often they fire on it."""
        with reported(self.path):
            return self.connection.execute(
                "SELECT latent, n_fired FROM token_latent WHERE token = ? "
                "ORDER BY n_fired DESC, latent LIMIT ?",
                (token, limit),
            ).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def _record(self, row: Sequence[Any]) -> LatentRecord:
        return self._codec.decode(Scalars(*row[:-1]), row[-1])

    def _absent(self, latent: int) -> str:
        if not 0 <= latent < self.meta.n_latents:
            return (
                f"There is no latent {latent}: '{self.meta.dictionary}' has {self.meta.n_latents}, "
                f"from 0 to {self.meta.n_latents - 1}."
            )
        return f"The record of latent {latent} is not written yet: wait until the census ends."


@contextmanager
def _newest(path: Path) -> Iterator[Path]:
    with closing(open_for_reading(path)) as connection, reported(path):
        found = check_header(connection, path, SCHEMA_VERSION)
    if found == SCHEMA_VERSION:
        yield path
        return
    with migrations.migrated_copy(path) as copy:
        yield copy


def write_vectors(path: Path | str, rows: Float32[np.ndarray, "latent write"]) -> None:
    """Write decoder rows as float16, for search by vector; meant for a path within a new artifact.

    Raises:
        ArtifactError: A number does not fit float16, which holds up to 65504.
        OSError: The disk is full.
    """
    from safetensors.numpy import save

    if not np.isfinite(rows).all() or np.abs(rows).max(initial=0) > np.finfo(np.float16).max:
        raise ArtifactError("The decoder holds numbers above 65504 or none at all: fold it first.")
    Path(path).write_bytes(save({VECTORS_NAME: rows.astype(np.float16)}))


def read_vectors(path: Path | str) -> Float16[np.ndarray, "latent write"]:
    """The decoder rows of `write_vectors`.

    Raises:
        ArtifactError: The file is absent or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(str(path))[VECTORS_NAME]
    except FileNotFoundError:
        raise ArtifactError(f"There are no vectors at '{path}': copy the atlas again.") from None
    except (SafetensorError, OSError, KeyError) as error:
        raise ArtifactError(f"'{path}' is damaged ({error}): copy the atlas again.") from None
