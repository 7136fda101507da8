"""The runs of a folder: listed, compared, removed."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmscope.core.errors import RunError
from lmscope.runs.lock import FolderLock
from lmscope.runs.record import RECORD_FILE
from lmscope.runs.run import Run, differences


@dataclass(frozen=True)
class RunEntry:
    """One folder of a list: a run, or why it cannot be read.

    Attributes:
        path: The folder.
        run: A view for reading; None when run.json is damaged.
        problem: One sentence when it is.
    """

    path: Path
    run: Run | None
    problem: str | None = None


@dataclass(frozen=True)
class RunDiff:
    """In what two runs differ; keys in dots, with both values, None where one has none.

    Attributes:
        recipe: Recipe keys.
        metrics: The last value of each metric.
        results: The figures of `result` events.
        machine: Machine kind, threads, versions and commit.
        weights: Hashes of the models studied.
    """

    recipe: dict[str, tuple[Any, Any]]
    metrics: dict[str, tuple[Any, Any]]
    results: dict[str, tuple[Any, Any]]
    machine: dict[str, tuple[Any, Any]]
    weights: dict[str, tuple[Any, Any]]

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.recipe or self.metrics or self.results or self.machine or self.weights)


def list_runs(root: Path | str) -> tuple[RunEntry, ...]:
    """The runs right under `root`, oldest first; folders without run.json are no runs.

    Args:
        root: The folder of all runs; when it is absent there are none.
    """
    root = Path(root)
    if not root.is_dir():
        return ()
    found = sorted(path.parent for path in root.glob(f"*/{RECORD_FILE}"))
    entries = [_entry(path) for path in found if not path.name.startswith(".")]
    return tuple(sorted(entries, key=_age))


def diff_runs(a: Run, b: Run) -> RunDiff:
    """Compare two runs by recipe, last metrics, results, machine and weights.

    Raises:
        RunError: A run is damaged.
    """
    return RunDiff(
        recipe=differences(a.recipe_values, b.recipe_values),
        metrics=differences(_last_metrics(a), _last_metrics(b)),
        results=differences(a.results(), b.results()),
        machine=differences(a.record.machine.to_mapping(), b.record.machine.to_mapping()),
        weights=differences(a.record.weights, b.record.weights),
    )


def remove_run(path: Path | str) -> None:
    """Delete a run's folder.

    Raises:
        RunError: It is no run, or a process is writing it.
    """
    path = Path(path)
    if path.is_symlink() or not (path / RECORD_FILE).is_file():
        raise RunError(f"'{path}' is no run: nothing was removed.")
    lock = FolderLock(path)
    # Renamed first: if removal stops half-way, no half run is left under a run's name.
    doomed = path.with_name(f".{path.name}.removed")
    try:
        path.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise RunError(f"'{path}' cannot be removed: {error.strerror}.") from None
    finally:
        lock.release()


def _entry(path: Path) -> RunEntry:
    try:
        return RunEntry(path, Run.open(path))
    except RunError as error:
        return RunEntry(path, None, str(error))


def _age(entry: RunEntry) -> tuple[str, str]:
    created = "" if entry.run is None else entry.run.record.created.isoformat()
    return (created, entry.path.name)


def _last_metrics(run: Run) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for row in run.metrics_rows():
        last |= row
    return last
