"""Config: frozen values read from TOML, changed by overrides, named by a digest."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from lmscope.core.errors import RecipeError, did_you_mean

T = TypeVar("T", bound="Config")


class Config(BaseModel):
    """A frozen value; unknown keys and wrong types are errors, defaults stand only here.

    A config whose default for a field is another config with changes keeps those changes when a table gives
    only some keys of it: `training: TrainingConfig = TrainingConfig(lr=2e-3)` has this `lr` unless it is given.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=False
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a field that could not be written: TOML has no null, so absent must mean None."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            optional = type(None) in get_args(field.annotation)
            if optional and not field.is_required() and field.get_default() is not None:
                raise TypeError(
                    f"{cls.__name__}.{name} may be None but defaults to something else."
                )

    @model_validator(mode="before")
    @classmethod
    def _keep_own_defaults(cls, values: Any) -> Any:
        defaults = _config_defaults(cls)
        if not defaults or not isinstance(values, Mapping):
            return values
        return _with_defaults(values, defaults)

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
        return digest_of(self.to_mapping())


@cache
def _config_defaults(cls: type[Config]) -> Mapping[str, Config]:
    """Defaults that are configs; not those of unions, where a table may mean another member than the default."""
    defaults = {name: (field.annotation, field.default) for name, field in cls.model_fields.items()}
    return {
        name: own
        for name, (kind, own) in defaults.items()
        if isinstance(own, Config) and kind is type(own)
    }


def _with_defaults(values: Mapping[str, Any], defaults: Mapping[str, Config]) -> Mapping[str, Any]:
    """Values whose tables are filled up with what the defaults of their places have of their own."""
    found = dict(values)
    for name, own in defaults.items():
        table = found.get(name)
        if isinstance(table, Mapping):
            fields = type(own).model_fields
            held = {key: getattr(own, key) for key in fields}
            changed = {key: held[key] for key in fields if held[key] != fields[key].default}
            inner = {key: held[key] for key in _config_defaults(type(own))}
            found[name] = {**changed, **_with_defaults(table, inner)}
    return found


def digest_of(values: Mapping[str, Any]) -> str:
    """Sixteen hex digits that name plain values, whatever the order of their keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
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
        raise RecipeError(
            f"There is no recipe at '{path}'. Check the path; a name without .toml means a shipped recipe."
        ) from None
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
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return path, value.strip()
    # A value that spans lines could smuggle in further keys; then it is text, not TOML.
    return path, parsed["value"] if len(parsed) == 1 else value.strip()


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
    # A misspelt key shows up twice, as missing and as unknown: the unknown one says more.
    errors = error.errors()
    first = next((found for found in errors if found["type"] == "extra_forbidden"), errors[0])
    path, config = _walk(cls, first["loc"])
    where = ".".join(path)
    if first["type"] == "extra_forbidden":
        near = did_you_mean(path[-1], [name for known in config for name in known.model_fields])
        return f"'{where}' is not an option of {source}.{near}"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _explain_tag(where, first.get("ctx", {}), source)
    if first["type"] == "missing":
        return f"{source} lacks '{where}'; give it in the file or with --set {where}=VALUE."
    found = repr(first.get("input"))
    if len(found) > 60:
        found = found[:57] + "..."
    message = first["msg"].removeprefix("Value error, ")
    if not where:
        return f"{source} cannot be used: {message}"
    return f"'{where}' of {source} is wrong: {message} (found {found})."


def _explain_tag(where: str, context: Mapping[str, Any], source: str) -> str:
    key = str(context["discriminator"]).strip("'")
    option = f"{where}.{key}" if where else key
    if "tag" not in context:
        return f"{source} lacks '{option}'; give it in the file or with --set {option}=VALUE."
    tag, choices = str(context["tag"]), re.findall(r"'([^']*)'", str(context["expected_tags"]))
    return f"'{option}' of {source} cannot be '{tag}'.{did_you_mean(tag, choices)}"


def _walk(
    cls: type[BaseModel], loc: tuple[int | str, ...]
) -> tuple[list[str], list[type[BaseModel]]]:
    """The path as a recipe writes it, and the configs one of which should hold its last key.

    Pydantic puts the chosen member of a union into the path; a recipe has no such level.
    """
    path: list[str] = []
    level: list[type[BaseModel]] = [cls]
    for i, part in enumerate(loc):
        if chosen := [config for config in level if i and part in _tags(config)]:
            level = chosen
            continue
        path.append(str(part))
        if i + 1 == len(loc) or isinstance(part, int):
            continue
        fields = [config.model_fields.get(part) for config in level]
        level = [found for field in fields if field for found in _config_types(field.annotation)]
    return path, level


def _tags(config: type[BaseModel]) -> set[object]:
    """By what pydantic names this config as a member of a union: its class or its literals."""
    annotations = [field.annotation for field in config.model_fields.values()]
    literals = [value for a in annotations if get_origin(a) is Literal for value in get_args(a)]
    return {config.__name__, *literals}


def _config_types(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _config_types(argument)]
