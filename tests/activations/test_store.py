import json

import pytest
import torch

from lmscope.activations.config import StreamConfig
from lmscope.activations.store import BlockStore, DiskStore, MemoryStore, NoStore, open_store
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.site import Site

A, B = Site("resid_post", 0), Site("mlp_out", 3)


def values(seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return {site: torch.randn(5, 3, generator=draw).to(dtype) for site in (A, B)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_disk_gives_back_every_bit(tmp_path, dtype):
    written = values(dtype=dtype)
    written[A][0, 0] = float("nan")
    DiskStore(tmp_path, "x").put(7, written)
    read = DiskStore(tmp_path, "x").get(7, [A, B])
    assert read is not None
    for site in (A, B):
        assert read[site].dtype == dtype
        assert torch.equal(read[site].view(torch.uint8), written[site].view(torch.uint8))


def test_absent_blocks_sites_and_identities_are_not_found(tmp_path):
    store = DiskStore(tmp_path, "x")
    store.put(7, {A: values()[A]})
    assert store.get(7, [A]) is not None
    assert store.get(8, [A]) is None
    assert store.get(7, [A, B]) is None
    assert DiskStore(tmp_path, "y").get(7, [A]) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_damaged_shard_is_named_with_what_to_do(tmp_path, damage):
    store = DiskStore(tmp_path, "x")
    store.put(7, values())
    (path,) = tmp_path.rglob("mlp_out-3/*.bin")
    content = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + b"\x55")
    assert store.get(7, [A]) is not None
    with pytest.raises(ArtifactError, match=r"mlp_out-3/00000007.bin' is damaged.*Delete"):
        store.get(7, [A, B])
    path.with_suffix(".json").unlink()  # what the message says
    assert store.get(7, [A, B]) is None
    store.put(7, values())
    assert torch.equal(store.get(7, [B])[B], values()[B])


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"format": 99})])
def test_damaged_index_entry_is_named(tmp_path, text):
    store = DiskStore(tmp_path, "x")
    store.put(7, values())
    (path,) = tmp_path.rglob("mlp_out-3/*.json")
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"00000007.json' of an activation shard is damaged"):
        store.get(7, [B])


def test_half_written_block_is_not_found(tmp_path, monkeypatch):
    store = DiskStore(tmp_path, "x")

    def full(path, text):
        raise ArtifactError("The disk is full")

    monkeypatch.setattr("lmscope.activations.store.write_text", full)
    with pytest.raises(ArtifactError, match="disk is full"):
        store.put(7, values())
    assert store.get(7, [A]) is None


def test_memory_keeps_within_its_budget():
    size = sum(value.nbytes for value in values().values())
    store = MemoryStore(2 * size + size // 2)
    for block in range(4):
        store.put(block, values(block))
    assert store.n_bytes == 2 * size
    assert [store.get(block, [A]) is not None for block in range(4)] == [True, True, False, False]
    store.put(0, values())
    assert store.n_bytes == 2 * size
    store.get(1, [A]).clear()  # what is taken out of an answer stays in the store
    assert torch.equal(store.get(1, [A])[A], values(1)[A])


def test_options_choose_the_store(tmp_path):
    def opened(kind, folder=None):
        return open_store(StreamConfig(store=kind), folder, {"seed": 1})

    assert isinstance(opened("none"), NoStore)
    assert isinstance(opened("memory"), MemoryStore)
    assert isinstance(opened("disk", tmp_path), DiskStore)
    assert all(isinstance(opened(kind), BlockStore) for kind in ("none", "memory"))
    for kind, folder in (("disk", None), ("memory", tmp_path)):
        with pytest.raises(RecipeError, match="give a folder to 'disk'"):
            opened(kind, folder)


def test_other_identity_lies_in_another_folder(tmp_path):
    folders = {
        open_store(StreamConfig(store="disk"), tmp_path, {"seed": seed}).folder for seed in (1, 2)
    }
    assert len(folders) == 2
