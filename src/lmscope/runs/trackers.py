"""Adapters that forward a run to outside trackers; they only listen."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from lmscope.core.errors import RunError

_ENDED = {"done": 0, "interrupted": 1, "failed": 1}
"""Events that end a run, and the exit code that a tracker is told."""


class WandbTracker:
    """Forwards metrics and the end of a run to Weights & Biases.

    Args:
        project: The project there.
        name: The run's name there.
        config: The recipe's plain values.
        folder: Where wandb keeps its files; by default where it likes.

    Raises:
        RunError: wandb is not installed, or it does not start.
    """

    def __init__(
        self, project: str, name: str, config: Mapping[str, Any], folder: Path | None = None
    ) -> None:
        place = {} if folder is None else {"dir": str(folder)}
        self._run = _start("wandb", project=project, name=name, config=dict(config), **place)

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Close the run there when it ends here."""
        if event in _ENDED:
            self._run.finish(exit_code=_ENDED[event])

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Forward the numbers of one step."""
        self._run.log(dict(metrics), step=step)

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """Progress stays here."""


class TrackioTracker:
    """Forwards metrics and the end of a run to Trackio.

    Args:
        project: The project there.
        name: The run's name there.
        config: The recipe's plain values.

    Raises:
        RunError: trackio is not installed, or it does not start.
    """

    def __init__(self, project: str, name: str, config: Mapping[str, Any]) -> None:
        self._run = _start("trackio", project=project, name=name, config=dict(config))

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Close the run there when it ends here."""
        if event in _ENDED:
            self._run.finish()

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Forward the numbers of one step."""
        self._run.log(dict(metrics), step=step)

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """Progress stays here."""


def _start(package: str, **options: Any) -> Any:
    try:
        tracker = import_module(package)
    except ImportError:
        raise RunError(
            f'Tracking needs {package}, which is not installed: pip install "lmscope[track]".'
        ) from None
    try:
        return tracker.init(**options)
    except Exception as error:
        raise RunError(
            f"{package} does not start: {type(error).__name__}: {error}. Run without it, or mend its settings."
        ) from error
