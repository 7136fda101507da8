"""Recipe: the frozen value that says what one run does, read from TOML or shipped by name."""

from collections.abc import Iterable, Mapping
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, TypeVar

from lmscope.core.config import Config, digest_of, read_toml, with_overrides
from lmscope.core.errors import RecipeError, did_you_mean

T = TypeVar("T", bound="Recipe")

SHIPPED: Final[Traversable] = files("lmscope") / "recipes"
"""Where the recipes lie that come with the package."""
LABELS: Final = ("name",)
"""Keys that change nothing that a run computes; the digest leaves them out."""


class Recipe(Config):
    """What one run does; each job has a subclass with the fields that it needs."""

    job: str
    """The job that runs it, e.g. `train`."""
    name: str
    """A label for people and for folder names; it changes nothing, so the digest ignores it."""
    seed: int = 0
    """The one number that every random stream of the run is derived from."""

    @classmethod
    def load(cls: type[T], name_or_path: str | Path, overrides: Iterable[str] = ()) -> T:
        """Read a recipe and check it as this class.

        Args:
            name_or_path: A file that ends in `.toml`, or the name of a shipped recipe.
            overrides: `a.b=c`, the value as TOML; later ones win.

        Raises:
            RecipeError: No such recipe, an unknown key, a wrong value.
        """
        values = read_recipe(name_or_path, overrides)
        return cls.from_mapping(values, f"recipe '{name_or_path}'")

    def digest(self) -> str:
        """Sixteen hex digits that name what is computed; `name`, a pure label, is left out."""
        return recipe_digest(self.to_mapping())


def recipe_digest(values: Mapping[str, Any]) -> str:
    """The digest of a complete recipe's plain values, labels left out."""
    return digest_of({key: value for key, value in values.items() if key not in LABELS})


def shipped_recipes(folder: Traversable = SHIPPED) -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    if not folder.is_dir():
        return ()
    found = (entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return tuple(sorted(name.removesuffix(".toml") for name in found))


def read_recipe(
    name_or_path: str | Path, overrides: Iterable[str] = (), *, folder: Traversable = SHIPPED
) -> dict[str, Any]:
    """The values of a recipe as written, overrides put in; `name` is the file's where absent.

    Args:
        name_or_path: A file that ends in `.toml`, or the name of a shipped recipe.
        overrides: `a.b=c`, the value as TOML.
        folder: Where shipped recipes lie.

    Raises:
        RecipeError: No such recipe, no TOML, or an override that cannot be put in.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        values = read_toml(text)
    elif text in (known := shipped_recipes(folder)):
        with as_file(folder / f"{text}.toml") as path:
            values = read_toml(path)
    else:
        raise RecipeError(
            f"No recipe is called '{text}'; give one that ships with lmscope or a path that ends "
            f"in .toml.{did_you_mean(text, known)}"
        )
    values.setdefault("name", Path(text).stem)
    return with_overrides(values, overrides)
