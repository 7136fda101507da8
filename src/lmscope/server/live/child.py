"""ModelProcess: the server's end of the pipes to the process that holds the model."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from lmscope.server.live.protocol import line, read_line

COMMAND: Final = (sys.executable, "-P", "-m", "lmscope.server.live.process")
"""-P: a file of the working folder must not stand in for a library."""
GRACE_S: Final = 3.0


class ProcessEnded(Exception):  # noqa: N818 - what happened
    """The process ended before it answered; its text says how."""


class TookTooLong(Exception):  # noqa: N818
    """No answer came in time."""


class ModelProcess:
    """A running process.

    Args:
        on_report: Hears where it stands, in a thread of its own.
        command: What is started.
    """

    def __init__(
        self, on_report: Callable[[Mapping[str, Any]], None], command: Sequence[str] = COMMAND
    ) -> None:
        self._on_report = on_report
        # A session of its own: Ctrl-C in the terminal is for the server alone.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._n_asked = 0
        self._reader = threading.Thread(target=self._read, name="lmscope-live-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def memory_bytes(self) -> int | None:
        """Memory that it occupies; None where the system does not say."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        found = [row.split()[1] for row in status.splitlines() if row.startswith("VmRSS:")]
        return int(found[0]) * 1024 if found else None

    def ask(self, kind: str, payload: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The last line that it says to a request: an answer, a refusal or a defect.

        Raises:
            ProcessEnded: It ended before.
            TookTooLong: Nothing came in time; it is still at work.
        """
        self._n_asked += 1
        number, until = self._n_asked, time.monotonic() + timeout_s
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(line({"request": number, "kind": kind, "payload": payload}))
            pipe.flush()
        except OSError:
            raise ProcessEnded(self._how_it_ended()) from None
        while True:
            try:
                found = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                raise TookTooLong from None
            if found is None:
                raise ProcessEnded(self._how_it_ended())
            if number in (found.get("answer"), found.get("refused"), found.get("defect")):
                return found

    def stop(self) -> None:
        """End it: kindly, then by force."""
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(OSError):
            pipe.close()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join(GRACE_S)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._reader.join(GRACE_S)
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def _read(self) -> None:
        source = self._process.stdout
        assert source is not None
        with source:
            for text in source:
                try:
                    found = read_line(text)
                except ValueError:
                    break  # cut off in the middle of a line: it is ending
                if "state" in found:
                    self._on_report(found)
                else:
                    self._answers.put(found)
        self._answers.put(None)

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed its answers"
        return f"signal {-code}" if code < 0 else f"exit code {code}"
