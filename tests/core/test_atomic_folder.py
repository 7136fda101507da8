import pytest
import torch

from lmscope.core.errors import ArtifactError
from lmscope.core.files import atomic_folder
from lmscope.core.tensor_files import read_tensors, write_tensors


def test_folder_appears_whole_when_the_block_ends(tmp_path):
    path = tmp_path / "parent" / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "a").write_text("1")
        assert not path.exists()
    assert (path / "inner" / "a").read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


def test_failure_leaves_the_old_folder(tmp_path):
    path = tmp_path / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as temporary:
        _ = (temporary / "a").write_text("new") / 0
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_old_folder_is_replaced(tmp_path):
    path = tmp_path / "folder"
    for name in ("old", "new"):
        with atomic_folder(path) as temporary:
            (temporary / name).write_text("")
    assert [p.name for p in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_one_sentence(tmp_path):
    with (
        pytest.raises(ArtifactError, match=r"disk is full: .*folder' was not written"),
        atomic_folder(tmp_path / "folder"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_tensors_come_back_and_damage_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(3, dtype=torch.bfloat16)})
    assert torch.equal(read_tensors(path)["a"], torch.ones(3, dtype=torch.bfloat16))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_tensors(path)
    with pytest.raises(ArtifactError, match="no tensors at"):
        read_tensors(tmp_path / "y")
    with pytest.raises(OSError, match=r"Errno 2\b|No such file"):
        write_tensors(tmp_path / "absent" / "x", {"a": torch.ones(1)})
