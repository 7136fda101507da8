"""Rule: what a latent means as something that a program can follow, and say in words.

A rule is a list of alternatives, each a list of conditions that hold at the same token. A condition asks
what a token is (an id, a word in any case, a class of tokens, a beginning or an end of a word, a place
in its context) at that token, somewhere near it, or anywhere in the stretch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import Field, model_validator

from lmscope.atlas.explain.protocols import Case
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RecipeError

Kind = Literal["token", "word", "class", "prefix", "suffix", "position"]
MAX_REACH: Final = 16
"""Tokens to either side that a condition may look at."""


def word(text: str) -> str:
    """What a token says, whatever its case and the spaces around it; empty for mere space."""
    return text.strip().casefold()


def _is_capitalised(text: str) -> bool:
    found = text.strip()
    return len(found) > 1 and found[0].isupper() and found[1:].islower()


def _is_upper(text: str) -> bool:
    found = text.strip()
    return len(found) > 1 and found.isalpha() and found.isupper()


def _is_punctuation(text: str) -> bool:
    found = text.strip()
    return bool(found) and not any(c.isalnum() for c in found) and "\ufffd" not in found


def _in_script(name: str) -> Callable[[str], bool]:
    ranges = _SCRIPTS[name]

    def holds(text: str) -> bool:
        return any(low <= ord(c) <= high for c in text for low, high in ranges)

    return holds


_SCRIPTS: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F),),
    "hebrew": ((0x590, 0x5FF),),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F)),
    "devanagari": ((0x900, 0x97F),),
    "kana": ((0x3040, 0x30FF),),
    "han": ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F)),
    "hangul": ((0xAC00, 0xD7AF), (0x1100, 0x11FF)),
    "accented": ((0xC0, 0x24F),),
}

CLASSES: Final[Mapping[str, Callable[[str], bool]]] = {
    "digits": lambda text: text.strip().isdecimal(),
    "punctuation": _is_punctuation,
    "newline": lambda text: "\n" in text,
    "space": lambda text: bool(text) and not text.strip(),
    "capitalised": _is_capitalised,
    "upper": _is_upper,
    "capital": lambda text: text.strip()[:1].isupper(),
    "letter": lambda text: len(text.strip()) == 1 and text.strip().isalpha(),
    "piece": lambda text: text[:1].isalpha(),
    "bytes": lambda text: text == "" or "\ufffd" in text,
    **{name: _in_script(name) for name in _SCRIPTS},
}
"""Classes of tokens by name; each is asked of what the token shows as."""


@lru_cache(maxsize=1 << 18)
def classes_of(text: str) -> frozenset[str]:
    """The classes of a token that shows as `text`."""
    return frozenset(name for name, holds in CLASSES.items() if holds(text))


class Condition(Config):
    """One thing that a token, or another one near it, has to be."""

    kind: Kind
    values: tuple[str | int, ...] = ()
    """Any one of these: ids, words, names of classes, beginnings or ends (without spaces, small letters);
    for `position` the first place and the one after the last."""
    low: Annotated[int, Field(ge=-MAX_REACH, le=MAX_REACH)] = 0
    """The nearest place asked, from the token: 0 is itself, -1 the one before."""
    high: Annotated[int, Field(ge=-MAX_REACH, le=MAX_REACH)] = 0
    """The last place asked; one of them is enough."""
    anywhere: bool = False
    """Ask the whole stretch instead."""
    at_least: Annotated[int, Field(ge=1)] = 1
    """With `anywhere`: so many different values have to be there."""

    @model_validator(mode="after")
    def _check(self) -> "Condition":
        is_number = self.kind in ("token", "position")
        if not self.values or any(isinstance(v, int) != is_number for v in self.values):
            wanted = "numbers" if is_number else "words"
            raise ValueError(f"a condition of kind '{self.kind}' needs {wanted} as values")
        if self.low > self.high:
            raise ValueError(f"its places run from {self.low} to {self.high}, backwards")
        if self.kind == "class" and (unknown := set(self.values) - set(CLASSES)):
            raise ValueError(f"there is no class of tokens '{min(map(str, unknown))}'")
        if self.kind == "position" and len(self.values) != 2:
            raise ValueError("a position is a first place and the one after the last")
        return self


class Rule(Config):
    """Alternatives, each a list of conditions that must hold together."""

    any_of: tuple[tuple[Condition, ...], ...]
    context_length: int
    """Of the corpus whose starts the rule was made on; places in a context are counted by it."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Rule":
        """A rule from JSON.

        Raises:
            ArtifactError: It is none.
        """
        try:
            return cls.from_mapping(values, "the rule of a label")
        except RecipeError as error:
            raise ArtifactError(
                f"{error} The labels are damaged or of a newer lmscope: make them anew."
            ) from None

    @property
    def n_values(self) -> int:
        """How much the rule says: its complexity."""
        return sum(len(c.values) for clause in self.any_of for c in clause)

    @property
    def is_placed(self) -> bool:
        """Whether it says which tokens, and not only which stretches."""
        return not all(c.anywhere for clause in self.any_of for c in clause)


@dataclass(frozen=True, eq=False)
class Passages:
    """Stretches of text, laid out so that a condition is asked once for each distinct token.

    Attributes:
        codes: Which distinct token stands where; -1 beyond a stretch's end.
        starts: Where the stretches begin in the corpus.
        ids: Of the distinct tokens.
        texts: What they show as.
        words: The same without case and spaces.
    """

    codes: np.ndarray
    starts: np.ndarray
    ids: tuple[int, ...]
    texts: tuple[str, ...]
    words: tuple[str, ...]

    @classmethod
    def of(cls, cases: Sequence[Case]) -> "Passages":
        """The text of cases; how the latent fires in them is left out."""
        longest = max((len(case.tokens) for case in cases), default=0)
        codes = np.full((len(cases), longest), -1, dtype=np.int32)
        seen: dict[tuple[int, str], int] = {}
        for row, case in enumerate(cases):
            pairs = zip(case.tokens, case.texts, strict=True)
            codes[row, : len(case.tokens)] = [seen.setdefault(pair, len(seen)) for pair in pairs]
        starts = np.array([case.example.start for case in cases], dtype=np.int64)
        ids, texts = tuple(i for i, _ in seen), tuple(text for _, text in seen)
        return cls(codes, starts, ids, texts, tuple(word(text) for text in texts))

    def matches(self, rule: Rule) -> Bool[np.ndarray, "stretch token"]:
        """Where the rule holds. A condition on a place outside the stretch does not."""
        found = np.zeros(self.codes.shape, dtype=np.bool_)
        for clause in rule.any_of:
            holds = self.codes >= 0
            for condition in clause:
                holds = holds & self.where(condition, rule.context_length)
            found |= holds
        return found

    def where(self, condition: Condition, context_length: int) -> Bool[np.ndarray, "stretch token"]:
        """Where one condition holds."""
        if condition.kind == "position":
            first, stop = condition.values
            place = self.starts[:, None] % context_length + np.arange(self.codes.shape[1])
            return (place >= first) & (place < stop) & (self.codes >= 0)
        if condition.anywhere:
            return self._anywhere(condition)
        here = self._here(condition)
        found = np.zeros_like(here)
        for offset in range(condition.low, condition.high + 1):
            found |= shifted(here, offset)
        return found

    def _anywhere(self, condition: Condition) -> Bool[np.ndarray, "stretch token"]:
        if condition.at_least == 1:
            present = self._here(condition).any(axis=1)
        else:
            single = [condition.model_copy(update={"values": (v,)}) for v in condition.values]
            present = (
                sum(self._here(c).any(axis=1).astype(int) for c in single) >= condition.at_least
            )
        return np.broadcast_to(np.asarray(present)[:, None], self.codes.shape)

    def _here(self, condition: Condition) -> Bool[np.ndarray, "stretch token"]:
        table = np.zeros(len(self.ids) + 1, dtype=np.bool_)  # the last entry is for -1
        table[self._distinct(condition)] = True
        return table[self.codes]

    def _distinct(self, condition: Condition) -> list[int]:
        """The distinct tokens that a condition holds for."""
        names = tuple(map(str, condition.values))
        words = enumerate(self.words)
        match condition.kind:
            case "token" | "word":
                found = self._by_value[condition.kind]
                return [code for value in condition.values for code in found.get(value, ())]
            case "class":
                return [code for name in names for code in self._by_class.get(name, ())]
            case "prefix":
                return [i for i, text in words if text.startswith(names) and text not in names]
            case _:
                return [i for i, text in words if text.endswith(names) and text not in names]

    @cached_property
    def _by_class(self) -> dict[str, list[int]]:
        """The distinct tokens of each class."""
        found: dict[str, list[int]] = {}
        for code, text in enumerate(self.texts):
            for name in classes_of(text):
                found.setdefault(name, []).append(code)
        return found

    @cached_property
    def _by_value(self) -> dict[str, dict[int | str, list[int]]]:
        """The distinct tokens of each id and of each word."""
        found: dict[str, dict[int | str, list[int]]] = {"token": {}, "word": {}}
        for code, (number, text) in enumerate(zip(self.ids, self.words, strict=True)):
            found["token"].setdefault(number, []).append(code)
            found["word"].setdefault(text, []).append(code)
        return found


def shifted(
    here: Bool[np.ndarray, "stretch token"], offset: int
) -> Bool[np.ndarray, "stretch token"]:
    """Whether it holds so many tokens further on; beyond either end it does not."""
    found = np.zeros_like(here)
    n = here.shape[1]
    if offset >= 0:
        found[:, : max(n - offset, 0)] = here[:, offset:]
    else:
        found[:, -offset:] = here[:, : max(n + offset, 0)]
    return found
