"""Subject-verb agreement across a noun that stands between (linzen2016agreement)."""

from typing import Final

import numpy as np

from lmscope.core.errors import DataError
from lmscope.core.protocols import Tokenizer
from lmscope.text.tasks.lexicon import Lexicon, one_of
from lmscope.text.tasks.task import Draw, Example, Task
from lmscope.text.tasks.words import NOUNS

_VERBS: Final = (" is", " are"), (" was", " were"), (" has", " have")
"""Singular and plural; those that are one token each are right and wrong together."""
_LINKS: Final = (" near the", " behind the", " beside the", " with the", " next to the")
_FEWEST_NOUNS: Final = 6
_OPENINGS: Final = ("The", "I think that the", "They said that the", "It is known that the")


def prepare(tokenizer: Tokenizer) -> Draw:
    """Choose verbs that are one token and nouns as long in both numbers; see `Task.prepare`.

    Raises:
        DataError: Too few of either are.
    """
    lexicon = Lexicon(tokenizer)
    verbs = [pair for pair in _VERBS if lexicon.is_one(pair[0]) and lexicon.is_one(pair[1])]
    nouns = [pair for pair in NOUNS if _fit(lexicon, pair)]
    if not verbs or len(nouns) < _FEWEST_NOUNS:
        raise DataError(
            f"The task needs one pair of verbs that are one token each and {_FEWEST_NOUNS} nouns of as many tokens in "
            f"the plural as in the singular, and this tokenizer has {len(verbs)} and {len(nouns)}: choose another "
            "model, or another task."
        )

    def draw(rng: np.random.Generator) -> Example | None:
        subject, between = rng.choice(len(nouns), size=2, replace=False)
        number, other_number = int(rng.integers(2)), int(rng.integers(2))
        units = [
            one_of(rng, _OPENINGS),
            f" {nouns[subject][number]}",
            one_of(rng, _LINKS),
            f" {nouns[between][other_number]}",
        ]
        other = [units[0], f" {nouns[subject][1 - number]}", *units[2:]]
        return _example(lexicon, (units, other), verbs, (number, other_number))

    return draw


def _fit(lexicon: Lexicon, pair: tuple[str, str]) -> bool:
    one, many = (len(lexicon.ids(f" {noun}")) for noun in pair)
    return one == many


def _example(
    lexicon: Lexicon,
    texts: tuple[list[str], list[str]],
    verbs: list[tuple[str, str]],
    numbers: tuple[int, int],
) -> Example | None:
    units, other = texts
    places = lexicon.places(units)
    prompt, counterfactual = "".join(units), "".join(other)
    if places is None or lexicon.places(other) is None:
        return None
    number, other_number = numbers
    answers = tuple(pair[number] for pair in verbs)
    wrongs = tuple(pair[1 - number] for pair in verbs)
    if not lexicon.continues(prompt, *answers, *wrongs):
        return None
    roles = {"subject": tuple(places[1]), "between": tuple(places[3]), "end": (places[3][-1],)}
    kind = "same number" if number == other_number else "other number between"
    return Example(prompt, answers, wrongs, counterfactual, roles, kind)


AGREEMENT: Final = Task(
    "agreement",
    "The verb agrees with its subject, not with the noun between.",
    "linzen2016agreement",
    prepare,
)
