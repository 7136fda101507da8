"""StopSignal: SIGTERM and Ctrl-C as a flag that a long loop polls, so that it can save first."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Work was stopped on request after what was done had been saved."""


class StopSignal:
    """Within the block, SIGTERM and SIGINT set `requested` instead of ending the process.

    A second SIGINT raises KeyboardInterrupt at once. The handlers that were there before come back
    at the end. Outside the main thread Python allows no handlers; the flag then stays False unless
    `request` is called.

    Example:
        >>> with StopSignal() as stop:
        ...     for step in range(3):
        ...         if stop.requested:
        ...             break
    """

    def __init__(self) -> None:
        self.requested = False
        self._interrupted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None stands for a handler that was not set from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def request(self) -> None:
        """Ask the loop to stop, as a signal would."""
        self.requested = True

    def raise_if_requested(self) -> None:
        """End the work; call it once everything is saved.

        Raises:
            Interrupted: A stop was requested.
        """
        if self.requested:
            raise Interrupted("Stopped on request; what was done is saved.")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if number != signal.SIGINT:
            return
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
