"""What every reader of a foreign format does: small JSON, whole tensors, sites; never a silent default."""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lmscope.core.errors import ArtifactError, RecipeError, SiteError, did_you_mean
from lmscope.core.site import Site
from lmscope.dictionaries.formats.format import Given

POINTER: Final = b"version https://git-lfs.github.com/spec/"
"""How a file begins that Git LFS has left out."""


def peek_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file, or an empty one where there is none; for `recognises`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        ArtifactError: The file is missing, damaged, or holds no object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"'{path}' is missing: fetch or copy the folder again.") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"'{path}' is damaged: {error}. Fetch or copy it again.") from None
    if not isinstance(values, dict):
        raise ArtifactError(f"'{path}' is damaged: it holds no object. Fetch or copy it again.")
    return values


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, as they are.

    Raises:
        ArtifactError: The file is missing, a Git LFS pointer, cut short or of another format.
    """
    check_present(path)
    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"'{path}' is damaged or only half downloaded ({error}): fetch it again."
        ) from None


def check_present(path: Path) -> None:
    """Refuse a file of weights that is not there, or that Git LFS has left out.

    Raises:
        ArtifactError: It is missing or a pointer.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(len(POINTER))
    except OSError:
        raise ArtifactError(f"'{path}' is missing: fetch or copy the folder again.") from None
    if beginning == POINTER:
        raise ArtifactError(
            f"'{path}' is a Git LFS pointer, not the weights: run `git lfs pull`, or fetch it from the hub."
        )


def check_keys(values: Mapping[str, Any], known: Collection[str], path: Path | str) -> None:
    """Refuse a field that the format is not known to have: it may change what the numbers mean.

    Raises:
        ArtifactError: The first such field.
    """
    for key in values:
        if key not in known:
            raise ArtifactError(
                f"'{path}' has the unknown field '{key}', which may change what the weights mean."
                f"{did_you_mean(key, known)}"
            )


def in_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in float32, in which readers compute: bfloat16 would round every step."""
    return {name: t.to(torch.float32).contiguous() for name, t in tensors.items()}


def choose_sites(
    given: Given, reads: str | None, writes: str | None, source: Path | str
) -> tuple[str, str]:
    """The sites that a dictionary reads and writes: what was given, else what the files say.

    Args:
        given: What the user knows; a `reads` alone moves a dictionary that writes what it reads.
        reads: What the files say, in any spelling that `Site` understands.
        writes: The same; absent: the site that is read.
        source: The file or folder, for the message.

    Raises:
        RecipeError: No site is known, or the files name a place that has none here.
    """
    found_reads = _site(given.reads or reads, "reads", source)
    writes_what_it_reads = writes is None or writes == reads
    other = None if writes_what_it_reads else writes
    if given.writes is None and other is None:
        return found_reads, found_reads
    return found_reads, _site(given.writes or other, "writes", source)


def _site(text: str | None, verb: str, source: Path | str) -> str:
    if text is None:
        raise RecipeError(
            f"'{source}' does not say which site it {verb}: give one, e.g. --{verb} resid_post@12."
        )
    try:
        return str(Site.parse(text))
    except SiteError as error:
        raise RecipeError(
            f"'{source}' {verb} '{text}', which is no site here: {error} Give one with --{verb}."
        ) from None


def only(value: Any, allowed: Iterable[Any], field: str, path: Path | str) -> None:
    """Refuse a value that this reader cannot represent exactly.

    Raises:
        ArtifactError: The value is none of those allowed.
    """
    allowed = list(allowed)
    if value not in allowed:
        texts = [json.dumps(one) for one in allowed]
        raise ArtifactError(
            f"'{path}' has {field} = {json.dumps(value)}, which cannot be represented exactly; "
            f"{' or '.join(texts)} can."
        )
