"""What comes with lmscope: two small models, and the runs that trained their dictionaries."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent / "shipped"
"""Where it lies in the package."""
GARDEN: Final = "garden"
"""Name of a model of language in the catalog, and of the run that trained its dictionaries."""
OTHELLO: Final = "othello-mini"
"""Likewise of a player of Othello on 6 by 6 squares."""
PLAYER: Final = "othello-mini-player"
"""Name of the run that trained that player."""
RUNS: Final = (GARDEN, OTHELLO, PLAYER)
"""Runs that go by these names in the place of any other run."""
STUDIED: Final = (GARDEN, OTHELLO)
"""Models whose dictionaries are those of the run of the same name."""


def shipped_run(name: str) -> Path | None:
    """The folder of a run that comes with lmscope; None when none goes by that name.

    It is a whole run with its recipe and what it made, and is only ever read.
    """
    return ROOT / name if name in RUNS else None


def shipped_runs() -> tuple[Path, ...]:
    """All of them."""
    return tuple(ROOT / name for name in RUNS)


def shown(folder: Path) -> str:
    """A folder as it was named; what comes with lmscope by its name."""
    return f"{folder.name} (comes with lmscope)" if folder.parent == ROOT else str(folder)
