"""A census is written in blocks, sealed with equal bytes, and read while it grows."""

import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lmscope.atlas import database
from lmscope.atlas.codec import RecordCodec, same_record
from lmscope.atlas.store import CensusReader, CensusWriter, read_vectors, write_vectors
from lmscope.core.errors import ArtifactError


@pytest.fixture
def records(made_record):
    return [made_record(latent) for latent in range(6)]


@pytest.fixture
def sealed(tmp_path, meta, records):
    with CensusWriter(tmp_path / "work.sqlite", meta) as writer:
        writer.append(records)
        return writer.seal(tmp_path / "census.sqlite")


def test_every_record_is_read_back(sealed, meta, records):
    with CensusReader(sealed) as reader:
        assert reader.meta == meta
        assert len(reader) == 6
        for record, found in zip(records, reader.records(), strict=True):
            assert same_record(found, RecordCodec.rounded(record))
        assert reader.record(4).latent == 4
        assert [one.latent for one in reader.records([5, 0])] == [5, 0]


def test_the_sealed_file_stands_alone(sealed):
    assert [path.name for path in sealed.parent.glob("census.sqlite*")] == ["census.sqlite"]
    assert sealed.read_bytes()[18:20] == b"\x01\x01"  # no write-ahead log
    with CensusReader(sealed) as reader:
        reader.record(0)
        assert not sealed.with_name("census.sqlite-wal").exists()
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.connection.execute("DELETE FROM latent")


def test_blocks_and_interruptions_do_not_change_a_byte(sealed, tmp_path, meta, records):
    work = tmp_path / "other.sqlite"
    with CensusWriter(work, meta) as writer:
        writer.append(records[4:])
        writer.append([records[2]])
    with CensusWriter(work, meta) as writer:
        assert writer.written() == {2, 4, 5}
        writer.append(records[:3])  # 2 is there already
        writer.append([records[3]])
        writer.seal(tmp_path / "again.sqlite")
    assert (tmp_path / "again.sqlite").read_bytes() == sealed.read_bytes()


KILLED = """
import os, pickle, sys
from lmscope.atlas.store import CensusWriter
meta, records, path = pickle.load(sys.stdin.buffer)
writer = CensusWriter(path, meta)
writer.append(records[:2])
def more():
    yield records[2]
    os.kill(os.getpid(), 9)
writer.append(more())
"""


def test_kill_9_loses_the_open_block_only(sealed, tmp_path, meta, records):
    import pickle

    work = tmp_path / "killed.sqlite"
    given = pickle.dumps((meta, records, work))
    done = subprocess.run([sys.executable, "-c", KILLED], input=given, check=False)
    assert done.returncode == -9
    with CensusWriter(work, meta) as writer:
        assert writer.written() == {0, 1}
        writer.append(records[2:])
        writer.seal(tmp_path / "resumed.sqlite")
    assert (tmp_path / "resumed.sqlite").read_bytes() == sealed.read_bytes()


def test_a_census_that_is_not_whole_is_not_sealed(tmp_path, meta, records):
    with CensusWriter(tmp_path / "work.sqlite", meta) as writer:
        writer.append(records[:4])
        with pytest.raises(ArtifactError, match="lacks the records of 2 of 6 latents"):
            writer.seal(tmp_path / "census.sqlite")
    assert not (tmp_path / "census.sqlite").exists()


def test_another_census_is_not_mixed_in(tmp_path, meta, records):
    CensusWriter(tmp_path / "work.sqlite", meta).close()
    other = meta.model_copy(update={"corpus_digest": "e" * 64})
    with pytest.raises(ArtifactError, match=r"something else \(corpus_digest was 'ccc"):
        CensusWriter(tmp_path / "work.sqlite", other)


def test_a_record_of_no_latent_undoes_its_block(tmp_path, meta, records):
    with CensusWriter(tmp_path / "work.sqlite", meta) as writer:
        with pytest.raises(ArtifactError, match="latent 6, the dictionary has 6"):
            writer.append([records[0], replace(records[1], latent=6)])
        assert writer.n_written == 0


def test_readers_go_on_while_a_writer_appends(tmp_path, meta, records):
    with CensusWriter(tmp_path / "work.sqlite", meta) as writer:
        writer.append(records[:2])
        with CensusReader(tmp_path / "work.sqlite") as reader:
            writer.append(records[2:4])
            assert reader.record(3).latent == 3
            with pytest.raises(ArtifactError, match="latent 5 is not written yet"):
                reader.record(5)
            with pytest.raises(ArtifactError, match=r"no latent 6: .* has 6, from 0 to 5"):
                reader.record(6)


def test_latents_are_found_by_token(sealed):
    with CensusReader(sealed) as reader:
        assert reader.on_token(31) == [(3, 8)]
        assert reader.on_token(299) == []


def test_flags_are_columns(sealed, records, meta):
    with CensusReader(sealed) as reader:
        rows = reader.connection.execute("SELECT dead, dense, peak_token FROM latent").fetchall()
    assert rows == [(0, int(one.density > 0.1), one.peak_token) for one in records]


@pytest.mark.parametrize("damage", [b"", b"not a database" * 100])
def test_what_is_no_census_is_refused_in_one_sentence(tmp_path, damage):
    path = tmp_path / "census.sqlite"
    path.write_bytes(damage)
    with pytest.raises(ArtifactError, match=r"damaged|no file of an atlas"):
        CensusReader(path)
    with pytest.raises(ArtifactError, match="There is no file"):
        CensusReader(tmp_path / "nothing.sqlite")


def test_a_cut_file_is_refused_in_one_sentence(sealed):
    sealed.write_bytes(sealed.read_bytes()[:9000])
    with pytest.raises(ArtifactError, match="damaged"), CensusReader(sealed) as reader:
        list(reader.records())


def test_a_newer_schema_asks_for_an_upgrade(sealed):
    connection = sqlite3.connect(sealed)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(ArtifactError, match="schema 2, this lmscope reads up to 1: upgrade"):
        CensusReader(sealed)


def test_a_full_disk_loses_nothing_before_it(tmp_path, meta, made_record):
    records = [made_record(latent, n_examples=300) for latent in range(6)]
    with CensusWriter(tmp_path / "work.sqlite", meta) as writer:
        writer.append(records[:1])
        (pages,) = writer._connection.execute("PRAGMA page_count").fetchone()
        writer._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ArtifactError, match="disk is full"):
            writer.append(records[1:])
        assert writer.written() == {0}
        writer._connection.execute("PRAGMA max_page_count = 1000000")
        writer.append(records[1:])
        writer.seal(tmp_path / "census.sqlite")


def test_on_a_network_file_system_the_work_is_local(tmp_path, meta, records, monkeypatch):
    shared, local, mounts = tmp_path / "shared disk", tmp_path / "local", tmp_path / "mounts"
    shared.mkdir(), local.mkdir()
    escaped = str(shared).replace(" ", "\\040")
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nhost:/x {escaped} nfs4 rw 0 0\n")
    monkeypatch.setattr(database, "_MOUNTS", mounts)
    monkeypatch.setattr(database.tempfile, "gettempdir", lambda: str(local))
    with CensusWriter(shared / "census.sqlite", meta) as writer:
        assert "network file system (nfs4)" in writer.notice
        writer.append(records[:3])
    assert list(shared.iterdir()) == []
    with CensusWriter(shared / "census.sqlite", meta) as writer:
        writer.append(records[3:])
        writer.seal(shared / "census.sqlite")
        writer.remove()
    assert [path.name for path in shared.iterdir()] == ["census.sqlite"]
    assert not [path for path in local.rglob("*") if path.is_file()]
    assert database.network_file_system(tmp_path / "elsewhere") is None


def test_vectors_come_back_as_float16(tmp_path):
    rows = np.asarray([[0.5, -1.0], [2.0, 0.1]], dtype=np.float32)
    write_vectors(tmp_path / "vectors.safetensors", rows)
    np.testing.assert_array_equal(
        read_vectors(tmp_path / "vectors.safetensors"), rows.astype(np.float16)
    )
    with pytest.raises(ArtifactError, match="above 65504"):
        write_vectors(tmp_path / "large.safetensors", rows * 1e6)
