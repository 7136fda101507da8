"""Which outside packages lmscope asks for, and whether this Python has them."""

import re
from dataclasses import dataclass
from importlib import metadata
from operator import ge, lt
from typing import Final

_REQUIREMENT: Final = re.compile(
    r"(?P<name>[\w.-]+)(?:\[[^\]]*\])?\s*(?P<bounds>[^;]*)(?:;(?P<marker>.*))?"
)
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"](?P<extra>[\w-]+)['\"]")
_COMPARE: Final = {">=": ge, "<": lt}


@dataclass(frozen=True)
class Requirement:
    """One package, what is asked of it and what is there.

    Attributes:
        name: Its name on the package index.
        bounds: The versions asked for, `>=5.17,<6`.
        extra: The extra that asks for it; None where lmscope cannot do without.
        found: The version that is installed; None where there is none.
    """

    name: str
    bounds: str
    extra: str | None
    found: str | None

    @property
    def fits(self) -> bool:
        """Whether a version is installed that lies within the bounds."""
        return self.found is not None and within(self.found, self.bounds)

    @property
    def pip(self) -> str:
        """The command that mends it."""
        return f"pip install '{self.name}{self.bounds}'"


def requirements(distribution: str = "lmscope") -> tuple[Requirement, ...]:
    """Everything that the installed package asks for, by its own metadata.

    Raises:
        importlib.metadata.PackageNotFoundError: The distribution is not installed.
    """
    return tuple(_read(text) for text in metadata.requires(distribution) or ())


def within(version: str, bounds: str) -> bool:
    """Whether a version lies within `>=` and `<` bounds; only its release numbers count."""
    for bound in filter(None, (part.strip() for part in bounds.split(","))):
        sign = next(sign for sign in _COMPARE if bound.startswith(sign))
        if not _COMPARE[sign](_release(version), _release(bound[len(sign) :])):
            return False
    return True


def _read(text: str) -> Requirement:
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is no requirement that lmscope can read.")
    extra = _EXTRA.search(match["marker"] or "")
    try:
        found = metadata.version(match["name"])
    except metadata.PackageNotFoundError:
        found = None
    bounds = ",".join(sorted(match["bounds"].replace(" ", "").split(","), reverse=True))
    return Requirement(match["name"], bounds, extra and extra["extra"], found)


def _release(version: str) -> tuple[int, ...]:
    numbers = re.match(r"\s*(\d+(?:\.\d+)*)", version)
    if numbers is None:
        return ()
    parts = [int(part) for part in numbers[1].split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
