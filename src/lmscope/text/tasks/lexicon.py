"""Lexicon: which texts are one token for a tokenizer, and words of its own where ours are too few."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from lmscope.core.errors import DataError
from lmscope.core.known_words import known_words
from lmscope.core.protocols import Tokenizer

WORD: Final = re.compile(r" [a-z]{3,}")
"""A word in the middle of a sentence."""


class Lexicon:
    """A tokenizer, asked what a task has to know.

    Args:
        tokenizer: Whose tokens; texts are cut without special ones.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def ids(self, text: str) -> list[int]:
        """Vocabulary ids of a text."""
        with known_words(self.tokenizer, [text]):
            return list(self.tokenizer.encode(text, add_special_tokens=False))

    def is_one(self, text: str) -> bool:
        """Whether a text is one token that reads back as itself."""
        found = self.ids(text)
        return len(found) == 1 and self.tokenizer.decode(found) == text

    def continues(self, prompt: str, *texts: str) -> bool:
        """Whether each text after a prompt adds exactly one token and leaves the prompt's as they are."""
        before = self.ids(prompt)
        return all(self.ids(prompt + text)[:-1] == before for text in texts)

    def places(self, units: Sequence[str]) -> list[range] | None:
        """Which tokens of the joined text each unit is.

        Returns:
            A range of positions for each unit; None where a token runs across two of them.
        """
        found: list[int] = []
        places = []
        for unit in units:
            more = self.ids(unit)
            places.append(range(len(found), len(found) + len(more)))
            found += more
        return places if found == self.ids("".join(units)) else None

    def words(self, candidates: Iterable[str], needed: int, what: str) -> tuple[str, ...]:
        """Those of some texts that are one token.

        Args:
            candidates: The texts, e.g. ` Mary` with the space before it.
            needed: At least so many must be left.
            what: What they are, for the message.

        Raises:
            DataError: Fewer are left.
        """
        found = tuple(text for text in candidates if self.is_one(text))
        if len(found) < needed:
            raise DataError(
                f"The task needs {needed} {what} that are one token each, and this tokenizer of {len(self.tokenizer):,} "
                f"entries has {len(found)}: choose a model with a larger vocabulary, or another task."
            )
        return found

    def words_or_own(self, candidates: Sequence[str], needed: int, what: str) -> tuple[str, ...]:
        """As `words`, filled up with the tokenizer's own lower-case words where ours are too few.

        Raises:
            DataError: Both together are fewer than needed.
        """
        found = [text for text in candidates if self.is_one(text)]
        if len(found) >= needed:
            return tuple(found)
        for token in range(len(self.tokenizer)):
            text = self.tokenizer.decode([token])
            if WORD.fullmatch(text) and text not in found and self.is_one(text):
                found.append(text)
        return self.words(found, needed, what)


def pick(rng: np.random.Generator, words: Sequence[str], n: int) -> list[str]:
    """So many different ones of some words, in random order."""
    return [words[int(i)] for i in rng.choice(len(words), size=n, replace=False)]


def one_of(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """One of some texts."""
    return choices[int(rng.integers(len(choices)))]
