"""Where dictionaries come from: a folder here, or one on the hub, in any known format."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import torch

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats import registry
from lmscope.dictionaries.formats.format import Format, Given, Imported
from lmscope.dictionaries.hub import HubPlace, fetch, folders

_LAYERS: Final = "layer_*.safetensors"
"""Files of a set, each a dictionary of its own."""


class Found(NamedTuple):
    """A dictionary in a tree of them."""

    name: str
    """Its path within the tree; `.` for the tree itself."""
    path: Path
    format: Format


def locate(
    name: str, subfolder: str | None = None, revision: str | None = None, *, whole: bool = False
) -> Path:
    """The folder (or file) that a name stands for; what lies on the hub is fetched.

    Args:
        name: A path, else `owner/repo[/sub][@revision]`; with `hf:` in front never a path.
        subfolder: A folder within it.
        revision: Branch, tag or commit on the hub.
        whole: Whether folders below are wanted too, for a tree of dictionaries.

    Raises:
        ArtifactError: It is not there, gated, or cannot be reached.
    """
    path = Path(name).expanduser()
    if not name.startswith("hf:") and path.exists():
        if revision is not None:
            raise ArtifactError(f"'{name}' is a folder here, which has no revision: leave it out.")
        return path if subfolder is None else path / subfolder
    if path.is_absolute() or name.startswith((".", "~")):
        raise ArtifactError(f"There is nothing at '{name}'.")
    place = HubPlace.parse(name)
    sub = "/".join(part for part in (place.subfolder, subfolder) if part) or None
    place = HubPlace(place.repository, sub, revision or place.revision)
    folder = fetch(place, whole=whole)
    if not whole and registry.find(folder) is None and (found := folders(place)):
        raise ArtifactError(
            f"'{place}' holds no dictionary of a known format at its top: name a folder of it, e.g. "
            f"{', '.join(found[:3])}."
        )
    return folder


def read(path: Path, format_name: str | None, given: Given) -> tuple[Format, Imported]:
    """Read the dictionary at a path.

    Args:
        path: A folder or file.
        format_name: Its format, if it is not to be recognised.
        given: What the files may not say.

    Raises:
        ArtifactError: It is missing, damaged, or of no known format.
        RecipeError: No such format, or a site that nobody says.
    """
    one = registry.recognise(path) if format_name is None else registry.named(format_name)
    if not path.exists():
        raise ArtifactError(f"There is nothing at '{path}'.")
    return one, one.read(path, given)


def load(
    name: str,
    subfolder: str | None,
    revision: str | None,
    format_name: str | None,
    given: Given,
    device: torch.device | str,
) -> Dictionary:
    """What `Dictionary.from_pretrained` gives.

    Raises:
        ArtifactError: As `locate` and `read`.
        RecipeError: As `read`.
    """
    path = locate(name, subfolder, revision)
    return read(path, format_name, given)[1].dictionary.to(device)


def find_all(root: Path, format_name: str | None = None) -> list[Found]:
    """Every dictionary at or below a path, in the order of their names.

    A folder that is a dictionary is not looked into further, a set of layers gives each layer, and
    hidden folders are left out.

    Raises:
        ArtifactError: There is none, or one looks like several formats.
    """
    if not root.exists():
        raise ArtifactError(f"There is nothing at '{root}'.")
    wanted = None if format_name is None else registry.named(format_name)
    found = list(_walk(root, root, wanted))
    if not found and wanted is not None:
        return [Found(".", root, wanted)]  # it was named: let it say what is missing
    if not found:
        registry.recognise(root)
    return found


def _walk(root: Path, path: Path, wanted: Format | None) -> Iterator[Found]:
    one = registry.find(path) if wanted is None else wanted
    if one is not None and (wanted is None or wanted.recognises(path)):
        name = path.relative_to(root).as_posix()
        layers = sorted(path.glob(_LAYERS), key=_layer) if path.is_dir() else []
        if len(layers) > 1 and all(one.recognises(layer) for layer in layers):
            yield from (Found(f"{name}/{layer.stem}", layer, one) for layer in layers)
        else:
            yield Found(name, path, one)
        return
    if not path.is_dir():
        return
    with os.scandir(path) as entries:
        inner = sorted(
            e.name
            for e in entries
            if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")
        )
    for name in inner:
        yield from _walk(root, path / name, wanted)


def _layer(path: Path) -> tuple[int, str]:
    number = path.stem.removeprefix("layer_")
    return int(number) if number.isdecimal() else -1, path.name
