"""Ids: how runs, dictionaries and models are named in addresses."""

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

_OTHER: Final = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST: Final = 160
_DIGITS: Final = 8


def as_id(name: str) -> str:
    """A name with letters, digits and `_.-` only, which needs no escaping in an address."""
    return _OTHER.sub("_", name)[:_LONGEST].lstrip(".") or "_"


def with_digest(name: str, digest: str | None) -> str:
    """A name and the beginning of the digest that tells it from others of the same name."""
    return as_id(name) if not digest else f"{as_id(name)}.{as_id(digest[:_DIGITS])}"


def model_id(name: str, weights_hash: str | None) -> str:
    """The id of a model; of a local folder only the last name stands in it."""
    last = PurePath(name).name if PurePath(name).is_absolute() else name
    return with_digest(last, weights_hash)


def unlike(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, numbered where it is taken."""
    known = set(taken)
    if wanted not in known:
        return wanted
    number = 2
    while f"{wanted}-{number}" in known:
        number += 1
    return f"{wanted}-{number}"
