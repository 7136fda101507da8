"""Greater than: something lasted from one year to a later one of its century (hanna2023greaterthan)."""

from typing import Final

import numpy as np

from lmscope.core.errors import DataError
from lmscope.core.protocols import Tokenizer
from lmscope.text.tasks.lexicon import Lexicon, one_of
from lmscope.text.tasks.task import Draw, Example, Task
from lmscope.text.tasks.words import EVENTS

_TEMPLATES: Final = (
    ("The {event} lasted from the year", " to the year"),
    ("The {event} went on from", " to"),
    ("The {event} began in", " and ended in"),
    ("From", " on there was a {event}, which was over in"),
)
"""Texts before the first year, and between it and the second."""
_CENTURIES: Final = tuple(str(number) for number in range(11, 20))
_ENDINGS: Final = {
    "two digits": tuple(f"{number:02d}" for number in range(2, 100)),
    "one digit": tuple(str(number) for number in range(10)),
}
"""What may come next, by how a tokenizer cuts years."""


def prepare(tokenizer: Tokenizer) -> Draw:
    """Find whether years end in a token of two digits or in two of one; see `Task.prepare`.

    Raises:
        DataError: Neither: the tokenizer cuts years otherwise.
    """
    lexicon = Lexicon(tokenizer)
    kind, endings = _cut(lexicon)
    centuries = sorted(endings)

    def draw(rng: np.random.Generator) -> Example | None:
        century = one_of(rng, centuries)
        known = endings[century]
        place = int(rng.integers(1, len(known) - 1))
        # Where a token is one digit, the year's last digit stands behind what is compared.
        last = "" if kind == "two digits" else str(rng.integers(1, 10))
        early = "01" if kind == "two digits" else f"{known[0]}{last}"
        before, between = (text.format(event=one_of(rng, EVENTS)) for text in _template(rng))
        units = [before, f" {century}{known[place]}{last}", f"{between} {century}"]
        other = [before, f" {century}{early}", units[2]]
        later, earlier = list(known[place + 1 :]), list(known[:place])
        rng.shuffle(later)
        rng.shuffle(earlier)
        return _example(lexicon, (units, other), (tuple(later), tuple(earlier)), kind)

    return draw


def _template(rng: np.random.Generator) -> tuple[str, str]:
    return _TEMPLATES[int(rng.integers(len(_TEMPLATES)))]


def _cut(lexicon: Lexicon) -> tuple[str, dict[str, tuple[str, ...]]]:
    """How years are cut, and by century which endings are one token; most of them must be."""
    for kind, wanted in _ENDINGS.items():
        found = {}
        for century in _CENTURIES:
            prompt = f"It lasted to the year {century}"
            known = tuple(text for text in wanted if lexicon.continues(prompt, text))
            if len(known) > len(wanted) // 2:
                found[century] = known
        if found:
            return kind, found
    raise DataError(
        "The task needs years whose last two digits are one token, or one token each, and this tokenizer cuts years "
        "otherwise: choose another model, or another task."
    )


def _example(
    lexicon: Lexicon,
    texts: tuple[list[str], list[str]],
    endings: tuple[tuple[str, ...], tuple[str, ...]],
    kind: str,
) -> Example | None:
    units, other = texts
    prompt, counterfactual = "".join(units), "".join(other)
    places, later_places = lexicon.places(units), lexicon.places(other)
    if places is None or later_places is None or places[-1] != later_places[-1]:
        return None
    if not lexicon.continues(prompt, *endings[0], *endings[1]):
        return None
    roles = {"start": tuple(places[1]), "end": (places[2][-1],)}
    return Example(prompt, *endings, counterfactual, roles, kind)


GREATER_THAN: Final = Task(
    "greater_than",
    "Something lasts from one year to a later one of the same century.",
    "hanna2023greaterthan",
    prepare,
)
