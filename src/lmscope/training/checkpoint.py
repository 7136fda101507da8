"""Checkpoints: folders from which training goes on exactly, whole or absent, never pickled."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.files import atomic_folder, sha256_file
from lmscope.core.tensor_files import read_tensors, write_tensors
from lmscope.training.tensor_tree import put_together, take_apart

FORMAT_VERSION = 1
READABLE_VERSIONS = (1,)
_FOLDER = re.compile(r"step-(\d{8,})")
_NAME = re.compile(r"[A-Za-z0-9_][\w.@=-]*")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole.

    Attributes:
        path: Its folder.
        step: Steps done.
        shared: The stream's position and the random state outside the objectives.
        objectives: Weights, moments, random states and counters by the objective's name.
    """

    path: Path
    step: int
    shared: dict[str, Any]
    objectives: dict[str, dict[str, Any]]


class Checkpoints:
    """The checkpoints of one run, `step-00001000/` and so on, the newest few.

    A folder holds `manifest.json` (format, step, a SHA-256 for each other file), `state.json` (all
    that is no tensor) and one safetensors file for each objective. It is written under another
    name and renamed when everything is on the disk, so a killed process leaves the older ones.

    Args:
        folder: Where they lie; made when the first one is written.
        keep: So many stay.
    """

    def __init__(self, folder: Path | str, keep: int = 2) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def paths(self) -> list[Path]:
        """The folders of all checkpoints, oldest first; nothing is read."""
        if not self.folder.is_dir():
            return []
        return sorted((p for p in self.folder.iterdir() if _FOLDER.fullmatch(p.name)), key=_step_of)

    def save(
        self, step: int, shared: Mapping[str, Any], objectives: Mapping[str, Mapping[str, Any]]
    ) -> Path:
        """Write a checkpoint, then drop those beyond `keep`.

        Checkpoints of later steps belong to a future that was given up (an older one was resumed);
        they are dropped too.

        Raises:
            ArtifactError: The disk is full or the folder cannot be written; the older ones stay.
        """
        path = self.folder / f"step-{step:08d}"
        with atomic_folder(path) as folder:
            _write(folder, step, shared, objectives)
        earlier = [p for p in self.paths() if _step_of(p) <= step]
        for old in {*self.paths()} - {*earlier[-self.keep :]}:
            shutil.rmtree(old)
        for unfinished in self.folder.glob(".step-*.part"):
            shutil.rmtree(unfinished, ignore_errors=True)
        return path

    def latest(self, *, fallback: bool = False) -> Checkpoint | None:
        """The newest checkpoint, checked against its manifest; None when there is none.

        Args:
            fallback: Take the newest whole one instead of raising when a newer one is damaged.

        Raises:
            ArtifactError: The newest is damaged (with `fallback`: all are).
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return read_checkpoint(path)
            except ArtifactError as error:
                if fallback and path != paths[0]:
                    continue
                older = [p for p in paths if _step_of(p) < _step_of(path)]
                raise ArtifactError(f"{error} {_what_to_do(older, self.folder)}") from None
        return None


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read one checkpoint folder and check every file's hash.

    Raises:
        ArtifactError: A file is absent, changed or cut short, or the format is unknown.
    """
    path = Path(path)
    manifest = _read_json(path, "manifest.json")
    if manifest.get("kind") != "checkpoint" or manifest.get("format") not in READABLE_VERSIONS:
        raise ArtifactError(
            f"'{path}' is a {manifest.get('kind')} of format {manifest.get('format')}; this version "
            f"reads checkpoints of format {', '.join(map(str, READABLE_VERSIONS))}."
        )
    if not {"step", "files"} <= manifest.keys():
        raise ArtifactError(f"The checkpoint '{path}' is damaged: its manifest names no files.")
    for name, expected in manifest["files"].items():
        if not (path / name).is_file():
            raise ArtifactError(f"The checkpoint '{path}' is damaged: '{name}' is missing.")
        if (found := sha256_file(path / name)) != expected:
            raise ArtifactError(
                f"The checkpoint '{path}' is damaged: '{name}' has SHA-256 {found[:12]}..., its "
                f"manifest says {expected[:12]}...."
            )
    state = _read_json(path, "state.json")
    tensors = {name: read_tensors(path / f"{name}.safetensors") for name in state}
    trees = {name: put_together(plain, tensors[name]) for name, plain in state.items()}
    return Checkpoint(path, manifest["step"], trees.pop("shared"), _strip(trees))


def check_objective_name(name: str) -> None:
    """Refuse a name that cannot be a file's.

    Raises:
        RecipeError: The name has other characters.
    """
    if not _NAME.fullmatch(name):
        raise RecipeError(
            f"'{name}' cannot name an objective: use letters, digits and the signs _ . @ = -"
        )


def _write(
    folder: Path,
    step: int,
    shared: Mapping[str, Any],
    objectives: Mapping[str, Mapping[str, Any]],
) -> None:
    state: dict[str, Any] = {}
    files: dict[str, str] = {}
    trees = {"shared": shared, **{f"objective-{name}": tree for name, tree in objectives.items()}}
    for name, tree in trees.items():  # one at a time: only one objective's copy is in memory
        state[name], tensors = take_apart(tree)
        file = folder / f"{name}.safetensors"
        write_tensors(file, tensors)
        files[file.name] = sha256_file(file)
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    files["state.json"] = sha256_file(folder / "state.json")
    manifest = {"kind": "checkpoint", "format": FORMAT_VERSION, "step": step, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        return json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"The checkpoint '{path}' is damaged: '{name}' is missing.") from None
    except (ValueError, OSError) as error:
        raise ArtifactError(
            f"The checkpoint '{path}' is damaged: '{name}' cannot be read ({error})."
        ) from None


def _strip(trees: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("objective-"): tree for name, tree in trees.items()}


def _step_of(path: Path) -> int:
    match = _FOLDER.fullmatch(path.name)
    assert match is not None  # `paths` lists no others
    return int(match[1])


def _what_to_do(older: list[Path], folder: Path) -> str:
    if not older:
        return f"No older one is left in '{folder}': start the run anew."
    return f"Delete it to go on from the one before, '{older[-1]}'."
