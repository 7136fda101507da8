"""Checkpoints: folders from which training goes on exactly, whole or absent, never pickled."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.files import atomic_folder, sha256_file, write_failure
from lmscope.core.processes import ALONE, Processes
from lmscope.core.tensor_files import read_tensors, write_tensors
from lmscope.training.tensor_tree import part_names, put_together, take_apart

FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)
_OBJECTIVE = "objective-"
_FOLDER = re.compile(r"step-(\d{8,})")
_NAME = re.compile(r"[A-Za-z0-9_][\w.@=-]*")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole.

    Attributes:
        path: Its folder.
        step: Steps done.
        shared: The stream's position and the random state outside the objectives.
        objectives: Weights, moments, random states and counters by the objective's name; each is read
            when it is asked for, whole, however many processes wrote it.
    """

    path: Path
    step: int
    shared: dict[str, Any]
    objectives: Mapping[str, dict[str, Any]]


class Checkpoints:
    """The checkpoints of one run, `step-00001000/` and so on, the newest few.

    A folder holds `manifest.json` (format, step, a SHA-256 for each other file), `state.json` (all
    that is no tensor) and one safetensors file for each objective. It is written under another
    name and renamed when everything is on the disk, so a killed process leaves the older ones.

    Of several processes each writes what it alone holds: an objective's file comes from the first that
    trains it, and where its latents are spread, `NAME~i.safetensors` holds the rows of the i-th share.
    Any other number of processes reads them again: shares are joined, then cut anew.

    Args:
        folder: Where they lie; made when the first one is written.
        keep: So many stay.
        processes: Who writes together.
    """

    def __init__(self, folder: Path | str, keep: int = 2, processes: Processes = ALONE) -> None:
        self.folder = Path(folder)
        self.keep = keep
        self._processes = processes

    def paths(self) -> list[Path]:
        """The folders of all checkpoints, oldest first; nothing is read."""
        if not self.folder.is_dir():
            return []
        return sorted((p for p in self.folder.iterdir() if _FOLDER.fullmatch(p.name)), key=_step_of)

    def save(
        self, step: int, shared: Mapping[str, Any], objectives: Mapping[str, Mapping[str, Any]]
    ) -> Path:
        """Write a checkpoint, then drop those beyond `keep`; every process calls it with its own objectives.

        Checkpoints of later steps belong to a future that was given up (an older one was resumed);
        they are dropped too.

        Raises:
            ArtifactError: The disk is full or the folder cannot be written; the older ones stay.
        """
        path = self.folder / f"step-{step:08d}"
        with self._folder(path) as folder:
            own = _write_own(folder, self._processes, shared, objectives)
            if own.error:
                own = own._replace(error=own.error.replace(str(folder), str(path)))
            written = self._processes.world.values(own)
            if error := next((part.error for part in written if part.error), None):
                raise ArtifactError(error)
            if self._processes.is_first:
                _write_manifest(folder, step, written)
        self._processes.world.wait()
        if self._processes.is_first:
            self._drop_old(step)
        return path

    @contextmanager
    def _folder(self, path: Path) -> Iterator[Path]:
        """The unfinished folder, which the first process makes and renames."""
        if not self._processes.is_first:
            yield Path(self._processes.world.first(""))
            return
        with atomic_folder(path) as folder:
            self._processes.world.first(str(folder))
            yield folder

    def _drop_old(self, step: int) -> None:
        earlier = [p for p in self.paths() if _step_of(p) <= step]
        for old in {*self.paths()} - {*earlier[-self.keep :]}:
            shutil.rmtree(old)
        for unfinished in self.folder.glob(".step-*.part"):
            shutil.rmtree(unfinished, ignore_errors=True)

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
        found = manifest.get("format")
        newer = isinstance(found, int) and found > FORMAT_VERSION
        raise ArtifactError(
            f"'{path}' is a {manifest.get('kind')} of format {found}; this version reads checkpoints of "
            f"format {', '.join(map(str, READABLE_VERSIONS))}"
            + (": a newer lmscope wrote it, so update lmscope." if newer else ".")
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
    shared = put_together(state["shared"], [read_tensors(path / "shared.safetensors")])
    trees = {
        name.removeprefix(_OBJECTIVE): tree for name, tree in state.items() if name != "shared"
    }
    return Checkpoint(path, manifest["step"], shared, _Saved(path, trees, manifest["files"]))


def check_objective_name(name: str) -> None:
    """Refuse a name that cannot be a file's.

    Raises:
        RecipeError: The name has other characters.
    """
    if not _NAME.fullmatch(name):
        raise RecipeError(
            f"'{name}' cannot name an objective: use letters, digits and the signs _ . @ = -"
        )


class _Saved(Mapping[str, dict[str, Any]]):
    """The objectives of a checkpoint, read one at a time: only one's copy is in memory."""

    def __init__(self, path: Path, trees: Mapping[str, Any], files: Mapping[str, str]) -> None:
        self._path, self._trees, self._files = path, trees, files

    def __getitem__(self, name: str) -> dict[str, Any]:
        stem = f"{_OBJECTIVE}{name}"
        shares = [read_tensors(self._path / f"{stem}.safetensors")]
        n_shares = sum(file.startswith(f"{stem}~") for file in self._files)
        for i in range(n_shares):
            share = read_tensors(self._path / f"{stem}~{i}.safetensors")
            if i == 0:
                shares[0] |= share
            else:
                shares.append(share)
        return put_together(self._trees[name], shares)

    def __iter__(self) -> Iterator[str]:
        return iter(self._trees)

    def __len__(self) -> int:
        return len(self._trees)


class _Written(NamedTuple):
    """What one process wrote: hashes by file, plain state by tree, or why it could not."""

    files: dict[str, str]
    state: dict[str, Any]
    error: str | None


def _write_own(
    folder: Path,
    processes: Processes,
    shared: Mapping[str, Any],
    objectives: Mapping[str, Mapping[str, Any]],
) -> _Written:
    """Write what no other process writes; trouble is told, not raised, as the others must hear of it."""
    state: dict[str, Any] = {}
    files: dict[str, str] = {}
    trees = {f"{_OBJECTIVE}{name}": tree for name, tree in objectives.items()}
    if processes.is_first:
        trees = {"shared": shared, **trees}
    if processes.data.rank:
        return _Written({}, {}, None)
    try:
        for name, tree in trees.items():  # one at a time: only one objective's copy is in memory
            plain, tensors = take_apart(tree)
            split = part_names(plain)
            if processes.latent.rank == 0:
                state[name] = plain
                whole = {key: value for key, value in tensors.items() if key not in split}
                files |= _write_file(folder / f"{name}.safetensors", whole)
            if split:
                file = folder / f"{name}~{processes.latent.rank}.safetensors"
                files |= _write_file(file, {key: tensors[key] for key in sorted(split)})
    except OSError as error:
        return _Written({}, {}, write_failure(folder, error))
    return _Written(files, state, None)


def _write_file(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    write_tensors(path, tensors)
    return {path.name: sha256_file(path)}


def _write_manifest(folder: Path, step: int, written: Sequence[_Written]) -> None:
    files = {name: digest for part in written for name, digest in part.files.items()}
    state = {name: plain for part in written for name, plain in part.state.items()}
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


def _step_of(path: Path) -> int:
    match = _FOLDER.fullmatch(path.name)
    assert match is not None  # `paths` lists no others
    return int(match[1])


def _what_to_do(older: list[Path], folder: Path) -> str:
    if not older:
        return f"No older one is left in '{folder}': start the run anew."
    return f"Delete it to go on from the one before, '{older[-1]}'."
