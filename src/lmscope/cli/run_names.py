"""Which run folder a person means: a path, a folder name, its beginning, `last`, or one that comes with lmscope."""

from pathlib import Path
from typing import Final

from lmscope.core.errors import RunError, did_you_mean
from lmscope.core.shipped import shipped_run

LAST: Final = "last"


def is_recipe(target: str) -> bool:
    """Whether a word that may be a run or a recipe is a recipe: it ends in .toml, or is shipped as nothing else."""
    from lmscope.runs.recipe import shipped_recipes

    return target.endswith(".toml") or (target in shipped_recipes() and shipped_run(target) is None)


def model_name(text: str | None, runs_dir: Path) -> str | None:
    """What a recipe calls the model that a person named: runs that trained one become its folder.

    Args:
        text: What was named, if anything was.
        runs_dir: The folder of all runs.
    """
    from lmscope.models.catalog import CATALOG
    from lmscope.models.run_models import MODEL
    from lmscope.runs.record import RECORD_FILE

    if text is None or text in CATALOG:
        return text
    places = (Path(text), runs_dir / text, shipped_run(text) or Path(text))
    path = next((path for path in places if path.exists()), None)
    if path is None or not (path / RECORD_FILE).is_file():
        return text
    return str(path / MODEL if (path / MODEL).is_dir() else path)


def find_run(text: str, root: Path, *, exact: bool = False, holding: str = "") -> Path:
    """The folder of a run.

    Args:
        text: A path, a folder name under `root`, a beginning of one that fits one run only, or
            `last` for the newest, or the name of one that comes with lmscope (`garden`, `othello-mini`).
        root: The folder of all runs.
        holding: For `last` only runs count that hold this folder, e.g. `artifacts/dictionaries`.
        exact: Take a path or a whole folder name only, as what deletes must.

    Raises:
        RunError: No run fits, or more than one.
    """
    from lmscope.runs.listing import list_runs
    from lmscope.runs.record import RECORD_FILE

    for path in (Path(text), root / text):
        if (path / RECORD_FILE).is_file():
            return path
    if not exact and (own := shipped_run(text)) is not None:
        return own
    paths = [entry.path for entry in list_runs(root)]
    if not exact:
        able = [path for path in paths if (path / holding).is_dir()]
        if text == LAST and able:
            return able[-1]
        fitting = [path for path in paths if path.name.startswith(text)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = ", ".join(path.name for path in fitting[:5])
            raise RunError(f"'{text}' fits {len(fitting)} runs ({names}): write more of the name.")
    if not paths:
        raise RunError(f"There is no run '{text}': '{root}' holds no runs (see --runs-dir).")
    names = [path.name for path in paths]
    raise RunError(f"There is no run '{text}' in '{root}'.{did_you_mean(text, names)}")
