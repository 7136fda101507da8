import errno
import hashlib
import os
from pathlib import Path

import pytest

from lmscope.core.errors import ArtifactError
from lmscope.core.files import atomic_folder, atomic_path, sha256_file, write_text


def _full(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ValueError, match="broken"), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("new")
        raise ValueError("broken")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_old_file_stands_until_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("place", "name"), [(os, "fsync"), (Path, "replace"), (Path, "write_text")]
)
def test_a_full_disk_gives_one_sentence_and_loses_nothing(tmp_path, monkeypatch, place, name):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr(place, name, _full)
    with pytest.raises(
        ArtifactError, match=r"^The disk is full: .*a\.txt.* Free space and resume\.$"
    ):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_hashes_are_sha256(tmp_path):
    write_text(tmp_path / "a", "text")
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"text").hexdigest()


def test_a_folder_is_whole_or_as_before(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    with atomic_folder(path) as folder:
        (folder / "a").write_text("1")
        assert not path.exists()
    with pytest.raises(ValueError, match="broken"), atomic_folder(path) as folder:  # noqa: PT012
        (folder / "a").write_text("2")
        raise ValueError("broken")
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(ArtifactError, match="disk is full"), atomic_folder(path) as folder:
        (folder / "a").write_text("3")
    monkeypatch.undo()
    assert (path / "a").read_text() == "1"
    with atomic_folder(path) as folder:
        (folder / "b").write_text("4")
    assert [p.name for p in path.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
