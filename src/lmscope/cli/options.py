"""Options that several commands share, and how they become a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from lmscope.cli.numbers import Count
from lmscope.cli.run_names import model_name
from lmscope.core.errors import RecipeError

RUN_GROUP = Group("Options of every job", sort_key=10)
Switch = Annotated[bool, Parameter(show_default=False)]


@Parameter(name="*", group=RUN_GROUP)
@dataclass(frozen=True)
class JobOptions:
    """What every job takes."""

    set: Annotated[tuple[str, ...], Parameter(metavar="KEY=VALUE", show_default=False)] = ()
    """Set any key of the recipe, the value as TOML: --set training.lr=3e-4. Repeatable."""
    seed: Annotated[int | None, Parameter(metavar="N")] = None
    """The one seed of all random numbers."""
    name: Annotated[str | None, Parameter(metavar="WORD")] = None
    """A word for the run, part of its folder's name."""
    runs_dir: Annotated[Path, Parameter(metavar="FOLDER")] = Path("runs")
    """Folder of all runs."""
    dry_run: Switch = False
    """Print what would be done, and write nothing."""
    json: Switch = False
    """Print one JSON object to stdout."""
    resume: Annotated[str | None, Parameter(metavar="RUN")] = None
    """Go on with a run that was interrupted; its own recipe holds."""

    track: Literal["wandb", "trackio"] | None = None
    """Forward metrics to an outside tracker; needs the extra `track`."""

    def everyday(self) -> dict[str, Any]:
        """The recipe keys that were given here."""
        return given({"seed": self.seed, "name": self.name})


@Parameter(name="*")
@dataclass(frozen=True)
class ModelAndText:
    """Which model reads which text."""

    model: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Catalog name, local folder, run that trained a model, .gguf file or Hugging Face id."""
    device: Annotated[str | None, Parameter(metavar="NAME")] = None
    """auto, cpu, cuda or cuda:1."""
    corpus: Annotated[str | None, Parameter(metavar="TEXT")] = None
    """sample, a file or folder, hf:NAME[:SPLIT[:COLUMN]] or othello:6@20000 (games)."""
    context_length: Count | None = None
    """Tokens of one context."""
    tokens: Count | None = None
    """At most so many distinct tokens, e.g. 500k or 2M."""

    def everyday(self, tokens_key: str, runs_dir: Path) -> dict[str, Any]:
        """The recipe keys that were given here; what `--tokens` caps differs between jobs."""
        return given(
            {
                "model.name": model_name(self.model, runs_dir),
                "model.device": self.device,
                "text.source": self.corpus,
                "text.context_length": self.context_length,
                tokens_key: self.tokens,
            }
        )


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given: neither absent nor empty."""
    return {key: value for key, value in options.items() if value is not None and value != ()}


def overlay(
    values: Mapping[str, Any], everyday: Mapping[str, Any], sets: Sequence[str]
) -> dict[str, Any]:
    """A recipe's plain values with options put in: everyday ones, then `--set`.

    Args:
        values: What the recipe holds.
        everyday: `{"text.max_tokens": 2000000}`: keys with dots.
        sets: `key=value`, the value as TOML.

    Raises:
        RecipeError: An everyday option and `--set` give the same key, or a path runs through a value.
    """
    from lmscope.core.config import parse_override, with_overrides

    for text in sets:
        key = ".".join(parse_override(text)[0])
        if key in everyday:
            raise RecipeError(f"'{key}' is given twice, by an option and by --set: leave one out.")
    result = with_overrides(values, ())
    for key, value in everyday.items():
        _put(result, key, value)
    return with_overrides(result, sets)


def refuse_beside_resume(options: Mapping[str, Any]) -> None:
    """A run goes on with its own recipe: other options would have no effect.

    Raises:
        RecipeError: Any option was given.
    """
    if options:
        raise RecipeError(
            f"--resume goes on with the run's own recipe, so '{next(iter(options))}' cannot be changed: "
            "leave it out, or start a new run without --resume."
        )


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    table = values
    for part in parents:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(
                f"'{key}' cannot be set: '{part}' of the recipe is a value, no table."
            )
    table[last] = value
