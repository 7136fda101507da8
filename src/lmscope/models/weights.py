"""The safetensors files of a model folder: found, checked for truncation, hashed."""

import hashlib
import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lmscope.core.errors import ArtifactError, ModelError
from lmscope.core.files import write_text

_CACHE_FROM_BYTES = 256 * 1024**2
"""Smaller weights hash in well under a second: nothing is remembered of them."""


class StoredTensor(NamedTuple):
    """Where one tensor lies: bytes `start` to `stop` of `path`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    stop: int


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that Hugging Face loads from the folder: one, or the shards of the index.

    Raises:
        ModelError: There are none, a shard is missing, or the index cannot be read.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return (single,)
    if not index.is_file():
        pickled = next(folder.glob("*.bin"), None)
        hint = (
            f"'{pickled.name}' is a pickle, which lmscope does not open; save the model again with "
            "save_pretrained, which writes safetensors."
            if pickled
            else "A model folder holds config.json, model.safetensors and a tokenizer."
        )
        raise ModelError(f"'{folder}' has no model.safetensors. {hint}")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, OSError) as error:
        raise ModelError(f"'{index}' is damaged: {error}. Fetch the model again.") from None
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ModelError(
            f"'{folder}' lacks {len(missing)} of {len(names)} weight files, the first being '{missing[0]}'. "
            "Fetch the model again."
        )
    return tuple(folder / name for name in names)


def stored_tensors(path: Path) -> tuple[StoredTensor, ...]:
    """The tensors of one safetensors file, from its header.

    Raises:
        ModelError: The file is truncated or no safetensors file.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ValueError("its header is cut off")
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = tuple(
            StoredTensor(
                name=name,
                dtype=field["dtype"],
                shape=tuple(field["shape"]),
                path=path,
                start=8 + length + field["data_offsets"][0],
                stop=8 + length + field["data_offsets"][1],
            )
            for name, field in header.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"'{path}' is no whole safetensors file: {error}. Fetch the model again."
        ) from None
    end = max((tensor.stop for tensor in tensors), default=8 + length)
    if end != size:
        raise ModelError(
            f"'{path}' is damaged: it has {size:,} bytes where its header says {end:,}. Fetch the model again."
        )
    return tensors


def weights_hash(folder: Path, cache: Path | None = None) -> str:
    """The name of a model's weights: SHA-256 over its tensors, 64 hex digits.

    Tensors come in the order of their names; of each, `name NUL dtype NUL shape NUL` (the shape as
    `576,1536`), then its bytes as stored. So sharding, file names, the order within files and header
    metadata do not count, while names, number formats and values do. Reads every byte once (about
    one second a GB).

    Args:
        folder: A Hugging Face folder.
        cache: Where hashes of large weights are remembered by path, size and time of change; None
            always reads.

    Raises:
        ModelError: There are no weights, or a file is truncated.
    """
    files = weight_files(folder)
    note = _note_of(files, cache) if cache else None
    if note and note.is_file():
        return note.read_text(encoding="utf-8").strip()
    tensors = sorted(tensor for path in files for tensor in stored_tensors(path))
    digest = hashlib.sha256()
    for tensor, content in _contents(tensors):
        shape = ",".join(map(str, tensor.shape))
        digest.update(f"{tensor.name}\0{tensor.dtype}\0{shape}\0".encode())
        digest.update(content)
    result = digest.hexdigest()
    if note:
        write_text(note, result)
    return result


def _contents(tensors: list[StoredTensor]) -> Iterator[tuple[StoredTensor, memoryview]]:
    """Each tensor with its bytes; files stay mapped for the tensors that share them."""
    maps: dict[Path, mmap.mmap] = {}
    try:
        for tensor in tensors:
            if tensor.path not in maps:
                with tensor.path.open("rb") as file:
                    maps[tensor.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with memoryview(maps[tensor.path])[tensor.start : tensor.stop] as content:
                yield tensor, content
    except OSError as error:
        raise ArtifactError(f"The weights cannot be read: {error}.") from error
    finally:
        for mapped in maps.values():
            mapped.close()


def _note_of(files: tuple[Path, ...], cache: Path) -> Path | None:
    """The file that remembers the hash of exactly these files; None when they are small."""
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    if sum(size for _, size, _ in states) < _CACHE_FROM_BYTES:
        return None
    return cache / "hashes" / hashlib.sha256(json.dumps(states).encode()).hexdigest()[:32]
