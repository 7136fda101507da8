"""One pass over examples in parts that fit memory, with what it cost."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.errors import DataError
from lmscope.models.language_model import LanguageModel
from lmscope.models.word_scores import word_logits
from lmscope.prompting.layouts import LayoutKind
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import ModelScorer
from lmscope.text.tasks.choices.rendering import PromptRow, PromptRows

TOKENS_AT_ONCE: Final = 8192
"""Of one part, padded."""
MANUAL: Final = Prompts({})
"""The prompt in words: nothing is added to it."""


class Answers(NamedTuple):
    """What a model says of examples.

    Attributes:
        finals: Values of `final` at the answers' positions, in float32.
        scores: Logits of the classes' words.
        flops: Floating-point operations of the layers.
    """

    finals: Float[Tensor, "example model"]
    scores: Float[Tensor, "example label"]
    flops: float


def answers(
    model: LanguageModel,
    rows: PromptRows,
    prompts: Prompts = MANUAL,
    *,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Answers:
    """Run examples once under one prompt.

    Args:
        model: Which.
        rows: The examples; their labels are not looked at.
        prompts: One candidate.
        tokens_at_once: Of one forward pass, padded.

    Raises:
        DataError: There is no example.
        ModelError: The model has no language-model head.
    """
    finals, flops = [], 0.0
    for part in parts(rows, tokens_at_once):
        layout = ModelScorer(model, part, kind=_once(part)).layout
        with torch.no_grad():
            finals.append(layout.finals(prompts)[0])
        flops += layout.flops
    joined = torch.cat(finals)
    with torch.no_grad():
        scores = word_logits(model, joined, rows.words)
    return Answers(joined.float(), scores, flops)


def trainable(
    model: LanguageModel,
    rows: PromptRows,
    *,
    tokens_at_once: int = TOKENS_AT_ONCE,
    whole: bool = False,
) -> list[ModelScorer]:
    """Scorers of parts of the examples, each of which keeps a gradient with respect to what is added.

    Args:
        model: Which.
        rows: The examples.
        tokens_at_once: Of one part, padded.
        whole: Compute everything in every pass, for weights that change.
    """
    found = []
    for part in parts(rows, tokens_at_once):
        kind: LayoutKind | None = "whole" if whole or _begin_alike(part) else None
        found.append(ModelScorer(model, part, kind=kind))
    return found


def parts(rows: PromptRows, tokens_at_once: int) -> list[PromptRows]:
    """Examples in their order, as many at a time as have so many tokens, padded; at least one.

    Raises:
        DataError: There is no example.
    """
    if not rows.rows:
        raise DataError("There is no example to score: give at least one that fits the model.")
    found: list[list[PromptRow]] = []
    longest = 0
    for row in rows.rows:
        longest = max(longest, length_of(row, len(rows.prompt)))
        if not found or (len(found[-1]) + 1) * longest > tokens_at_once:
            found.append([])
            longest = length_of(row, len(rows.prompt))
        found[-1].append(row)
    return [PromptRows(rows.prompt, rows.words, tuple(part), 0) for part in found]


def length_of(row: PromptRow, n_prompt: int) -> int:
    """Tokens of an example with its prompt."""
    return len(row.before) + n_prompt + len(row.after)


def without_labels(rows: PromptRows) -> PromptRows:
    """The same examples, all said to be of the first class, so that nothing can be learned of theirs."""
    blind = tuple(PromptRow(r.before, r.after, r.answer_at, 0) for r in rows.rows)
    return PromptRows(rows.prompt, rows.words, blind, rows.n_too_long)


def _once(rows: PromptRows) -> LayoutKind | None:
    """How to pass once: what stands ahead is shared where it is the same; holding texts would save nothing."""
    return None if _begin_alike(rows) else "whole"


def _begin_alike(rows: PromptRows) -> bool:
    return len({row.before for row in rows.rows}) == 1
