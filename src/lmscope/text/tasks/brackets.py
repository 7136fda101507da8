"""Brackets: the kind that was opened last is closed first; and texts with a label for each token (ge2024circuits)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Int

from lmscope.core.errors import DataError
from lmscope.core.protocols import Tokenizer
from lmscope.text.tasks.lexicon import Lexicon, one_of
from lmscope.text.tasks.task import Draw, Example, Task
from lmscope.text.tasks.words import PLAIN

KINDS: Final = {"round": "()", "square": "[]", "curly": "{}"}
"""Brackets by name: the one that opens and the one that closes."""
DEEPEST: Final = 4
"""Brackets within each other in a text with labels, at most."""
_GROUPS: Final = (2, 4)
_SENTENCE: Final = (24, 48)
_CLOSES: Final = 0.3
_OPENS: Final = 0.15
"""How often a bracket closes or opens, where one can; about every other token then stands in none."""


@dataclass(frozen=True, eq=False)
class LabelledText:
    """A text whose every token says which brackets it stands in.

    A label speaks of what is known once the token was read: an opening bracket stands inside its own,
    a closing one outside. One that does not match what it closes still closes it.

    Attributes:
        text: The text.
        tokens: Its vocabulary ids, without BOS.
        depth: Brackets that are open after each token.
        labels: Truth values of each token by the label's name.
    """

    text: str
    tokens: tuple[int, ...]
    depth: Int[np.ndarray, "pos"]
    labels: Mapping[str, Bool[np.ndarray, "pos"]]


def prepare(tokenizer: Tokenizer) -> Draw:
    """Choose kinds of brackets and words that a tokenizer has; see `Task.prepare`.

    Raises:
        DataError: It has fewer than two kinds.
    """
    lexicon = Lexicon(tokenizer)
    kinds = usable_kinds(lexicon)
    words = lexicon.words_or_own([f" {word}" for word in PLAIN], 24, "words")

    def draw(rng: np.random.Generator) -> Example | None:
        depth = int(rng.integers(2, 4))
        shown = [_nest(rng, kinds, words, depth) for _ in range(int(rng.integers(*_GROUPS)))]
        last, opened = _cut_nest(rng, kinds, words, depth)
        before = [unit for group in shown for unit in group]
        inner = opened[-1]
        rival = one_of(rng, [kind for kind in kinds if kind != inner])
        # The innermost bracket that is still open becomes one of the rival kind.
        place = len(before) + 2 * (len(opened) - 1)
        return _example(lexicon, [*before, *last], place, (inner, rival), kinds)

    return draw


def usable_kinds(lexicon: Lexicon) -> tuple[str, ...]:
    """The kinds of brackets that are one token where they open and where they close.

    Raises:
        DataError: There are fewer than two.
    """
    found = tuple(
        name
        for name, (opens, closes) in KINDS.items()
        if lexicon.is_one(f" {opens}") and lexicon.is_one(closes)
    )
    if len(found) < 2:
        raise DataError(
            "The task needs two kinds of brackets that are one token each where they open (after a space) and where "
            f"they close, and this tokenizer has {len(found)}: choose another model, or another task."
        )
    return found


def _nest(
    rng: np.random.Generator, kinds: Sequence[str], words: Sequence[str], depth: int
) -> list[str]:
    """A whole nest with one word on each level, on the way in and on the way out."""
    chosen = [one_of(rng, kinds) for _ in range(depth)]
    inwards = [unit for kind in chosen for unit in _opened(rng, kind, words)]
    outwards: list[str] = []
    for kind in reversed(chosen):
        outwards += [KINDS[kind][1], one_of(rng, words)]
    return [*inwards, *outwards[:-1]]


def _cut_nest(
    rng: np.random.Generator, kinds: Sequence[str], words: Sequence[str], depth: int
) -> tuple[list[str], list[str]]:
    """A nest up to the word before a bracket is due, and the kinds that are open there."""
    chosen = [one_of(rng, kinds) for _ in range(depth)]
    n_closed = int(rng.integers(0, depth))
    units = [unit for kind in chosen for unit in _opened(rng, kind, words)]
    for kind in reversed(chosen[depth - n_closed :]):
        units += [KINDS[kind][1], one_of(rng, words)]
    return units, chosen[: depth - n_closed]


def _opened(rng: np.random.Generator, kind: str, words: Sequence[str]) -> list[str]:
    return [f" {KINDS[kind][0]}", one_of(rng, words).strip()]


def _example(
    lexicon: Lexicon, units: list[str], place: int, kind: tuple[str, str], kinds: Sequence[str]
) -> Example | None:
    inner, rival = kind
    other = [*units[:place], f" {KINDS[rival][0]}", *units[place + 1 :]]
    places = lexicon.places(units)
    prompt, counterfactual = "".join(units), "".join(other)
    if places is None or lexicon.places(other) is None:
        return None
    if not lexicon.continues(prompt, *(KINDS[one][1] for one in kinds)):
        return None
    others = tuple(KINDS[one][1] for one in kinds if one not in kind)
    roles = {"open": tuple(places[place]), "end": (places[-1][-1],)}
    return Example(
        prompt,
        (KINDS[inner][1],),
        (KINDS[rival][1], *others),
        counterfactual,
        roles,
        f"{inner} against {rival}",
    )


def labelled_texts(
    tokenizer: Tokenizer, n: int, rng: np.random.Generator, *, mismatch_fraction: float = 0.25
) -> tuple[LabelledText, ...]:
    """Texts of random words in and out of brackets, with a label for each token.

    Labels: `in_bracket`, `depth_1` to `depth_4` (exactly so deep), `in_round`, `in_square`, `in_curly`
    (the innermost that is open), `within_round`, ... (any that is open), `opening`, `closing`, and
    `mismatch` (a bracket closed by another kind).

    Args:
        tokenizer: Whose tokens.
        n: So many.
        rng: Draws them.
        mismatch_fraction: Share of texts in which one bracket is closed by the wrong kind.

    Raises:
        DataError: The tokenizer has not got the brackets or the words, or cuts every text across them.
    """
    lexicon = Lexicon(tokenizer)
    kinds = usable_kinds(lexicon)
    words = lexicon.words_or_own([f" {word}" for word in PLAIN], 24, "words")
    found: list[LabelledText] = []
    for _ in range(20 * n):
        if len(found) == n:
            break
        text = _labelled(lexicon, *_walk(rng, kinds, words), rng.random() < mismatch_fraction, rng)
        if text is not None:
            found.append(text)
    if len(found) < n:
        raise DataError(
            f"Only {len(found)} of {n} bracket texts are cut between brackets and words by this tokenizer: choose "
            "another model."
        )
    return tuple(found)


def _walk(
    rng: np.random.Generator, kinds: Sequence[str], words: Sequence[str]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Units of a text and what each is: ("word", ""), ("open", kind) or ("close", kind)."""
    units, marks = [one_of(rng, words)], [("word", "")]
    stack: list[str] = []
    for _ in range(int(rng.integers(*_SENTENCE))):
        after_open, choice = marks[-1][0] == "open", rng.random()
        if marks[-1][0] == "word" and stack and choice < _CLOSES:
            kind = stack.pop()
            units.append(KINDS[kind][1])
            marks.append(("close", kind))
        elif not after_open and len(stack) < DEEPEST and choice > 1 - _OPENS:
            stack.append(one_of(rng, kinds))
            units.append(f" {KINDS[stack[-1]][0]}")
            marks.append(("open", stack[-1]))
        else:
            word = one_of(rng, words)
            units.append(word.strip() if after_open else word)
            marks.append(("word", ""))
    return units, marks


def _labelled(
    lexicon: Lexicon,
    units: list[str],
    marks: list[tuple[str, str]],
    wanted: bool,
    rng: np.random.Generator,
) -> LabelledText | None:
    wrong = _swap_one(units, marks, lexicon, rng) if wanted else None
    places = lexicon.places(units)
    if places is None:
        return None
    n_tokens = places[-1].stop
    stacks: list[tuple[str, ...]] = []
    stack: tuple[str, ...] = ()
    for (what, kind), place in zip(marks, places, strict=True):
        stack = (*stack, kind) if what == "open" else stack[:-1] if what == "close" else stack
        stacks += [stack] * len(place)
    depth = np.array([len(one) for one in stacks], dtype=np.int64)
    labels = {"in_bracket": depth >= 1}
    labels |= {f"depth_{d}": depth == d for d in range(1, DEEPEST + 1)}
    for kind in usable_kinds(lexicon):
        labels[f"in_{kind}"] = np.array([one[-1:] == (kind,) for one in stacks])
        labels[f"within_{kind}"] = np.array([kind in one for one in stacks])
    for name, what in (("opening", "open"), ("closing", "close")):
        labels[name] = _where(
            places, [i for i, mark in enumerate(marks) if mark[0] == what], n_tokens
        )
    labels["mismatch"] = _where(places, [] if wrong is None else [wrong], n_tokens)
    text = "".join(units)
    return LabelledText(text, tuple(lexicon.ids(text)), depth, labels)


def _swap_one(
    units: list[str], marks: list[tuple[str, str]], lexicon: Lexicon, rng: np.random.Generator
) -> int | None:
    """Close one bracket by another kind, in place; which unit it is."""
    closings = [i for i, mark in enumerate(marks) if mark[0] == "close"]
    if not closings:
        return None
    place = closings[int(rng.integers(len(closings)))]
    others = [kind for kind in usable_kinds(lexicon) if kind != marks[place][1]]
    units[place] = KINDS[one_of(rng, others)][1]
    return place


def _where(
    places: Sequence[range], chosen: Sequence[int], n_tokens: int
) -> Bool[np.ndarray, "pos"]:
    found = np.zeros(n_tokens, dtype=bool)
    for i in chosen:
        found[places[i].start : places[i].stop] = True
    return found


BRACKETS: Final = Task(
    "brackets",
    "Nested brackets of several kinds: the one that was opened last is closed.",
    "ge2024circuits",
    prepare,
)
