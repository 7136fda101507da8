"""Stores: blocks of activations kept from the first pass for the later ones, bit for bit."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lmscope.activations.config import StreamConfig
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.files import atomic_path, sha256_file, write_text
from lmscope.core.site import Site

FORMAT_VERSION = 1


@runtime_checkable
class BlockStore(Protocol):
    """Holds the values of blocks by number; what it does not hold is read from the model."""

    def get(self, block: int, sites: Sequence[Site]) -> dict[Site, Tensor] | None:
        """The block's values at all of the sites, or None."""
        ...

    def put(self, block: int, values: Mapping[Site, Tensor]) -> None:
        """Keep a block, if there is room."""
        ...


class NoStore:
    """Keeps nothing."""

    def get(self, block: int, sites: Sequence[Site]) -> dict[Site, Tensor] | None:
        """None."""
        return None

    def put(self, block: int, values: Mapping[Site, Tensor]) -> None:
        """Nothing."""


class MemoryStore:
    """Keeps blocks in main memory, first come first kept, up to a number of bytes.

    Args:
        budget_bytes: What all blocks together may take.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.n_bytes = 0
        self._blocks: dict[int, dict[Site, Tensor]] = {}

    def get(self, block: int, sites: Sequence[Site]) -> dict[Site, Tensor] | None:
        """The block's values, or None when it was not kept."""
        return None if block not in self._blocks else dict(self._blocks[block])

    def put(self, block: int, values: Mapping[Site, Tensor]) -> None:
        """Keep a block unless it would exceed the budget."""
        size = sum(value.nbytes for value in values.values())
        if block not in self._blocks and self.n_bytes + size <= self.budget_bytes:
            self._blocks[block] = {site: value.cpu() for site, value in values.items()}
            self.n_bytes += size


class DiskStore:
    """Keeps blocks in a folder: for each (site, block) a raw shard and an index entry beside it.

    `SITE/00000012.bin` is the values, row by row in the machine's byte order;
    `SITE/00000012.json` its dtype, shape and SHA-256, written last. Several processes may share the folder.

    Args:
        folder: Where the shards of any stream lie; this one's go into a sub-folder named after `identity`.
        identity: All that the values depend on; another identity never finds them.
    """

    def __init__(self, folder: Path | str, identity: str) -> None:
        self.folder = Path(folder) / identity

    def get(self, block: int, sites: Sequence[Site]) -> dict[Site, Tensor] | None:
        """The block's values, checked against the index; None when a site's shard was not written.

        Raises:
            ArtifactError: A shard is damaged.
        """
        if not all(self._entry(site, block).exists() for site in sites):
            return None
        return {site: self._read(site, block) for site in sites}

    def put(self, block: int, values: Mapping[Site, Tensor]) -> None:
        """Write a block's shards.

        Raises:
            ArtifactError: The disk is full or the folder cannot be written.
        """
        for site, value in values.items():
            if self._entry(site, block).exists():
                continue
            path = self._shard(site, block)
            raw = value.cpu().contiguous().view(torch.uint8).numpy()
            with atomic_path(path) as temporary:
                raw.tofile(temporary)
                digest = sha256_file(temporary)
            entry = {
                "format": FORMAT_VERSION,
                "dtype": str(value.dtype).removeprefix("torch."),
                "shape": list(value.shape),
                "sha256": digest,
            }
            write_text(self._entry(site, block), json.dumps(entry))

    def _shard(self, site: Site, block: int) -> Path:
        return self.folder / site.slug / f"{block:08d}.bin"

    def _entry(self, site: Site, block: int) -> Path:
        return self._shard(site, block).with_suffix(".json")

    def _read(self, site: Site, block: int) -> Tensor:
        path = self._shard(site, block)
        entry = _read_entry(self._entry(site, block))
        if not path.exists() or sha256_file(path) != entry["sha256"]:
            raise ArtifactError(
                f"The activation shard '{path}' is damaged: its content is not what its index entry says. "
                f"Delete '{path.with_suffix('.json')}': the model is then read again."
            )
        raw = torch.from_numpy(np.fromfile(path, dtype=np.uint8))
        return raw.view(getattr(torch, entry["dtype"])).view(entry["shape"])


def open_store(
    options: StreamConfig, folder: Path | None, identity: Mapping[str, Any]
) -> BlockStore:
    """The store that the options ask for.

    Args:
        options: Which, and how large.
        folder: Where shards lie; for `disk` only.
        identity: All that the values depend on, plain.

    Raises:
        RecipeError: `disk` without a folder, or a folder without `disk`.
    """
    if (options.store == "disk") != (folder is not None):
        raise RecipeError(
            f"store = '{options.store}' was asked for with the folder {folder}: give a folder to "
            "'disk', and to no other store."
        )
    if folder is not None:
        text = json.dumps(identity, sort_keys=True)
        return DiskStore(folder, hashlib.sha256(text.encode()).hexdigest()[:16])
    return MemoryStore(options.store_bytes) if options.store == "memory" else NoStore()


def _read_entry(path: Path) -> dict[str, Any]:
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        assert entry["format"] == FORMAT_VERSION
        assert {"dtype", "shape", "sha256"} <= entry.keys()
    except (ValueError, OSError, KeyError, TypeError, AssertionError):
        raise ArtifactError(
            f"The index entry '{path}' of an activation shard is damaged: delete it, and the model is "
            "read again."
        ) from None
    return entry
