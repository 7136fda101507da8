"""Format: one tool's way to put a dictionary on disk, and what its numbers mean there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lmscope.dictionaries.dictionary import Dictionary


@dataclass(frozen=True)
class Given:
    """What a user knows that the files may not say; it wins over what they say.

    Attributes:
        reads: Site that the dictionary reads, e.g. `resid_post@12`.
        writes: Site that it writes; absent: the one that it reads.
        model: Name of the model whose activations it was trained on.
    """

    reads: str | None = None
    writes: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Imported:
    """A dictionary that was read from another format.

    Attributes:
        dictionary: Frozen; raw activations in and out.
        notes: What the reader had to know of the format's convention, one sentence each.
        metadata: What else the files say, plain.
    """

    dictionary: Dictionary
    notes: tuple[str, ...]
    metadata: Mapping[str, Any]


@runtime_checkable
class Format(Protocol):
    """One on-disk format. Reading never unpickles anything but `torch.load(weights_only=True)`."""

    @property
    def name(self) -> str:
        """What `--from` and `--to` call it, e.g. `sae-lens`."""
        ...

    @property
    def convention(self) -> str:
        """What differs from ours: input scale, norm's gain, b_dec, decoder norm, threshold's unit."""
        ...

    def recognises(self, folder: Path) -> bool:
        """Whether a folder (or file) looks like this format; reads names and small JSON only."""
        ...

    def read(self, folder: Path, given: Given) -> Imported:
        """Read a dictionary.

        Raises:
            ArtifactError: A file is missing or damaged, or holds an unknown field or value.
            RecipeError: The files do not say a site, and `given` does not either.
        """
        ...


@runtime_checkable
class WritableFormat(Format, Protocol):
    """A format that dictionaries can be written in."""

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Write a dictionary into a new folder.

        Raises:
            ArtifactError: The format cannot say what the dictionary does; the sentence names what.
        """
        ...


@runtime_checkable
class SetFormat(WritableFormat, Protocol):
    """A format whose folder holds a set of dictionaries, one for each layer."""

    def read_set(self, folder: Path, given: Given) -> dict[str, Imported]:
        """Read every dictionary of a set, by name.

        Raises:
            ArtifactError: As `read`.
            RecipeError: As `read`, or `given` names a site, which a set does not have.
        """
        ...

    def write_set(self, dictionaries: Mapping[str, Dictionary], folder: Path) -> None:
        """Write a set into a new folder.

        Raises:
            ArtifactError: The format cannot say what a dictionary does, or these are no set.
        """
        ...
