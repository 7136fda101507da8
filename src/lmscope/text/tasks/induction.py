"""Induction: a sequence of random words begins anew, and goes on as it did before (olsson2022induction)."""

from typing import Final

import numpy as np

from lmscope.core.protocols import Tokenizer
from lmscope.text.tasks.lexicon import Lexicon, pick
from lmscope.text.tasks.task import Draw, Example, Task
from lmscope.text.tasks.words import PLAIN

_SHORTEST: Final = 6
_LONGEST: Final = 12


def prepare(tokenizer: Tokenizer) -> Draw:
    """Choose words that are one token, the tokenizer's own where ours are too few; see `Task.prepare`.

    Raises:
        DataError: Fewer than 24 are.
    """
    lexicon = Lexicon(tokenizer)
    words = lexicon.words_or_own([f" {word}" for word in PLAIN], 24, "words")

    def draw(rng: np.random.Generator) -> Example | None:
        length = int(rng.integers(_SHORTEST, _LONGEST + 1))
        sequence = pick(rng, words, length)
        # Said again up to one word, of which neither the follower nor its rival was said again yet.
        last = int(rng.integers(2, length - 2))
        rival = int(rng.integers(last + 2, length))
        return _example(lexicon, sequence, last, rival)

    return draw


def _example(lexicon: Lexicon, sequence: list[str], last: int, rival: int) -> Example | None:
    answer, wrong = sequence[last + 1], sequence[rival]
    swapped = list(sequence)
    swapped[last + 1], swapped[rival] = wrong, answer
    again = sequence[: last + 1]
    units, other = [*sequence, *again], [*swapped, *again]
    prompt, counterfactual = "".join(units), "".join(other)
    if lexicon.places(units) is None or lexicon.places(other) is None:
        return None
    rivals = tuple(word for word in sequence[last + 2 :] if word != wrong)
    if not lexicon.continues(prompt, answer, wrong, *rivals):
        return None
    roles = {
        "first": (last,),
        "follower": (last + 1,),
        "rival": (rival,),
        "before": (len(units) - 2,),
        "end": (len(units) - 1,),
    }
    return Example(prompt, (answer,), (wrong, *rivals), counterfactual, roles, "words")


INDUCTION: Final = Task(
    "induction",
    "Random words are said again: what followed before follows now.",
    "olsson2022induction",
    prepare,
)
