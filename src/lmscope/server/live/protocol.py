"""What the server and the process with the model say to each other: one JSON object a line.

The server asks `{"request": 7, "kind": "probe", "payload": {...}}`. The process tells where it stands
(`{"state": "loading", ...}`) as often as it likes, and ends each request with one of
`{"answer": 7, "value": {...}}`, `{"refused": 7, "error": "DataError", "message": "..."}` (a failure
that a user can cause) and `{"defect": 7, "message": "..."}`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from lmscope.core import errors
from lmscope.core.errors import LmscopeError

Kind = Literal["probe", "steer", "compare", "map", "claim", "scores", "trace", "game"]
Stage = Literal["starting", "loading", "ready", "busy"]


@dataclass(frozen=True)
class Wanted:
    """A dictionary that a request is about, as the process finds it.

    Attributes:
        id: What the server calls it.
        digest: Content digest, so that a replaced one is loaded again.
        folder: Its weights.
        run: The folder of the run that trained it; None where that is not here.
        median_norms: Median norm by site, from an atlas; None: they are measured.
        largest: Largest activation of some latents in an atlas, where no held-out text was measured.
    """

    id: str
    digest: str
    folder: str
    run: str | None = None
    median_norms: Mapping[str, float] | None = None
    largest: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """Decoder rows that are compared or drawn.

    Attributes:
        digest: Of the dictionary.
        atlas: An atlas that holds them.
        folder: The dictionary's weights, for those without an atlas.
        statistics: How often its latents fire, measured with its weights.
    """

    digest: str
    atlas: str | None = None
    folder: str | None = None
    statistics: str | None = None


@dataclass(frozen=True)
class Report:
    """Where the process stands.

    Attributes:
        state: `loading`: it fetches or reads a model, a dictionary or a text.
        message: What it does.
        model: The one in memory.
        dictionaries: Ids of those in memory.
    """

    state: Stage
    message: str | None = None
    model: str | None = None
    dictionaries: tuple[str, ...] = ()


def line(values: Mapping[str, Any]) -> bytes:
    """An object as a line; numbers that are not finite become null."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY, default=_plain) + b"\n"


def report_line(report: Report) -> bytes:
    """Where the process stands as a line."""
    return line(asdict(report))


def read_line(text: bytes) -> dict[str, Any]:
    """The object of a line.

    Raises:
        ValueError: It is none.
    """
    found = orjson.loads(text)
    if not isinstance(found, dict):
        raise ValueError("a line holds no object")
    return found


def refusal_of(answer: Mapping[str, Any]) -> LmscopeError:
    """The failure that the process told of, as the error that it was there."""
    kind = getattr(errors, str(answer.get("error")), LmscopeError)
    is_known = isinstance(kind, type) and issubclass(kind, LmscopeError)
    return (kind if is_known else LmscopeError)(str(answer.get("message", "")))


def error_name(error: LmscopeError) -> str:
    """The class of `core.errors` that an error is one of."""
    return next(one.__name__ for one in type(error).__mro__ if hasattr(errors, one.__name__))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON.")
