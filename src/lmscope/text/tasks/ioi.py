"""Indirect object identification: who is given something (wang2023ioi)."""

from typing import Final

import numpy as np

from lmscope.core.protocols import Tokenizer
from lmscope.text.tasks.lexicon import Lexicon, one_of, pick
from lmscope.text.tasks.task import Draw, Example, Task
from lmscope.text.tasks.words import NAMES, PLACES, THINGS

_TEMPLATES: Final = (
    ("When", " and", " came home from the {place},", " handed the {thing} to"),
    ("After", " and", " had met at the {place},", " gave a {thing} to"),
    ("While", " and", " were sitting in the {place},", " showed the {thing} to"),
    ("Last week", " and", " walked to the {place}, and", " sold a {thing} to"),
    ("One morning", " and", " stood before the {place}, and", " brought the {thing} to"),
    ("Then", " and", " spoke for an hour at the {place}, and", " lent a {thing} to"),
)
"""Texts before, between and after the two names, and between the second subject and the answer."""
_SAID_TWICE: Final = ("io", "s1", "s2")


def prepare(tokenizer: Tokenizer) -> Draw:
    """Choose names that are one token; see `Task.prepare`.

    Raises:
        DataError: Fewer than six are.
    """
    lexicon = Lexicon(tokenizer)
    names = lexicon.words([f" {name}" for name in NAMES], 6, "first names")

    def draw(rng: np.random.Generator) -> Example | None:
        giver, taker = pick(rng, names, 2)
        order = "ABBA" if rng.integers(2) else "BABA"
        first, second = (taker, giver) if order == "ABBA" else (giver, taker)
        before, between, after, last = _TEMPLATES[int(rng.integers(len(_TEMPLATES)))]
        words = {"place": one_of(rng, PLACES), "thing": one_of(rng, THINGS)}
        after, last = after.format(**words), last.format(**words)
        units = [before, first, between, second, after, giver, last]
        return _example(lexicon, units, (giver, taker), order)

    return draw


def _example(
    lexicon: Lexicon, units: list[str], people: tuple[str, str], order: str
) -> Example | None:
    giver, taker = people
    other = [*units[:5], taker, units[6]]  # the other one gives: the answer turns round
    places = lexicon.places(units)
    prompt, counterfactual = "".join(units), "".join(other)
    if places is None or lexicon.places(other) is None:
        return None
    if not lexicon.continues(prompt, *people):
        return None
    name_places = (places[1], places[3]) if order == "ABBA" else (places[3], places[1])
    found = dict(zip(_SAID_TWICE, (*name_places, places[5]), strict=True))
    roles = {name: tuple(where) for name, where in found.items()}
    roles["after_s1"] = (roles["s1"][0] + 1,)
    roles["end"] = (places[6][-1],)
    return Example(prompt, (taker,), (giver,), counterfactual, roles, order)


IOI: Final = Task(
    "ioi", "Who is given something: the name that was said once.", "wang2023ioi", prepare
)
