"""What comes with lmscope: the small model `garden`, and the run that trained its dictionaries."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent / "shipped"
"""Where it lies in the package."""
GARDEN: Final = "garden"
"""Name of the model in the catalog, and of the run in the place of any other run."""
RUNS: Final = (GARDEN,)


def shipped_run(name: str) -> Path | None:
    """The folder of a run that comes with lmscope; None when none goes by that name.

    It is a whole run with its recipe and dictionaries, and is only ever read.
    """
    return ROOT / name if name in RUNS else None


def shown(folder: Path) -> str:
    """A folder as it was named; what comes with lmscope by its name."""
    return f"{folder.name} (comes with lmscope)" if folder.parent == ROOT else str(folder)
