"""Run: the folder that one execution owns."""

import logging
import math
import re
import time
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from lmscope.core.config import read_toml
from lmscope.core.errors import LmscopeError, RecipeError, RunError
from lmscope.core.files import write_text
from lmscope.core.protocols import Listener
from lmscope.runs.journal import Journal
from lmscope.runs.lock import LOCK_FILE, FolderLock, is_locked
from lmscope.runs.recipe import Recipe, recipe_digest
from lmscope.runs.record import (
    RECORD_FILE,
    RunRecord,
    Status,
    describe_machine,
    now,
    read_record,
)

RECIPE_FILE: Final = "recipe.toml"
_log = logging.getLogger(__name__)


class Run:
    """The folder that one execution owns, written by one process and never edited once done.

    It holds `recipe.toml` (what was asked, defaults written out), `run.json` (status, times,
    machine, versions, weights), `events.jsonl`, `metrics.jsonl`, `checkpoints/` and `artifacts/`.
    Metrics carry no times, so that equal runs have equal files.

    A run is a Listener: loops tell it what happens, it writes that down and passes it on to its own
    listeners. Open it with `Run.create`, `Run.resume` or, to read, `Run.open`. As a context manager
    it is `running` inside the block and afterwards `done`, `interrupted` (KeyboardInterrupt) or
    `failed`.

    Attributes:
        path: The folder.
        record: What run.json says.
    """

    def __init__(self, path: Path, record: RunRecord, lock: FolderLock | None) -> None:
        self.path = path
        self.record = record
        self._lock = lock
        self._events = Journal(path / "events.jsonl")
        self._metrics = Journal(path / "metrics.jsonl")
        self._listeners: list[Listener] = []
        self._since: float | None = None
        self._spent_s = record.elapsed_s

    @classmethod
    def create(
        cls, root: Path | str, recipe: Recipe, *, name: str | None = None, device: str = "cpu"
    ) -> "Run":
        """Make a new run folder and take its lock.

        Args:
            root: The folder of all runs; made when absent.
            recipe: What the run will do.
            name: The folder's name; otherwise time, recipe name and digest.
            device: On what it will compute, for the record of the machine.

        Raises:
            RunError: The name is taken or the folder cannot be written.
        """
        path = _new_folder(Path(root), recipe, name)
        lock = FolderLock(path)
        record = RunRecord(
            job=recipe.job,
            name=recipe.name,
            recipe_digest=recipe.digest(),
            machine=describe_machine(device),
            created=datetime.now(UTC),  # finer than the rest: it orders the runs of a folder
        )
        try:
            write_text(path / RECIPE_FILE, recipe.to_toml())
            record.write(path)
            for folder in ("checkpoints", "artifacts"):
                (path / folder).mkdir()
        except (LmscopeError, OSError) as error:
            lock.release()
            raise RunError(f"The run could not be started: {error}") from error
        return cls(path, record, lock)

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """A view for reading, of a run in any status.

        Raises:
            RunError: There is no run, or run.json is damaged.
        """
        path = Path(path)
        return cls(path, read_record(path), None)

    @classmethod
    def resume(
        cls, path: Path | str, recipe: Recipe | None = None, *, device: str = "cpu"
    ) -> "Run":
        """Take the lock of a run that did not finish, to go on with it.

        Call `rewind` with the step of the checkpoint before going on.

        Args:
            path: The run's folder.
            recipe: When given, it must compute what the run's own recipe computes.
            device: On what it will compute from now on.

        Raises:
            RunError: The run is done, in use, or began with another recipe.
        """
        path = Path(path)
        record = read_record(path)
        lock = None if record.status == "done" else FolderLock(path)
        try:
            record = read_record(path)  # again: it may have finished while the lock was taken
            if lock is None or record.status == "done":
                raise RunError(f"'{path}' is done: there is nothing to resume. Start a new run.")
            run = cls(path, record, lock)
            run._check_recipe(recipe)
            run._clear_unfinished()
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        run.record = record.model_copy(
            update={
                "n_resumed": record.n_resumed + 1,
                "machine": describe_machine(device),
                "error": None,
            }
        )
        return run

    @property
    def status(self) -> Status:
        """Where the run stands; one whose process was killed counts as interrupted."""
        if self.record.status == "running" and self._lock is None and not is_locked(self.path):
            # It may have ended since it was read: then it was not killed.
            status = read_record(self.path).status
            return "interrupted" if status == "running" else status
        return self.record.status

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """The folder of what the run made."""
        return self.path / "artifacts"

    @property
    def made_nothing(self) -> bool:
        """Whether there is neither a number nor a file that the work itself wrote."""
        own = {RECIPE_FILE, RECORD_FILE, LOCK_FILE, "events.jsonl"}
        return all(path.is_dir() or path.name in own for path in self.path.rglob("*"))

    @property
    def recipe_values(self) -> dict[str, Any]:
        """The recipe as plain values.

        Raises:
            RunError: recipe.toml is missing or damaged.
        """
        try:
            return read_toml(self.path / RECIPE_FILE)
        except RecipeError as error:
            raise RunError(f"The run '{self.path}' is damaged. {error}") from None

    def events(self) -> list[dict[str, Any]]:
        """All events so far: `time`, `event` and the event's own fields."""
        return self._events.rows()

    def metrics_rows(self) -> list[dict[str, Any]]:
        """All metrics so far: `step` and the numbers of that step; null where not finite."""
        return self._metrics.rows()

    def results(self) -> dict[str, dict[str, Any]]:
        """What the run found, by name: the figures of its last `result` event of each name."""
        found = (row for row in self.events() if row["event"] == "result")
        return {row["name"]: row["figures"] for row in found}

    def listen(self, listener: Listener) -> None:
        """Have a listener hear everything from now on; its failure never ends the run."""
        self._listeners.append(listener)

    def event(self, event: str, **fields: Any) -> None:
        """Write down that something happened once.

        Raises:
            RunError: The run is done, open for reading only, or the disk is full.
        """
        self.on_event(event, fields)

    def metrics(self, step: int, metrics: Mapping[str, float | int]) -> None:
        """Write down numbers of one step.

        Raises:
            RunError: As `event`.
        """
        self._check_writable()
        self._metrics.append({"step": step, **metrics})
        self._tell("on_metrics", step, metrics)

    def progress(
        self, phase: str, done: int, total: int | None = None, **fields: float | int
    ) -> None:
        """Tell the listeners how far a phase is; nothing is written."""
        self._tell("on_progress", phase, done, total, fields)

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """As `event`, for those who know only a Listener."""
        self._check_writable()
        self._events.append({"time": now().isoformat(), "event": event, **fields})
        self._tell("on_event", event, fields)

    def on_metrics(self, step: int, metrics: Mapping[str, float | int]) -> None:
        """As `metrics`, for those who know only a Listener."""
        self.metrics(step, metrics)

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float | int]
    ) -> None:
        """As `progress`, for those who know only a Listener."""
        self._tell("on_progress", phase, done, total, fields)

    def note_weights(self, weights: Mapping[str, str]) -> None:
        """Record the weights hash of models that the run studies, by name.

        Raises:
            RunError: As `event`.
        """
        self._update(weights={**self.record.weights, **weights})

    def sync(self) -> None:
        """Have everything written so far on the disk itself; called at each checkpoint.

        Raises:
            RunError: As `event`.
        """
        self._events.sync()
        self._metrics.sync()
        self._update(elapsed_s=self._elapsed_s())

    def rewind(self, step: int, *, until: int | None = None) -> None:
        """Forget metrics after `step`, the one that a resumed run goes on from.

        Args:
            step: The last one to keep.
            until: Keep those after this one too; absent: none.

        Raises:
            RunError: As `event`, or a line is damaged.
        """
        self._check_writable()
        last = math.inf if until is None else until
        self._metrics.keep(lambda row: row["step"] <= step or row["step"] > last)
        self.event("rewound", step=step)

    def close(self) -> None:
        """Give the folder free without changing its status; a second call does nothing."""
        self._events.close()
        self._metrics.close()
        if self._lock is not None:
            self._lock.release(remove=self.record.status == "done")
            self._lock = None

    def __enter__(self) -> "Run":
        self._since = time.monotonic()
        self._spent_s = self.record.elapsed_s
        self._update(status="running", started=self.record.started or now(), ended=None)
        self.event("resumed" if self.record.n_resumed else "started", folder=str(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        status, sentence = _outcome(error)
        try:
            self.event(status, **({"error": sentence} if sentence else {}))
            self._events.sync()
            self._metrics.sync()
            self._update(status=status, ended=now(), elapsed_s=self._elapsed_s(), error=sentence)
        except LmscopeError as second:
            if error is None:
                raise
            error.add_note(str(second))  # what went wrong first is what the user must hear
        finally:
            self._since = None
            self.close()

    def _update(self, **changes: Any) -> None:
        self._check_writable()
        record = self.record.model_copy(update=changes)
        record.write(self.path)
        self.record = record

    def _elapsed_s(self) -> float:
        now_s = 0.0 if self._since is None else time.monotonic() - self._since
        return round(self._spent_s + now_s, 3)

    def _check_writable(self) -> None:
        if self.record.status == "done":
            raise RunError(f"'{self.path}' is done and never edited: start a new run.")
        if self._lock is None:
            raise RunError(f"'{self.path}' is open for reading only: use Run.resume to go on.")

    def _tell(self, method: str, *arguments: Any) -> None:
        for listener in tuple(self._listeners):
            try:
                getattr(listener, method)(*arguments)
            except Exception as error:  # noqa: BLE001  (a listener may raise anything; it only listens)
                self._listeners.remove(listener)
                name = type(listener).__name__
                reason = f"{type(error).__name__}: {error}"
                _log.warning("%s failed and hears no more of this run: %s", name, reason)
                if self._lock is not None:
                    self.event("listener_failed", listener=name, error=reason)

    def _check_recipe(self, recipe: Recipe | None) -> None:
        mine = self.recipe_values
        if recipe_digest(mine) != self.record.recipe_digest:
            raise RunError(
                f"'{self.path / RECIPE_FILE}' was edited after the run began: restore it, or start a new run."
            )
        if recipe is None or recipe.digest() == self.record.recipe_digest:
            return
        # Through TOML, so that both sides hold what a file holds.
        theirs = tomllib.loads(recipe.to_toml())
        differing = [
            f"{key} was {_shown(old)} and now is {_shown(new)}"
            for key, (old, new) in differences(mine, theirs).items()
            if key != "name"
        ]
        more = f", and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise RunError(
            f"The run '{self.path}' began with another recipe: {'; '.join(differing[:3])}{more}. "
            "Resume with the recipe it began with, or start a new run."
        )

    def _clear_unfinished(self) -> None:
        """Drop a half-written last line and what a killed process left under temporary names."""
        self._events.keep()
        self._metrics.keep()
        for leftover in self.path.glob(".*.part"):
            leftover.unlink()


_ABSENT: Final = object()


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys, in dots, at which two nested tables differ, with both values; None where absent."""
    left, right = flatten(a), flatten(b)
    return {
        key: (left.get(key), right.get(key))
        for key in dict.fromkeys((*left, *right))
        if left.get(key, _ABSENT) != right.get(key, _ABSENT)
    }


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested table as one with keys in dots, e.g. `training.lr`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shown(value: Any) -> str:
    text = "absent" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _outcome(error: BaseException | None) -> tuple[Status, str | None]:
    if error is None:
        return "done", None
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", None
    if isinstance(error, LmscopeError):
        return "failed", str(error)
    return "failed", f"{type(error).__name__}: {error}"


def _new_folder(root: Path, recipe: Recipe, name: str | None) -> Path:
    if name is not None and not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name, re.ASCII):
        raise RunError(
            f"'{name}' cannot name a run folder: use letters, digits and the signs _ . -"
        )
    label = re.sub(r"[^A-Za-z0-9_]+", "-", recipe.name).strip("-")[:40] or recipe.job
    wanted = name or f"{now():%Y%m%d-%H%M%S}-{label}-{recipe.digest()[:8]}"
    path, attempt = root / wanted, 1
    while True:
        try:
            root.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            if name is not None or not root.is_dir():
                raise RunError(
                    f"'{path}' exists already: resume it, or choose another name."
                ) from None
            attempt += 1
            path = root / f"{wanted}-{attempt}"
        except OSError as error:
            raise RunError(f"'{path}' cannot be made: {error.strerror}.") from None
        else:
            return path
