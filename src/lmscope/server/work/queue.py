"""JobQueue: jobs one after the other, each in a process of its own."""

import asyncio
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from lmscope.runs.record import now
from lmscope.server.failures import Busy, NotFound, ReadOnly, WorkerGone
from lmscope.server.settings import ServeSettings
from lmscope.server.work.order import Order

COMMAND: Final = (sys.executable, "-P", "-m", "lmscope.server.work.child")
"""-P: a file of the working folder must not stand in for a library."""
MAX_WAITING: Final = 8
MAX_REMEMBERED: Final = 200
"""Jobs that have ended; the oldest are forgotten first, their runs stay."""
GRACE_S: Final = 10.0
"""Seconds that a job has for its checkpoint when the server stops."""
State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: Final = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Progress:
    """How far a phase of a job is.

    Attributes:
        phase: Its name.
        done: Units done.
        total: Units of the whole phase.
        rate: Units a second.
        left_s: Seconds that it still takes.
    """

    phase: str | None = None
    done: int | None = None
    total: int | None = None
    rate: float | None = None
    left_s: float | None = None


@dataclass(frozen=True)
class Job:
    """A job as it stands; another value whenever something changes.

    Attributes:
        id: Its number, as a text.
        order: What was asked for.
        created: ISO 8601, UTC.
        state: Where it stands.
        folder: Of its run, as soon as there is one.
        progress: How far it is.
        message: Why it failed.
    """

    id: str
    order: Order
    created: str
    state: State = "waiting"
    folder: Path | None = None
    progress: Progress = field(default_factory=Progress)
    message: str | None = None


class JobQueue:
    """Jobs one after the other; all methods may be called by several threads.

    Args:
        settings: Whether jobs may be started.
        command: The process of a job.
    """

    def __init__(self, settings: ServeSettings, command: Sequence[str] = COMMAND) -> None:
        self._read_only = settings.read_only
        self._command = command
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[str] = deque()
        self._n_made = 0
        self._running: tuple[str, subprocess.Popen[bytes]] | None = None
        self._cancelled: set[str] = set()
        self._worker: threading.Thread | None = None
        self._is_closed = False

    def jobs(self) -> list[Job]:
        """All jobs that are remembered, newest first."""
        with self._lock:
            return list(self._jobs.values())[::-1]

    def job(self, job_id: str) -> Job:
        """One of them.

        Raises:
            NotFound: There is none of this id.
        """
        with self._lock:
            return self._job(job_id)

    @property
    def is_free(self) -> bool:
        """Whether another one would start at once."""
        with self._lock:
            return self._worker is None

    def start(self, order: Order) -> Job:
        """Start a job, or let it wait for those before it.

        Raises:
            ReadOnly: The server changes nothing.
            Busy: Too many are waiting.
        """
        if self._read_only:
            raise ReadOnly("This server was started with --read-only, so it starts no jobs.")
        with self._lock:
            if self._is_closed:
                raise WorkerGone("The server is stopping.")
            if len(self._waiting) >= MAX_WAITING:
                raise Busy(f"{MAX_WAITING} jobs wait already. Cancel one, or wait until one ends.")
            self._n_made += 1
            job = Job(str(self._n_made), order, now().isoformat())
            self._jobs[job.id] = job
            self._waiting.append(job.id)
            self._forget()
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="lmscope-jobs", daemon=True)
                self._worker.start()
            return job

    def cancel(self, job_id: str) -> Job:
        """Stop a job: a waiting one never starts, a running one saves what it did.

        Asked again of a job that is still saving, it ends at once.

        Raises:
            NotFound: There is none of this id.
            ReadOnly: The server changes nothing.
        """
        if self._read_only:
            raise ReadOnly("This server was started with --read-only, so it stops no jobs.")
        with self._lock:
            job = self._job(job_id)
            if job.state == "waiting":
                self._waiting.remove(job_id)
                return self._set(job_id, state="cancelled")
            if job.state in ENDED:
                return job
            again = job_id in self._cancelled
            self._cancelled.add(job_id)
            if self._running is not None and self._running[0] == job_id:
                process = self._running[1]
                process.kill() if again else process.terminate()
            return job

    async def close(self) -> None:
        """Stop the running job, which saves what it did, and drop those that wait."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            self._is_closed = True
            while self._waiting:
                self._set(self._waiting.popleft(), state="cancelled")
            running, worker = self._running, self._worker
            if running is not None:
                self._cancelled.add(running[0])
                running[1].terminate()
        if worker is None:
            return
        worker.join(GRACE_S)
        if worker.is_alive() and running is not None:
            running[1].kill()
            worker.join(GRACE_S)

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._is_closed or not self._waiting:
                    self._worker = None
                    return
                job_id = self._waiting.popleft()
                process = self._started(job_id)
            if process is not None:
                try:
                    self._follow(job_id, process)
                finally:
                    with self._lock:
                        self._running = None

    def _started(self, job_id: str) -> "subprocess.Popen[bytes] | None":
        """The process of a job; called with the lock held, so that nobody cancels in between."""
        try:
            # A session of its own: Ctrl-C in the terminal is for the server alone.
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            message = f"Its process could not be started: {error.strerror}."
            self._set(job_id, state="failed", message=message)
            return None
        self._running = (job_id, process)
        self._set(job_id, state="running")
        return process

    def _follow(self, job_id: str, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        last: dict[str, Any] = {}
        with process:
            # stdin stays open until the process has ended: its end would stop the job.
            with suppress(BrokenPipeError):
                process.stdin.write(self.job(job_id).order.line())
                process.stdin.flush()
            for text in process.stdout:
                try:
                    found = orjson.loads(text)
                except orjson.JSONDecodeError:
                    break  # cut off in the middle of a line: it is ending
                if "end" in found:
                    last = found
                elif "run" in found:
                    self._change(job_id, folder=Path(found["run"]))
                else:
                    self._change(job_id, progress=Progress(**found))
            code = process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        self._end(job_id, last, code)

    def _end(self, job_id: str, last: dict[str, Any], code: int) -> None:
        with self._lock:
            was_cancelled = job_id in self._cancelled
            self._cancelled.discard(job_id)
            if "end" in last:
                self._set(job_id, state=last["end"], message=last.get("message"))
            elif was_cancelled:
                self._set(job_id, state="cancelled")
            else:
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                self._set(
                    job_id,
                    state="failed",
                    message=(
                        f"Its process ended without a word ({how}), often because the machine has not got the "
                        "memory. Its messages are in the server's terminal; what it saved can be gone on with."
                    ),
                )

    def _change(self, job_id: str, **changes: Any) -> None:
        with self._lock:
            self._set(job_id, **changes)

    def _set(self, job_id: str, **changes: Any) -> Job:
        self._jobs[job_id] = replace(self._jobs[job_id], **changes)
        return self._jobs[job_id]

    def _job(self, job_id: str) -> Job:
        if job_id not in self._jobs:
            raise NotFound(
                f"There is no job '{job_id[:80]}'. Jobs are remembered until the server stops; their runs stay."
            )
        return self._jobs[job_id]

    def _forget(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.state in ENDED]
        for job_id in ended[: max(0, len(self._jobs) - MAX_REMEMBERED)]:
            del self._jobs[job_id]
