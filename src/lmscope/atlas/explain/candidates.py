"""Candidate rules: what the firing tokens of one latent have in common, found by counting."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Final, Literal, NamedTuple

import numpy as np
from scipy.stats import binom

from lmscope.atlas.explain.fit import Seen
from lmscope.atlas.explain.rules import CLASSES, Condition, Kind
from lmscope.atlas.record import HELD_OUT_EVERY

Clause = tuple[Condition, ...]
_Part = tuple[Literal["prefix", "suffix"], str]

MAX_VALUES: Final = 24
"""Tokens, words or beginnings that one condition may list."""
_OFFSETS: Final = (-1, 1, -2)
"""Neighbours that are asked, nearest first; the next one as well: a latent may foresee it."""
_N_KEPT: Final = 3
"""Conditions of each kind at each place that are kept."""
_N_PAIRED: Final = 8
"""Of all these, conditions that are combined with others: the best alone."""
_MIN_CASES: Final = 2
"""A value that fires in one stretch only might be of that stretch alone."""
_MIN_COUNT: Final = 3
"""Or so many times in the open half of the corpus."""
_N_TOPIC_WORDS: Final = (1, 2, 3, 5, 8)
"""Lengths of the lists of words by which a topic is told."""
_MIN_WORDS: Final = 3
"""Different words that have to share a beginning or an end."""
_N_ENDS: Final = 12
"""Beginnings and ends that are tried, those with the most activation."""
_MAX_BY_CHANCE: Final = 0.05
"""Values so telling that chance would give are fewer than this, among all that a vocabulary offers."""
_SURE: Final = 0.5
"""A value on which the latent fires this often belongs to a list, even if few stretches show it."""
_STRONG: Final = 0.5
"""A single stretch is enough if it fires there with this share of its largest activation; weak firings
are often of something else."""


class Element(NamedTuple):
    """One value at one offset from the firing tokens.

    Attributes:
        value: An id, a word, a beginning or an end.
        mass: Share of all activation that has it.
        precision: Of the tokens that have it, the share that fires, as far as counts tell.
        n_backing: Stretches that show it, or firings on it that the census counted.
        strength: The largest activation on it, of the latent's largest.
    """

    value: str | int
    mass: float
    precision: float
    n_backing: int
    strength: float


def clauses(seen: Seen) -> Iterator[Clause]:
    """Candidates, single conditions first, then pairs of them."""
    here = _best(seen, _here(seen))
    near = _best(seen, [c for offset in _OFFSETS for c in _near(seen, offset)])
    around = _best(seen, [*_before(seen), *_topics(seen), *_positions(seen)])
    for condition in (*here, *near, *around):
        yield (condition,)
    beside = (*near[:_N_PAIRED], *around[:_N_PAIRED])
    for first, second in product(here[:_N_PAIRED], beside):
        yield (second, first)
    for first, second in product(near[:_N_KEPT], around[:_N_PAIRED]):
        yield (second, first)


def _best(seen: Seen, conditions: Iterable[Condition]) -> list[Condition]:
    """The best of each kind and place, alone; the rest is not worth combining."""
    found: dict[Hashable, list[tuple[float, Condition]]] = defaultdict(list)
    for condition in conditions:
        quality = seen.fit((condition,)).quality
        found[condition.kind, condition.low, condition.anywhere].append((quality, condition))
    kept = []
    for group in found.values():
        group.sort(key=lambda pair: -pair[0])
        kept += [pair for pair in group[:_N_KEPT] if pair[0] > 0]
    kept.sort(key=lambda pair: -pair[0])
    return [condition for _, condition in kept]


def _here(seen: Seen) -> Iterator[Condition]:
    """What the firing token itself is."""
    for kind in ("token", "word"):
        yield from _sets(seen, kind, 0)
    yield from _classes(seen, 0)
    yield from _ends(seen)


def _near(seen: Seen, offset: int) -> Iterator[Condition]:
    yield from _sets(seen, "token", offset)
    yield from _sets(seen, "word", offset)
    yield from _classes(seen, offset)


def _before(seen: Seen) -> Iterator[Condition]:
    """Words that stand a little before the firing token."""
    counts: Counter[int] = Counter()
    for row, place in seen.firing():
        codes = seen.positives.codes[row, max(place - 8, 0) : place]
        counts.update(set(codes.tolist()))
    rare = [code for code, n in counts.most_common(24) if n >= max(_MIN_CASES, seen.n_fired // 4)]
    for code in rare:
        values = (seen.positives.ids[code],)
        yield Condition(kind="token", values=values, low=-8, high=-1)


def _sets(seen: Seen, kind: Literal["token", "word"], offset: int) -> Iterator[Condition]:
    """Lists that grow from the most telling value and from the commonest one."""
    elements = _elements(seen, kind, offset)
    telling = sorted(elements, key=lambda e: (-e.mass * e.precision, str(e.value)))
    common = sorted(elements, key=lambda e: (-e.mass, str(e.value)))
    for order in (telling, common):
        yield from _grown(seen, kind, offset, order)


def _grown(seen: Seen, kind: Kind, offset: int, elements: Sequence[Element]) -> Iterator[Condition]:
    """The first value, and the list to which values were added as long as each made it better."""
    if not elements:
        return
    chosen = [elements[0]]
    measured = seen.measure(_condition(kind, offset, chosen))
    fit = seen.judge(measured, 1)
    yield _condition(kind, offset, chosen)
    for element in elements[1 : 2 * MAX_VALUES]:
        longer = measured | seen.measure(_condition(kind, offset, [element]))
        longer_fit = seen.judge(longer, len(chosen) + 1)
        if longer_fit.quality > fit.quality and len(chosen) < MAX_VALUES:
            chosen.append(element)
            measured, fit = longer, longer_fit
    if len(chosen) > 1:
        yield _condition(kind, offset, chosen)


def with_sure(seen: Seen, clause: Clause) -> Clause:
    """The clause, its lists of firing tokens longer by all values on which the latent nearly always fires.

    Such a value may stand in one stretch of the evidence only, so that it earns nothing there; yet the
    stretches to come hold many of its kind.
    """
    return tuple(_lengthened(seen, c) if _is_list(c) else c for c in clause)


def _is_list(condition: Condition) -> bool:
    is_here = condition.low == condition.high == 0 and not condition.anywhere
    return is_here and condition.kind in ("token", "word")


def _lengthened(seen: Seen, condition: Condition) -> Condition:
    kind: Literal["token", "word"] = "token" if condition.kind == "token" else "word"
    elements = _elements(seen, kind, 0, min_cases=1)
    elements.sort(key=lambda e: (-e.mass * e.precision, str(e.value)))
    more = [
        e.value
        for e in elements
        if e.precision >= _SURE and (e.n_backing >= _MIN_CASES or e.strength >= _STRONG)
        if e.value not in condition.values
    ]
    values = (*condition.values, *more)[:MAX_VALUES]
    return condition.model_copy(update={"values": values})


def _condition(kind: Kind, offset: int, elements: Sequence[Element]) -> Condition:
    values = tuple(element.value for element in elements[:MAX_VALUES])
    return Condition(kind=kind, values=values, low=offset, high=offset)


def _elements(
    seen: Seen, kind: Literal["token", "word"], offset: int, min_cases: int = _MIN_CASES
) -> list[Element]:
    """What stands at an offset from the firing tokens, where chance would not put it."""
    mass: Counter[str | int] = Counter()
    most: defaultdict[str | int, float] = defaultdict(float)
    rows: defaultdict[str | int, list[int]] = defaultdict(list)
    for value, row, place in _values(seen, kind, offset):
        mass[value] += seen.mass[row, place]
        most[value] = max(most[value], float(seen.mass[row, place] / seen.mass.max()))
        rows[value].append(row)
    counted = seen.counted[kind] if offset == 0 else {}
    found = [
        Element(
            value,
            mass[value],
            _precision(seen, value, len(rows[value]), counted),
            max(len(set(rows[value])), counted.get(value, (0, 0))[0]),
            most[value],
        )
        for value in mass
        if counted.get(value, (0, 0))[0] >= _MIN_COUNT
        or _is_telling(seen, value, len(set(rows[value])), offset, min_cases)
    ]
    n_open = seen.record.n_fired / HELD_OUT_EVERY
    unseen = [
        Element(value, n_fired / n_open, n_fired / n_seen, n_fired, 0.0)
        for value, (n_fired, n_seen) in counted.items()
        if value not in mass and n_fired >= _MIN_COUNT
    ]
    return found + unseen


def _values(
    seen: Seen, kind: Literal["token", "word"], offset: int
) -> Iterator[tuple[str | int, int, int]]:
    """The value at an offset from each firing token, with the token's row and place."""
    names = seen.positives.ids if kind == "token" else seen.positives.words
    codes = seen.positives.codes
    for row, place in seen.firing():
        at = place + offset
        if 0 <= at < codes.shape[1] and (code := int(codes[row, at])) >= 0:
            value = names[code]
            if value != "":
                yield value, row, place


def _is_telling(seen: Seen, value: str | int, n_cases: int, offset: int, min_cases: int) -> bool:
    """Whether so many stretches with this value would not come by chance."""
    if n_cases < min_cases:
        return False
    if offset == 0:
        return True  # that the latent fires on it is what its precision measures
    places = seen.n_fired / seen.n_cases
    return _by_chance(n_cases, seen.n_cases, seen.background.token_share(value) * places)


def _by_chance(n_found: int, n_cases: int, share: float) -> bool:
    """Whether a vocabulary offers hardly any value that stands in so many stretches by chance."""
    expected = 1 / share * binom.sf(n_found - 1, n_cases, min(share, 1.0))
    return bool(expected < _MAX_BY_CHANCE)


def _precision(
    seen: Seen, value: str | int, fired: int, counted: Mapping[str | int, tuple[int, int]]
) -> float:
    """Of the tokens that are this value, the share that fires: as counted, or as the background lets expect."""
    if value in counted:
        n_fired, n_seen = counted[value]
        return n_fired / max(n_seen, 1)
    by_chance = seen.background.token_share(value)
    return min(1.0, seen.record.density * fired / seen.n_fired / by_chance)


def _classes(seen: Seen, offset: int) -> Iterator[Condition]:
    for name in CLASSES:
        yield Condition(kind="class", values=(name,), low=offset, high=offset)


def _ends(seen: Seen) -> Iterator[Condition]:
    """Beginnings and ends that several different words share."""
    words: defaultdict[_Part, set[str]] = defaultdict(set)
    mass: Counter[_Part] = Counter()
    for row, place in seen.firing():
        text = seen.positives.words[seen.positives.codes[row, place]]
        for part in _parts(text):
            words[part].add(text)
            mass[part] += seen.mass[row, place]
    shared = [part for part in mass if len(words[part]) >= _MIN_WORDS]
    shared.sort(key=lambda part: (-mass[part], part))
    for kind, letters in shared[:_N_ENDS]:
        yield Condition(kind=kind, values=(letters,))


def _parts(text: str) -> Iterator[_Part]:
    """Beginnings of 1 to 4 letters and ends of 2 to 4, each shorter than the word."""
    if not text.isalpha():
        return
    for n in range(1, min(4, len(text) - 1) + 1):
        yield "prefix", text[:n]
    for n in range(2, min(4, len(text) - 1) + 1):
        yield "suffix", text[-n:]


def _topics(seen: Seen) -> Iterator[Condition]:
    """Words that stand in several of the latent's stretches and in few others."""
    present = [set(row[row >= 0].tolist()) for row in seen.positives.codes]
    cases: defaultdict[str, set[int]] = defaultdict(set)
    for row, codes in enumerate(present):
        for code in codes:
            if len(text := seen.positives.words[code]) >= 4 and text.isalpha():
                cases[text].add(row)
    telling = []
    for text, rows in cases.items():
        chance = seen.background.stretch_share(text)
        if len(rows) > _MIN_CASES and _by_chance(len(rows), seen.n_cases, chance):
            telling.append((-len(rows) / chance, text))
    words = tuple(text for _, text in sorted(telling)[: max(_N_TOPIC_WORDS)])
    for n in _N_TOPIC_WORDS:
        if n <= len(words):
            yield Condition(kind="word", values=words[:n], anywhere=True)
    if len(words) >= 4:
        yield Condition(kind="word", values=words, anywhere=True, at_least=2)


def _positions(seen: Seen) -> Iterator[Condition]:
    """Beginnings of a context, if that is where it fires."""
    places = [
        int(seen.positives.starts[row]) % seen.context_length + place
        for row, place in seen.firing()
    ]
    for stop in (2, 4, 8, 16, 32, 64):
        inside = np.mean([place < stop for place in places])
        if stop < seen.context_length and inside >= 0.5:
            yield Condition(kind="position", values=(0, stop))
