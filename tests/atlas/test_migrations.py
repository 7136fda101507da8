"""Older files are read in the newest schema, and stay as they are."""

import sqlite3
from contextlib import closing

import pytest

from lmscope.atlas import migrations
from lmscope.atlas.codec import RecordCodec, same_record
from lmscope.atlas.database import APPLICATION_ID
from lmscope.atlas.migrations import migrate
from lmscope.atlas.store import CensusReader, CensusWriter
from lmscope.core.errors import ArtifactError


def add_dense(connection: sqlite3.Connection) -> None:
    """From a schema 0 that had no flag for dense latents, named its key `number`, and had no index."""
    connection.execute("ALTER TABLE latent RENAME COLUMN number TO id")
    connection.execute("ALTER TABLE latent ADD COLUMN dense INTEGER NOT NULL DEFAULT 0")
    connection.execute("UPDATE latent SET dense = density > 0.1")


@pytest.fixture
def old(tmp_path, meta, made_record):
    """A file of that schema, made from one of today."""
    with CensusWriter(tmp_path / "work.sqlite", meta) as writer:
        writer.append([made_record(latent) for latent in range(6)])
        path = writer.seal(tmp_path / "old.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE latent RENAME COLUMN id TO number")
        connection.execute("ALTER TABLE latent DROP COLUMN dense")
        connection.execute("PRAGMA user_version = 0")
    return path


def test_an_older_file_is_read_and_left_as_it_is(old, made_record, monkeypatch):
    monkeypatch.setitem(migrations.MIGRATIONS, 0, add_dense)
    before = old.read_bytes()
    with CensusReader(old) as reader:
        for latent in range(6):
            record = made_record(latent)
            assert same_record(reader.record(latent), RecordCodec.rounded(record))
            query = "SELECT dense FROM latent WHERE id = ?"
            (dense,) = reader.connection.execute(query, (latent,)).fetchone()
            assert dense == (record.density > 0.1)
        copy = reader.place
        assert copy.exists()
    assert old.read_bytes() == before
    assert not copy.exists()


def test_a_file_that_is_too_old_is_refused(old):
    with pytest.raises(ArtifactError, match="schema 0, this lmscope reads from 1 on: build"):
        CensusReader(old)


def test_a_step_that_fails_changes_nothing(tmp_path):
    def first(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE word ADD COLUMN length INTEGER")

    def second(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE word")
        raise RuntimeError("stopped")

    with closing(sqlite3.connect(tmp_path / "steps.sqlite", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE word (text TEXT)")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        with pytest.raises(RuntimeError):
            migrate(connection, {0: first, 1: second}, 2, tmp_path)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT text, length FROM word").fetchall() == []
