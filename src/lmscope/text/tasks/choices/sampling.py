"""Few-shot draws: k examples a class to train on and as many others to choose by (sun2022bbt, section 4.1)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lmscope.core.errors import DataError, RecipeError
from lmscope.core.rng import numpy_generator
from lmscope.text.tasks.choices.example import ChoiceExample, content_key


class FewShot(NamedTuple):
    """A draw.

    Attributes:
        train: What a prompt is tuned on.
        dev: What a prompt is chosen by; no text of it stands in `train`.
    """

    train: tuple[ChoiceExample, ...]
    dev: tuple[ChoiceExample, ...]


def few_shot(examples: Iterable[ChoiceExample], k: int, seed: int, n_labels: int) -> FewShot:
    """Draw k examples of each class for train and k others for dev (sun2022bbt, section 4.1).

    The draw depends on what the examples say and not on their order. Equal texts count once, and a text that
    stands under two labels is left out. Both parts take turns among the classes, so that each n_labels examples
    in a row have every class once.

    Differs: the paper's code shuffles positions in the file, so that its draws hold for one order of it only.

    Args:
        examples: What to draw from.
        k: Examples a class in each part.
        seed: Names the draw.
        n_labels: Classes of the task.

    Raises:
        RecipeError: k or n_labels is below 1.
        DataError: A class has fewer than 2 k different texts.
    """
    if k < 1 or n_labels < 1:
        raise RecipeError(
            f"{k} examples of each of {n_labels} classes were asked for: give at least 1 of each."
        )
    by_label = _by_label(examples, n_labels)
    train, dev = [], []
    for label, texts in enumerate(by_label):
        if len(texts) < 2 * k:
            raise DataError(
                f"{k} examples a class for train and {k} for dev were asked for, and class {label} has {len(texts)} "
                f"different texts: give more data, or k = {len(texts) // 2} or less."
            )
        order = numpy_generator(seed, "few-shot", label).permutation(len(texts))
        chosen = [texts[i] for i in order[: 2 * k]]
        train.append(chosen[:k])
        dev.append(chosen[k:])
    return FewShot(_in_turns(train), _in_turns(dev))


def given_split(train: Sequence[ChoiceExample], dev: Sequence[ChoiceExample]) -> FewShot:
    """A split that others drew, such as FewCLUE's `train_0` and `dev_0` (xu2021fewclue), as it is.

    Raises:
        DataError: A part is empty, or a text stands in both.
    """
    if not train or not dev:
        raise DataError(
            f"A split has {len(train)} examples for train and {len(dev)} for dev: give at least 1 of each."
        )
    if both := n_shared(train, dev):
        raise DataError(
            f"{both} of {len(dev)} texts of dev stand in train as well: give parts that have no text in common."
        )
    return FewShot(tuple(train), tuple(dev))


def take(examples: Sequence[ChoiceExample], n: int, seed: int) -> tuple[ChoiceExample, ...]:
    """At most n examples, drawn without regard to their class; all of them where there are no more.

    The draw depends on what the examples say and not on their order, and a longer one begins with a shorter one.

    Raises:
        RecipeError: n is below 1.
    """
    if n < 1:
        raise RecipeError(f"{n} examples were asked for: give at least 1.")
    ordered = sorted(examples, key=_order)
    order = numpy_generator(seed, "take").permutation(len(ordered))
    return tuple(ordered[i] for i in order[:n])


def n_shared(first: Iterable[ChoiceExample], second: Iterable[ChoiceExample]) -> int:
    """How many examples of the second have a text that stands in the first, as train and test should not."""
    known = {content_key(example) for example in first}
    return sum(content_key(example) in known for example in second)


def _order(example: ChoiceExample) -> tuple[str, int]:
    return content_key(example), example.label


def _by_label(
    examples: Iterable[ChoiceExample], n_labels: int
) -> tuple[tuple[ChoiceExample, ...], ...]:
    """Different texts of each class, ordered by what they say."""
    found: dict[str, ChoiceExample] = {}
    doubtful: set[str] = set()
    for example in examples:
        if not 0 <= example.label < n_labels:
            raise DataError(
                f"An example has class {example.label}, and the task has {n_labels} classes from 0: give the number "
                "of its labels."
            )
        key = content_key(example)
        if found.setdefault(key, example).label != example.label:
            doubtful.add(key)
    kept = [found[key] for key in sorted(found) if key not in doubtful]
    return tuple(tuple(one for one in kept if one.label == i) for i in range(n_labels))


def _in_turns(parts: Sequence[Sequence[ChoiceExample]]) -> tuple[ChoiceExample, ...]:
    return tuple(example for turn in zip(*parts, strict=True) for example in turn)
