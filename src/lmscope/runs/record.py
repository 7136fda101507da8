"""RunRecord: what run.json says about an execution, and the machine it ran on."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError, RunError
from lmscope.core.files import write_text

RECORD_FILE: Final = "run.json"
FORMAT_VERSION: Final = 1
Status = Literal["created", "running", "interrupted", "failed", "done"]


class Machine(Config):
    """Where a run ran, as far as it matters to its numbers; no host or user name."""

    kind: str
    """Processor family, device and logical cores, e.g. `x86_64-cpu-2`."""
    n_threads: int
    """Threads that torch uses within one operation; results are bit-equal at equal counts."""
    versions: dict[str, str]
    """Of lmscope, Python and the libraries that compute."""
    git_commit: str | None = None
    """Commit of the checkout that ran, `-dirty` when files differed; None for an installed copy."""


class RunRecord(Config):
    """The content of run.json."""

    format_version: int = FORMAT_VERSION
    status: Status = "created"
    """`running` with nobody holding the lock means killed: it reads as interrupted."""
    job: str
    name: str
    recipe_digest: str
    """Of the recipe."""
    machine: Machine
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    elapsed_s: float = 0.0
    """Time spent running, over all resumptions."""
    n_resumed: int = 0
    weights: dict[str, str] = Field(default_factory=dict)
    """Hash of the weights of each model that was studied, by the model's name."""
    error: str | None = None
    """One sentence when the run failed."""

    def write(self, folder: Path) -> None:
        """Replace run.json of a folder.

        Raises:
            ArtifactError: It cannot be written.
        """
        write_text(folder / RECORD_FILE, json.dumps(self.to_mapping(), indent=1) + "\n")


def read_record(folder: Path) -> RunRecord:
    """Read run.json of a folder.

    Raises:
        RunError: The folder is no run, is damaged, or was written by a newer lmscope.
    """
    path = folder / RECORD_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(
            f"'{folder}' is no run: it has no {RECORD_FILE}. `lmscope runs list` shows the runs."
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' is damaged: {error}.") from None
    if not isinstance(values, dict):
        raise RunError(f"'{path}' is damaged: it holds no table.")
    found = values.get("format_version")
    if isinstance(found, int) and found > FORMAT_VERSION:
        raise RunError(
            f"'{folder}' has format {found}, this lmscope reads up to {FORMAT_VERSION}: upgrade lmscope."
        )
    try:
        return RunRecord.from_mapping(values, f"'{path}'")
    except RecipeError as error:
        raise RunError(f"'{path}' is damaged: {error}") from None


def describe_machine(device: str = "cpu") -> Machine:
    """This machine, for a run that computes on `device` (`cpu`, `cuda`, `cuda:0`, `mps`)."""
    names = ("lmscope", "torch", "transformers", "numpy")
    versions = {name: found for name in names if (found := installed_version(name))}
    versions["python"] = platform.python_version()
    return Machine(
        kind=_kind(device), n_threads=_n_threads(), versions=versions, git_commit=_git_commit()
    )


def now() -> datetime:
    """The time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _kind(device: str) -> str:
    processor = platform.machine() or "unknown"
    torch = sys.modules.get("torch")  # never imported for this: a computing run has it already
    if device.startswith("cuda") and torch is not None:
        return f"{processor}-{torch.cuda.get_device_name(device).replace(' ', '_')}"
    return f"{processor}-{device.partition(':')[0]}-{_n_cores()}"


def _n_cores() -> int:
    """Logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _n_threads() -> int:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else _n_cores()


def installed_version(package: str) -> str | None:
    """The version of an installed package; None when it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of lmscope's own checkout; a copy installed inside another repository has none."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or not (root / "src" / "lmscope").is_dir():
        return None
    command = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
