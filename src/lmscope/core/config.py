"""Config: frozen values read from TOML, changed by overrides, named by a digest."""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from lmscope.core.errors import RecipeError, did_you_mean

T = TypeVar("T", bound="Config")


class Config(BaseModel):
    """A frozen value; unknown keys and wrong types are errors, defaults stand only here."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=False
    )

    @classmethod
    def from_mapping(cls: type[T], values: Mapping[str, Any], source: str = "the recipe") -> T:
        """Check plain values.

        Args:
            values: What TOML or JSON gave.
            source: Where they come from, for the message.

        Raises:
            RecipeError: One sentence for the first thing that is wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RecipeError(_explain(cls, error, source)) from None

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as TOML and JSON hold them; absent options are left out."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_toml(self) -> str:
        """The value as TOML."""
        return tomli_w.dumps(self.to_mapping())

    def digest(self) -> str:
        """Sixteen hex digits that name this value; defaults count as if they were written."""
        text = json.dumps(self.to_mapping(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_toml(path: Path | str) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        RecipeError: The file is absent, not UTF-8 or not TOML.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"There is no recipe at '{path}'.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"'{path}' is not a TOML file: {error}.") from None
    except OSError as error:
        raise RecipeError(f"'{path}' cannot be read: {error.strerror}.") from None


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Read `a.b=value`, the value as TOML; a bare word that is not TOML is text.

    Raises:
        RecipeError: There is no `=` or no key.
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise RecipeError(f"'{text}' is not an override: write key=value, e.g. training.lr=3e-4.")
    try:
        return path, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path, value.strip()


def with_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The values with `a.b=c` overrides put in; later ones win.

    Raises:
        RecipeError: A path runs through something that is no table.
    """
    result = json.loads(json.dumps(dict(values), default=str))
    for text in overrides:
        path, value = parse_override(text)
        table = result
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise RecipeError(f"'{text}' cannot be set: '{part}' is a value, not a table.")
        table[path[-1]] = value
    return result


def _explain(cls: type[BaseModel], error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        parent, name = first["loc"][:-1], str(first["loc"][-1])
        fields = _fields_at(cls, parent)
        return f"'{where}' is not an option of {source}.{did_you_mean(name, fields)}"
    if first["type"] == "missing":
        return f"{source} lacks '{where}'; give it in the file or with --set {where}=VALUE."
    found = repr(first.get("input"))
    if len(found) > 60:
        found = found[:57] + "..."
    message = first["msg"].removeprefix("Value error, ")
    if not where:
        return f"{source} cannot be used: {message}"
    return f"'{where}' of {source} is wrong: {message} (found {found})."


def _fields_at(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Field names of the nested config at `path`; through unions, of every member."""
    level: list[type[BaseModel]] = [cls]
    for part in path:
        found: list[type[BaseModel]] = []
        for config in level:
            if field := config.model_fields.get(str(part)):
                found += _config_types(field.annotation)
        level = found or level
    return [name for config in level for name in config.model_fields]


def _config_types(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _config_types(argument)]
