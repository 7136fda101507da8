"""Firing shards: what a census finds, spilled in parts of the corpus and read back in parts of the latents.

A shard holds all firings of one dictionary in a run of consecutive contexts. Its file is named by its
first context, so that processes which share the contexts fill one folder, and equal work gives equal
bytes. A file is there whole or not at all: whatever is in the folder need not be computed again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, Integer
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lmscope.core.errors import ArtifactError, DataError
from lmscope.core.files import atomic_path

_FORMAT: Final = "lmscope-firings-1"
_MAX_POSITIONS: Final = 2**32
"""Positions within a shard are stored as 32-bit numbers."""


@dataclass(frozen=True, eq=False)
class Shard:
    """All firings of a dictionary in consecutive contexts; `Shard.of` sorts and checks them.

    Attributes:
        first_context: Number of its first context in the corpus.
        latent: Latent of each firing, ascending.
        position: Place of each firing in the corpus, `context * context_length + position`, ascending
            within a latent. Firings on positions that do not count are not kept.
        value: Activations, above 0.
        counted: Whether a position counts.
    """

    first_context: int
    latent: Int32[np.ndarray, "firing"]
    position: Int64[np.ndarray, "firing"]
    value: Float32[np.ndarray, "firing"]
    counted: Bool[np.ndarray, "context position"]

    @classmethod
    def of(
        cls,
        first_context: int,
        latent: Integer[np.ndarray, "firing"],
        position: Integer[np.ndarray, "firing"],
        value: Float[np.ndarray, "firing"],
        counted: Bool[np.ndarray, "context position"],
    ) -> "Shard":
        """A shard from firings in any order; those of value 0 and those that do not count are left out.

        Raises:
            DataError: A value is NaN, infinite or negative, or a position lies outside of the contexts.
        """
        context_length = counted.shape[1]
        local = position.astype(np.int64) - first_context * context_length
        if len(local) and not (local.min() >= 0 and local.max() < counted.size):
            raise DataError(
                f"A firing lies outside of contexts {first_context} to "
                f"{first_context + len(counted) - 1}: positions are context * {context_length} + place."
            )
        if not bool((np.isfinite(value) & (value >= 0)).all()):
            worst = int(np.argmin(np.isfinite(value) & (value >= 0)))
            raise DataError(
                f"Latent {int(latent[worst])} has the activation {float(value[worst])} at position "
                f"{int(position[worst])}: activations must be finite and not negative; "
                "run the model in float32 or bfloat16."
            )
        kept = (value > 0) & counted.reshape(-1)[local]
        latent, local, value = latent[kept], local[kept], value[kept]
        # One key for both orders: sorting it once is faster than sorting by two keys.
        order = np.argsort(latent.astype(np.int64) * counted.size + local, kind="stable")
        return cls(
            first_context,
            latent[order].astype(np.int32),
            local[order] + first_context * context_length,
            value[order].astype(np.float32),
            counted,
        )


class Firings(NamedTuple):
    """Firings of a range of latents over the whole corpus, by latent, then by position.

    Attributes:
        latent: Latent of each firing.
        position: `context * context_length + position`.
        value: Activations.
    """

    latent: Int32[np.ndarray, "firing"]
    position: Int64[np.ndarray, "firing"]
    value: Float32[np.ndarray, "firing"]


def shard_path(folder: Path | str, first_context: int) -> Path:
    """The file of the shard that begins with a context."""
    return Path(folder) / f"firings-{first_context:010d}.safetensors"


def has_shard(folder: Path | str, first_context: int) -> bool:
    """Whether that shard was written."""
    return shard_path(folder, first_context).is_file()


def write_shard(folder: Path | str, shard: Shard) -> Path:
    """Write a shard that is whole or absent; equal shards have equal bytes.

    On disk: 8 bytes a firing, 12 bytes a latent that fires, 1 bit a position.

    Raises:
        ArtifactError: The disk is full or the folder cannot be written.
        ValueError: It is not sorted, or holds more than 2^32 positions (an error of the caller).
    """
    if shard.counted.size > _MAX_POSITIONS:
        raise ValueError(f"a shard of {shard.counted.size} positions is larger than 2^32")
    latent = shard.latent.astype(np.int64)
    local = shard.position - shard.first_context * shard.counted.shape[1]
    if not bool((np.diff(latent * shard.counted.size + local) > 0).all()):
        raise ValueError("the firings are not sorted by latent and position, or one is there twice")
    fired, starts = np.unique(shard.latent, return_index=True)
    content = save(
        {
            "fired": fired,
            "end": np.append(starts[1:], len(latent)).astype(np.int64)[: len(fired)],
            "position": local.astype(np.uint32),
            "value": shard.value,
            "counted": np.packbits(shard.counted, axis=None),
            "place": np.array([shard.first_context, *shard.counted.shape], dtype=np.int64),
        },
        {"format": _FORMAT},
    )
    path = shard_path(folder, shard.first_context)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


class _Place(NamedTuple):
    first_context: int
    n_contexts: int
    context_length: int


class ShardReader:
    """The shards of a folder as one; a file is mapped only while something is read from it.

    Attributes:
        context_length: Positions of a context.
        n_contexts: Contexts of all shards together; they begin with 0 and leave no gap.

    Args:
        folder: Where `write_shard` put them.

    Raises:
        ArtifactError: There is none, one is damaged, or contexts are missing or there twice.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._paths = sorted(self.folder.glob("firings-*.safetensors"))
        if not self._paths:
            raise ArtifactError(f"There are no firing shards in '{folder}': run the census first.")
        self._places = [self._place(path) for path in self._paths]
        self.context_length = self._places[0].context_length
        expected = 0
        for path, place in zip(self._paths, self._places, strict=True):
            if place.first_context != expected or place.context_length != self.context_length:
                raise ArtifactError(
                    f"'{path}' begins with context {place.first_context} of {place.context_length} "
                    f"positions where context {expected} of {self.context_length} was expected: shards are "
                    "missing or of another census; resume the census, or delete the folder and begin again."
                )
            expected += place.n_contexts
        self.n_contexts = expected

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def n_positions(self) -> int:
        """Positions of all contexts, whether they count or not."""
        return self.n_contexts * self.context_length

    def counted(self) -> Bool[np.ndarray, "context position"]:
        """Whether each position of the corpus counts; 1 byte a position."""
        parts = []
        for path, place in zip(self._paths, self._places, strict=True):
            n = place.n_contexts * self.context_length
            bits = np.unpackbits(_whole(path, "counted"), count=n)
            parts.append(bits.view(np.bool_).reshape(place.n_contexts, self.context_length))
        return np.concatenate(parts)

    def n_fired(self, latents: range) -> Int64[np.ndarray, "latent"]:
        """Firings of each latent of a range over all shards; reads the indexes only."""
        total = np.zeros(len(latents), dtype=np.int64)
        for path in self._paths:
            fired, end = _whole(path, "fired"), _whole(path, "end")
            first, last = np.searchsorted(fired, [latents.start, latents.stop])
            total[fired[first:last] - latents.start] += np.diff(end, prepend=0)[first:last]
        return total

    def firings(self, low_latent: int, high_latent: int) -> Firings:
        """Firings of the latents from `low_latent` up to but without `high_latent`; 16 bytes each."""
        parts = [self._firings(i, low_latent, high_latent) for i in range(len(self._paths))]
        latent = np.concatenate([part.latent for part in parts])
        # Shards come in the order of the corpus: a stable sort by latent keeps positions ascending.
        order = np.argsort(latent, kind="stable")
        position = np.concatenate([part.position for part in parts])[order]
        return Firings(latent[order], position, np.concatenate([p.value for p in parts])[order])

    def _firings(self, i: int, low: int, high: int) -> Firings:
        path, place = self._paths[i], self._places[i]
        with _opened(path) as file:
            fired, end = file.get_tensor("fired"), file.get_tensor("end")
            first, last = np.searchsorted(fired, [low, high])
            start = int(end[first - 1]) if first else 0
            stop = int(end[last - 1]) if last else 0
            position = _part(file, "position", start, stop).astype(np.int64)
            value = _part(file, "value", start, stop)
        n = np.diff(end[first:last], prepend=start)
        latent = np.repeat(fired[first:last], n)
        return Firings(latent, position + place.first_context * self.context_length, value)

    @staticmethod
    def _place(path: Path) -> _Place:
        with _opened(path) as file:
            if (file.metadata() or {}).get("format") != _FORMAT:
                raise ArtifactError(
                    f"'{path}' is no firing shard of this version: delete the folder and run the census again."
                )
            return _Place(*(int(n) for n in file.get_tensor("place")))


def _whole(path: Path, name: str) -> np.ndarray:
    with _opened(path) as file:
        return file.get_tensor(name)


def _part(file: Any, name: str, start: int, stop: int) -> np.ndarray:
    # The library refuses an empty slice.
    return file.get_slice(name)[start:stop] if stop > start else file.get_tensor(name)[:0]


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"The firing shard '{path}' cannot be read: {error}. Delete it and resume the census."
        ) from None
