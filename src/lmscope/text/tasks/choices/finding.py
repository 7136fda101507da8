"""Finding a choice task: one that ships with lmscope, or a file of one's own."""

from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from lmscope.core.config import read_toml
from lmscope.core.errors import RecipeError, did_you_mean
from lmscope.text.tasks.choices.task import ChoiceTask

SHIPPED: Final[Traversable] = files("lmscope") / "text" / "tasks" / "choices" / "catalog"
"""Where the tasks lie that come with the package."""


def shipped_choice_tasks() -> tuple[str, ...]:
    """Names of the tasks that come with the package."""
    found = (entry.name for entry in SHIPPED.iterdir() if entry.name.endswith(".toml"))
    return tuple(sorted(name.removesuffix(".toml") for name in found))


def find_choice_task(name_or_path: str | Path) -> ChoiceTask:
    """A task by its shipped name, or from a TOML file.

    Args:
        name_or_path: A shipped name such as `sst2`, or a path that ends in `.toml`; a file that gives no `name`
            has that of the file.

    Raises:
        RecipeError: There is none, the file is no TOML, or it describes no task; one sentence says which.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        values = read_toml(_existing(text))
    elif text in (known := shipped_choice_tasks()):
        with as_file(SHIPPED / f"{text}.toml") as path:
            values = read_toml(path)
    else:
        raise RecipeError(
            f"No choice task is called '{text}'; give one that ships with lmscope or a path that ends in .toml."
            f"{did_you_mean(text, known)}"
        )
    values.setdefault("name", Path(text).stem)
    return ChoiceTask.from_mapping(values, f"task '{name_or_path}'")


def _existing(text: str) -> str:
    if not Path(text).expanduser().exists():
        raise RecipeError(
            f"There is no task at '{text}': check the path, or give the name of a shipped task."
        )
    return str(Path(text).expanduser())
