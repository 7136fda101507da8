"""FollowedRun: the run of an execution that several processes share, as all but the first see it."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from lmscope.runs.record import read_record
from lmscope.runs.run import Run


class FollowedRun(Run):
    """The folder is read, and artifacts are put into it; what happened is for the first process to write.

    Events, metrics, status and weights said to this run go nowhere.
    """

    @classmethod
    def of(cls, path: Path | str) -> "FollowedRun":
        """The run in a folder that the first process made.

        Raises:
            RunError: There is no run, or run.json is damaged.
        """
        path = Path(path)
        return cls(path, read_record(path), None)

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Nothing."""

    def metrics(self, step: int, metrics: Mapping[str, float | int]) -> None:
        """Nothing."""

    def note_weights(self, weights: Mapping[str, str]) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def rewind(self, step: int, *, until: int | None = None) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def __enter__(self) -> "FollowedRun":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass
