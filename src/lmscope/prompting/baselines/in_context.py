"""In-context learning: training examples with their answers stand ahead of each example (brown2020gpt3)."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.errors import DataError
from lmscope.core.rng import numpy_generator
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.baselines.passes import answers, length_of
from lmscope.text.tasks.choices.rendering import PromptRow, PromptRows, Special

Tokens = tuple[int, ...]


class Shown(NamedTuple):
    """Examples with demonstrations ahead of them.

    Attributes:
        rows: The examples in their order.
        n_shown: Demonstrations ahead of each.
    """

    rows: PromptRows
    n_shown: tuple[int, ...]


class InContext(NamedTuple):
    """What was said of examples behind demonstrations.

    Attributes:
        scores: Of the classes.
        n_shown: Demonstrations ahead of each.
        flops: Of the layers.
    """

    scores: Float[Tensor, "example label"]
    n_shown: tuple[int, ...]
    flops: float


def demonstration(rows: PromptRows, row: PromptRow, special: Special, separator: Tokens) -> Tokens:
    """One example with its own answer, as it stands ahead of others.

    The answer is the class's word itself: behind the text in causal forms, in the place of the mask in masked ones.

    Args:
        rows: Whose prompt and words.
        row: The example.
        special: What stands at the ends of a context, and so not between examples.
        separator: Ends it.
    """
    tokens, word = [*row.before, *rows.prompt, *row.after], rows.words[row.label]
    if special.mask_id is None:
        tokens.append(word)
    else:
        tokens[row.answer_at] = word
        if special.end_id is not None:
            tokens.pop()
    begins = 0 if special.bos_id is None else 1
    return (*tokens[begins:], *separator)


def in_order(rows: PromptRows, seed: int) -> tuple[PromptRow, ...]:
    """Training examples in an order that the seed says; every few in a row have each class about as often.

    Each class's examples are shuffled, and the classes take turns in a shuffled order, as the number that fits may be
    small.
    """
    rng = numpy_generator(seed, "in-context")
    by_label: dict[int, list[PromptRow]] = {}
    for row in rows.rows:
        by_label.setdefault(row.label, []).append(row)
    piles = [[pile[i] for i in rng.permutation(len(pile))] for _, pile in sorted(by_label.items())]
    found = []
    for turn in range(max(map(len, piles))):
        found += [piles[i][turn] for i in rng.permutation(len(piles)) if turn < len(piles[i])]
    return tuple(found)


def shown(
    rows: PromptRows, demonstrations: Sequence[Tokens], special: Special, max_tokens: int | None
) -> Shown:
    """Put as many demonstrations ahead of each example as fit; nothing of their labels is looked at.

    Args:
        rows: The examples.
        demonstrations: The first stand first.
        special: What stands at the ends of a context.
        max_tokens: Of an example with all that stands ahead of it; None for no limit.
    """
    sizes = [0, *accumulate(len(one) for one in demonstrations)]
    begins = 0 if special.bos_id is None else 1
    found, counts = [], []
    for row in rows.rows:
        length = length_of(row, len(rows.prompt))
        fit = [
            n for n, size in enumerate(sizes) if max_tokens is None or length + size <= max_tokens
        ]
        n = fit[-1] if fit else 0
        ahead = tuple(token for one in demonstrations[:n] for token in one)
        before = (*row.before[:begins], *ahead, *row.before[begins:])
        found.append(PromptRow(before, row.after, row.answer_at + len(ahead), row.label))
        counts.append(n)
    return Shown(PromptRows(rows.prompt, rows.words, tuple(found), rows.n_too_long), tuple(counts))


def in_context(model: LanguageModel, given: Shown) -> InContext:
    """Scores of examples behind demonstrations; those with as many pass together, to share what stands ahead.

    Raises:
        DataError: No example has room for a single demonstration.
    """
    if not any(given.n_shown):
        raise DataError(
            "No example has room for a single demonstration ahead of it: give more tokens, or a model of longer "
            "contexts, or leave 'in_context' out."
        )
    rows, flops = given.rows, 0.0
    found = torch.zeros(len(rows.rows), len(rows.words), device=model.device)
    for n in sorted(set(given.n_shown)):
        at = [i for i, own in enumerate(given.n_shown) if own == n]
        some = PromptRows(rows.prompt, rows.words, tuple(rows.rows[i] for i in at), 0)
        said = answers(model, some)
        found[torch.tensor(at, device=model.device)] = said.scores
        flops += said.flops
    return InContext(found, given.n_shown, flops)
