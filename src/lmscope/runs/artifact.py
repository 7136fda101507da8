"""Artifacts: folders that are whole, of a known kind and format, and named by their content."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.files import atomic_folder, sha256_file
from lmscope.runs.record import installed_version

MANIFEST_FILE: Final = "manifest.json"


class ArtifactFile(Config):
    """One file of an artifact."""

    sha256: str
    bytes: int


class Manifest(Config):
    """The content of manifest.json.

    It holds no time and no path, so the same recipe, code and machine kind give the same bytes.
    """

    kind: str
    """What the artifact is, e.g. `dictionary`."""
    format_version: int
    """Of this kind's files."""
    lmscope: str
    """The version that wrote it; not part of the digest."""
    files: dict[str, ArtifactFile]
    """Every file by its path within the folder, with `/` between names."""
    content_digest: str
    """64 hex digits over kind, format and the files' names and hashes."""


@contextmanager
def write_artifact(path: Path | str, kind: str, format_version: int) -> Iterator[Path]:
    """A temporary folder to write files into; it becomes the artifact when the block ends well.

    The manifest is written last and the folder then renamed, so a half-written one cannot load.

    Args:
        path: Where the artifact will stand; nothing may be there.
        kind: What it is.
        format_version: Of this kind's files, from 1.

    Raises:
        ArtifactError: Something is there already, no file was written, or the disk is full.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():
        raise ArtifactError(f"'{path}' exists already: remove it or choose another name.")
    with atomic_folder(path) as folder:
        yield folder
        manifest = _describe(folder, kind, format_version)
        text = json.dumps(manifest.to_mapping(), indent=1, sort_keys=True) + "\n"
        (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def read_manifest(
    path: Path | str, kind: str, versions: Sequence[int], *, verify: bool = False
) -> Manifest:
    """Check that an artifact can be read, and read its manifest.

    Args:
        path: The artifact's folder.
        kind: What it must be.
        versions: Formats that the reader knows: N and, where there is one, N - 1.
        verify: Hash every file too; otherwise only presence and size are checked.

    Raises:
        ArtifactError: It is missing, damaged, of another kind, or of a format not known.
    """
    path = Path(path)
    manifest = _load(path)
    if manifest.kind != kind:
        raise ArtifactError(
            f"'{path}' holds no {kind}, its kind is '{manifest.kind}': give the folder of one, or a run that made one."
        )
    if manifest.format_version > max(versions):
        raise ArtifactError(
            f"'{path}' has format {manifest.format_version}, this lmscope reads up to {max(versions)}: "
            "upgrade lmscope."
        )
    if manifest.format_version not in versions:
        raise ArtifactError(
            f"'{path}' has format {manifest.format_version}, this lmscope reads from {min(versions)} on: "
            f"lmscope {manifest.lmscope} wrote it and can read it; make it anew with this version."
        )
    if manifest.content_digest != _digest(kind, manifest.format_version, manifest.files):
        raise ArtifactError(f"'{path / MANIFEST_FILE}' was edited: copy the artifact again.")
    for name, file in manifest.files.items():
        _check_file(path, name, file, verify=verify)
    return manifest


def _describe(folder: Path, kind: str, format_version: int) -> Manifest:
    files: dict[str, ArtifactFile] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ArtifactError(f"'{path.name}' is a link: an artifact holds plain files only.")
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            files[name] = ArtifactFile(sha256=sha256_file(path), bytes=path.stat().st_size)
    if not files:
        raise ArtifactError(f"The {kind} holds no file: nothing was written.")
    return Manifest(
        kind=kind,
        format_version=format_version,
        lmscope=installed_version("lmscope") or "unknown",
        files=files,
        content_digest=_digest(kind, format_version, files),
    )


def _digest(kind: str, format_version: int, files: dict[str, ArtifactFile]) -> str:
    content = [kind, format_version, sorted((name, file.sha256) for name, file in files.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _load(path: Path) -> Manifest:
    file = path / MANIFEST_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ArtifactError(f"'{file}' is damaged: it holds no table. Copy the artifact again.")
        return Manifest.from_mapping(values, f"'{file}'")
    except (FileNotFoundError, NotADirectoryError):
        reason = f"it has no {MANIFEST_FILE}" if path.exists() else "nothing is there"
        raise ArtifactError(f"There is no artifact at '{path}': {reason}.") from None
    except (OSError, ValueError, RecipeError) as error:
        raise ArtifactError(f"'{file}' is damaged: {error} Copy the artifact again.") from None


def _check_file(folder: Path, name: str, expected: ArtifactFile, *, verify: bool) -> None:
    inner = PurePosixPath(name)
    if inner.is_absolute() or ".." in inner.parts:
        raise ArtifactError(f"'{folder}' names a file outside itself, '{name}': do not trust it.")
    path = folder / inner
    if not path.is_file():
        raise ArtifactError(f"'{path}' is missing: copy the artifact again, or make it anew.")
    size = path.stat().st_size
    if size != expected.bytes:
        raise ArtifactError(
            f"'{path}' is damaged: it has {size} bytes instead of {expected.bytes}. "
            "Copy the artifact again, or make it anew."
        )
    if verify and sha256_file(path) != expected.sha256:
        raise ArtifactError(
            f"'{path}' is damaged: its content is not what {MANIFEST_FILE} names. "
            "Copy the artifact again, or make it anew."
        )
