"""LiveModel: questions to the one process that holds the model, which starts when it is first asked."""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from lmscope.server.failures import Busy, TimedOut, WorkerGone
from lmscope.server.live.child import COMMAND, ModelProcess, ProcessEnded, TookTooLong
from lmscope.server.live.protocol import Kind, refusal_of
from lmscope.server.schemas.live import WorkerState
from lmscope.server.settings import ServeSettings

MAX_WAITING: Final = 16
"""Requests in front of a new one; more are refused."""
_OFF: Final[Mapping[str, Any]] = {"state": "off"}
_log = logging.getLogger("lmscope.server")


class LiveDefect(Exception):  # noqa: N818
    """The process met a defect of its own; its log has more."""


class LiveModel:
    """One process, one request at a time; the others wait in the order in which they came.

    A process that ends while it is asked is started again and asked once more. It ends with the server,
    also when the server is killed.

    Args:
        settings: How long an answer may take.
        command: What is started.
        max_waiting: Requests that may wait.
    """

    def __init__(
        self,
        settings: ServeSettings,
        command: Sequence[str] = COMMAND,
        *,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._timeout_s = settings.live_timeout_s
        self._command = command
        self._max_waiting = max_waiting
        # One thread: it is the queue, and pipes need no event loop, of which tests have many.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lmscope-live")
        self._lock = threading.Lock()
        self._process: ModelProcess | None = None
        self._report: Mapping[str, Any] = _OFF
        self._failure: str | None = None
        self._n_open = self._n_started = 0
        self._is_closed = False

    def state(self) -> WorkerState:
        """Where the process stands."""
        with self._lock:
            process, report, failure = self._process, self._report, self._failure
            n_open, n_started = self._n_open, self._n_started
        memory = None if process is None else process.memory_bytes
        if process is None or not process.is_running:
            report = _OFF if failure is None else {"state": "failed", "message": failure}
        return WorkerState.model_validate(
            {
                "model": None,
                "dictionaries": [],
                **report,
                "waiting": n_open,
                "memory_bytes": memory,
                "n_restarts": max(0, n_started - 1),
            }
        )

    async def ask(self, kind: Kind, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            Busy: Too many are waiting.
            WorkerGone: The process ended twice while it was asked.
            TimedOut: The answer took too long.
            LmscopeError: The process says why not.
        """
        with self._lock:
            if self._is_closed:
                raise WorkerGone("The server is stopping.")
            if self._n_open > self._max_waiting:
                raise Busy(
                    f"{self._n_open} questions wait for the model already. Ask again in a few seconds."
                )
            self._n_open += 1
            future = self._thread.submit(self._answer, kind, payload)
        future.add_done_callback(self._ended)
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """End the process; whoever waits is refused."""
        with self._lock:
            self._is_closed = True
            process = self._process
        self._thread.shutdown(wait=False, cancel_futures=True)
        if process is not None:
            await asyncio.to_thread(process.stop)
        await asyncio.to_thread(self._thread.shutdown)

    def _ended(self, _future: "Future[dict[str, Any]]") -> None:
        with self._lock:
            self._n_open -= 1

    def _answer(self, kind: Kind, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Ask, and once more where the process ended; in the one thread."""
        try:
            found = self._asked(kind, payload)
        except ProcessEnded as first:
            _log.warning("The process with the model ended (%s); it is started again", first)
            try:
                found = self._asked(kind, payload)
            except ProcessEnded as second:
                message = (
                    f"The process with the model ended twice before it answered ({second}). Its messages are in "
                    "the server's terminal; often the machine has not got the memory for the model."
                )
                with self._lock:
                    self._failure = message
                raise WorkerGone(message) from None
        if "answer" in found:
            with self._lock:
                self._failure = None
            return found["value"]
        if "refused" in found:
            raise refusal_of(found)
        raise LiveDefect(found["message"])

    def _asked(self, kind: Kind, payload: Mapping[str, Any]) -> dict[str, Any]:
        process = self._running()
        try:
            return process.ask(kind, payload, self._timeout_s)
        except TookTooLong:
            process.kill()
            raise TimedOut(
                f"The model took longer than {self._timeout_s:g} s and was stopped. Give less text, fewer tokens "
                "or fewer dictionaries."
            ) from None

    def _running(self) -> ModelProcess:
        with self._lock:
            if self._is_closed:
                raise WorkerGone("The server is stopping.")
            if self._process is not None and self._process.is_running:
                return self._process
            if self._process is not None:
                self._process.kill()  # it has ended: this closes its pipes
            self._report = {"state": "starting", "message": "Starting the process with the model"}
            self._n_started += 1
            self._process = ModelProcess(self._hear, self._command)
            return self._process

    def _hear(self, report: Mapping[str, Any]) -> None:
        with self._lock:
            self._report = report
