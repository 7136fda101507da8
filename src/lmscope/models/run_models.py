"""Models that runs made: the folder of such a run stands for its model."""

from pathlib import Path
from typing import Final

from lmscope.core.errors import ModelError
from lmscope.runs.commands import command_of
from lmscope.runs.record import RECORD_FILE
from lmscope.runs.run import Run

MODEL: Final = Path("artifacts") / "model"
"""Where a run that trains a model puts it."""
MAKERS: Final = ("lm", "othello")
"""Jobs that train one."""


def model_of(folder: Path) -> Path:
    """The model that a folder stands for: itself, or the one that a run made.

    Args:
        folder: A model folder, or a run.

    Raises:
        ModelError: The run made no model, or has not made it yet.
        RunError: The run's record is damaged.
    """
    if (folder / "config.json").is_file() or not (folder / RECORD_FILE).is_file():
        return folder
    if (folder / MODEL).is_dir():
        return folder / MODEL
    run = Run.open(folder)
    if run.record.job in MAKERS:
        raise ModelError(f"'{folder}' holds no model yet: {unfinished(run)}.")
    raise ModelError(
        f"'{folder}' is a run of `lmscope {command_of(run.record.job)}`, which makes no model: give a model folder, or a "
        "run that trained a model."
    )


def unfinished(run: Run) -> str:
    """Why a training has no result yet, and what to do.

    Args:
        run: One that has made nothing that lasts.
    """
    if run.status == "running":
        return "its training still runs, so wait until it is done"
    return (
        f"its training is not finished ({run.status}), go on with it by `lmscope {command_of(run.record.job)} --resume "
        f"{run.path}`"
    )
