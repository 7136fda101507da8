"""Order: a request for a job, checked and turned into what its process is told; imports no torch."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from lmscope.core.config import with_overrides
from lmscope.core.errors import did_you_mean
from lmscope.runs.recipe import read_recipe, shipped_recipes
from lmscope.runs.record import RECORD_FILE
from lmscope.server.failures import WrongInput
from lmscope.server.library.entries import RunEntry
from lmscope.server.library.library import PACKED, Library
from lmscope.server.schemas.work import JobRequest

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("train",),
    "evaluate": ("evaluate",),
    "atlas": ("atlas", "build"),
    "explain": ("explain",),
    "geometry": ("geometry",),
}
"""The words after `lmscope`."""
_TITLES: Final[Mapping[str, str]] = {
    "train": "Train {what}",
    "evaluate": "Evaluate {what}",
    "atlas": "Build the atlas of {what}",
    "explain": "Explain the atlas of {what}",
    "geometry": "Compare the dictionaries of {what}",
}
_NAMES_OF: Final[Mapping[str, str]] = {
    "evaluate": "dictionary",
    "atlas": "dictionary",
    "explain": "atlas",
    "geometry": "dictionaries",
}
"""The recipe key that names what is worked on."""
_WORDS: Final = {
    "name",
    "device",
    "explainer",
    "judge",
    "scorers",
    "analyses",
    "options.map",
    "options.rows",
    "options.dead",
    "options.splitting_null",
    "model.device",
    "model.dtype",
    "text.documents",
    "text.source",
    "dictionary.sites",
    "dictionary.normalisation",
    "stream.store",
    "training.precision",
}
"""Keys that take a text. Other texts name files, hosts or variables of this machine, which whoever may start a
job must not choose for its owner."""
_MOST_OPTIONS: Final = 40
_LONGEST: Final = 200


@dataclass(frozen=True)
class Order:
    """A job that can be started.

    Attributes:
        verb: Which one.
        title: In words.
        command: The same as a command.
        root: The folder of its run.
        values: Its recipe; empty where a run is gone on with.
        resume: The folder of that run.
    """

    verb: str
    title: str
    command: str
    root: Path
    values: Mapping[str, Any]
    resume: Path | None = None

    def line(self) -> bytes:
        """What its process is told."""
        found = {
            "verb": self.verb,
            "values": self.values,
            "root": str(self.root),
            "resume": None if self.resume is None else str(self.resume),
        }
        return orjson.dumps(found) + b"\n"


def order(request: JobRequest, library: Library) -> Order:
    """What a request comes to.

    Raises:
        NotFound: Its run is not served.
        WrongInput: Its parts contradict each other, or an option may not be set from here.
        RecipeError: There is no such recipe or dictionary.
    """
    if request.resume is not None:
        return _resumed(request, library)
    if request.verb == "train":
        return _training(request, library)
    return _on_run(request, library)


def recipes() -> list[str]:
    """Shipped recipes that a training takes."""
    return [name for name in shipped_recipes() if read_recipe(name).get("job") == "train"]


def _training(request: JobRequest, library: Library) -> Order:
    if request.run is not None or request.only:
        raise WrongInput("A training works on no run. Leave `run` and `only` out.")
    known = recipes()
    if request.recipe is None:
        raise WrongInput(f"A training needs a recipe. There are {', '.join(known)}.")
    if request.recipe not in known:
        raise WrongInput(
            f"There is no recipe '{request.recipe[:_LONGEST]}' to train."
            f"{did_you_mean(request.recipe[:_LONGEST], known)}"
        )
    sets = _sets(request.options, library)
    root = first_folder(library)
    return Order(
        "train",
        _TITLES["train"].format(what=request.recipe),
        _command("train", [request.recipe], sets, root),
        root,
        with_overrides(read_recipe(request.recipe), sets),
    )


def _on_run(request: JobRequest, library: Library) -> Order:
    verb = request.verb
    if request.recipe is not None:
        raise WrongInput(f"`lmscope {verb}` takes no recipe here. Leave `recipe` out.")
    if request.run is None:
        raise WrongInput(f"There is nothing to work on. Give the id of a run to {verb}.")
    run = library.run(request.run)
    names = _chosen(verb, run, request.only)
    sets = _sets(request.options, library)
    values, target = _target(verb, run, names)
    return Order(
        verb,
        _TITLES[verb].format(what=", ".join(names) if names else run.id),
        _command(verb, target, sets, run.path.parent),
        run.path.parent,  # beside it, where its labels and reports are looked for
        with_overrides(values, sets),
    )


def _resumed(request: JobRequest, library: Library) -> Order:
    if request.recipe or request.run or request.only or request.options:
        raise WrongInput(
            "A run goes on with its own recipe, so nothing else can be chosen. Leave the rest out."
        )
    assert request.resume is not None
    run = library.run(request.resume)
    if run.record.job not in COMMANDS:
        raise WrongInput(
            f"A run of `{run.record.job}` cannot be gone on with from here. Use `lmscope {run.record.job} --resume`."
        )
    if run.status in ("done", "running"):
        raise WrongInput(f"The run '{run.id}' is {run.status}, so there is nothing to go on with.")
    words = ["lmscope", *COMMANDS[run.record.job], "--resume", str(run.path)]
    title = f"Go on with {run.id}"
    return Order(run.record.job, title, shlex.join(words), run.path.parent, {}, run.path)


def _chosen(verb: str, run: RunEntry, only: Sequence[str]) -> tuple[str, ...]:
    """Names of the run's dictionaries or atlases; none where all are meant."""
    kind = "atlas" if verb == "explain" else "dictionaries"
    folder = run.path / "artifacts" / kind
    found = sorted(one.name for one in folder.glob("[!.]*")) if folder.is_dir() else []
    if not found:
        word = "atlas" if verb == "explain" else "dictionary"
        raise WrongInput(f"The run '{run.id}' holds no {word}, so it cannot be worked on so.")
    for name in only:
        if name not in found:
            raise WrongInput(
                f"The run '{run.id}' has no '{name[:_LONGEST]}'.{did_you_mean(name[:_LONGEST], found)}"
            )
    if only and verb == "evaluate" and set(only) != set(found):
        raise WrongInput(
            f"An evaluation measures all {len(found)} dictionaries of its run. Leave `only` out."
        )
    return () if set(only) == set(found) else tuple(dict.fromkeys(only))


def _target(verb: str, run: RunEntry, names: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """Recipe values that name what is worked on, and the words of a command that do."""
    key, path = _NAMES_OF[verb], str(run.path)
    if verb == "geometry":
        folders = [str(run.path / "artifacts" / "dictionaries" / name) for name in names] or [path]
        return {key: folders}, folders
    if not names:
        return {key: path}, [path]
    if verb == "atlas":
        return {key: path, "only": list(names)}, [
            path,
            *(word for name in names for word in ("--only", name)),
        ]
    return {key: path, "only": list(names)}, [path, "--set", f"only={_toml(list(names))}"]


def _sets(options: Mapping[str, Any], library: Library) -> list[str]:
    """Options as `--set` takes them.

    Raises:
        WrongInput: One is not to be set from here.
    """
    if len(options) > _MOST_OPTIONS:
        raise WrongInput(f"{len(options)} options are too many. Give {_MOST_OPTIONS} at most.")
    found = []
    for key, value in options.items():
        if not all(part.isidentifier() for part in key.split(".")) or len(key) > _LONGEST:
            raise WrongInput(f"'{key[:_LONGEST]}' is no key of a recipe.")
        _check_value(key, value, library)
        found.append(f"{key}={_toml(value)}")
    return found


def _check_value(key: str, value: Any, library: Library) -> None:
    items = value if isinstance(value, list) else [value]
    texts = [one for one in items if isinstance(one, str)]
    if any(not isinstance(one, str | int | float | bool) for one in items):
        raise WrongInput(
            f"'{key}' must be a number, a word, or a list of them. Tables are for the command line."
        )
    if texts and key not in _WORDS:
        raise WrongInput(
            f"'{key}' takes no text here: texts name files and hosts, which the command line alone may choose. "
            "Copy the command of a job and add --set there."
        )
    if any(len(text) > _LONGEST for text in texts):
        raise WrongInput(f"'{key}' is too long: {_LONGEST} characters are enough.")
    if (key == "explainer" and value != "statistics") or (key == "judge" and value != "rule"):
        raise WrongInput(
            f"'{value}' as '{key}' asks a language model on a server, which the command line alone may choose. "
            "Use `lmscope explain --endpoint URL`."
        )
    if key == "text.source" and value not in _texts(library):
        raise WrongInput(
            f"'{value}' is neither `sample` nor the text of a run that is served here, and files are for the "
            "command line alone to choose. Use its --corpus."
        )


def _texts(library: Library) -> set[str]:
    found = {"sample"}
    for run in library.runs():
        text = run.recipe.get("text")
        if isinstance(text, Mapping) and isinstance(text.get("source"), str):
            found.add(text["source"])
    return found


def _toml(value: Any) -> str:
    """A number, a word or a list of them as TOML."""
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    # Not orjson: recipes may be asked for integers that it does not write.
    return json.dumps(value, ensure_ascii=False)


def _command(verb: str, target: Sequence[str], sets: Sequence[str], root: Path) -> str:
    words = ["lmscope", *COMMANDS[verb], *target]
    words += [word for one in sets for word in ("--set", one)]
    return shlex.join([*words, "--runs-dir", str(root)])


def first_folder(library: Library) -> Path:
    """The first served folder of runs, which need not be there yet.

    Raises:
        WrongInput: Only single runs and packed atlases are served.
    """
    for folder in library.folders:
        is_new = not folder.exists() and folder.suffix != PACKED
        if is_new or (folder.is_dir() and not (folder / RECORD_FILE).exists()):
            return folder
    raise WrongInput(
        "There is no folder for a new run: single runs are served. Start `lmscope serve` with a folder of runs."
    )
