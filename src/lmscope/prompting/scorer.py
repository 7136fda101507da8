"""Scorer: what prompts make a model say of examples, as scores of their classes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.core.errors import DataError
from lmscope.models.language_model import LanguageModel
from lmscope.models.word_scores import word_logits
from lmscope.prompting.layouts import Layout, LayoutKind, Level, lay_out
from lmscope.prompting.prompts import Prompts
from lmscope.text.tasks.choices.rendering import PromptRows


@runtime_checkable
class Scorer(Protocol):
    """Scores examples under candidates, wherever the model runs.

    Attributes:
        labels: The examples' classes.
        n_prompt: Tokens of the prompt.
    """

    labels: Int[Tensor, "example"]
    n_prompt: int

    def scores(
        self, prompts: Prompts, level: Level | None = None
    ) -> Float[Tensor, "candidate example label"]:
        """Logits of the classes' words at each answer's position, in float32.

        Args:
            prompts: Candidates.
            level: Where to begin; None at the first layer.
        """
        ...


class ModelScorer:
    """Scores examples with a model on this machine.

    Only the rows of the head that belong to the classes' words are multiplied, at one position of
    each example; examples of like length run together, and several candidates in one pass.

    Args:
        model: Any with a language-model head.
        rows: The examples.
        kind: How they pass through the model; None takes the cheapest that gives the same.
        tokens_at_once: Tokens of one forward pass.
        overhead: What one more length costs, in tokens.

    Raises:
        DataError: There is no example.
        ModelError: The model does not allow the way.
    """

    def __init__(
        self,
        model: LanguageModel,
        rows: PromptRows,
        *,
        kind: LayoutKind | None = None,
        tokens_at_once: int = 8192,
        overhead: int = 128,
    ) -> None:
        if not rows.rows:
            raise DataError("There is no example to score: give at least one that fits the model.")
        self.model = model
        self.words = rows.words
        self.labels = torch.tensor([row.label for row in rows.rows], device=model.device)
        self.n_prompt = len(rows.prompt)
        self.layout: Layout = lay_out(
            model, rows, kind=kind, tokens_at_once=tokens_at_once, overhead=overhead
        )

    def scores(
        self, prompts: Prompts, level: Level | None = None, *, grad: bool = False
    ) -> Float[Tensor, "candidate example label"]:
        """Logits of the classes' words at each answer's position, in float32.

        Args:
            prompts: Candidates.
            level: Where to begin; None at the first layer.
            grad: Keep the gradient with respect to what is added.
        """
        with torch.set_grad_enabled(grad):
            finals = self.layout.finals(prompts, level, grad=grad)
            found = word_logits(self.model, finals.flatten(0, 1), self.words)
        return found.unflatten(0, finals.shape[:2])

    def level(self, layer: int, prompts: Prompts, level: Level | None = None) -> Level:
        """What enters a layer under one candidate (`Layout.level`)."""
        return self.layout.level(layer, prompts, level)

    @property
    def flops(self) -> float:
        """Floating-point operations of the layers so far."""
        return self.layout.flops


def score_rows(
    model: LanguageModel, rows: PromptRows, prompts: Sequence[Prompts], *, at_once: int = 256
) -> Float[Tensor, "prompt example label"]:
    """Scores of many examples under a few prompts, so many examples at a time that their texts fit the memory.

    Args:
        model: Any with a language-model head.
        rows: The examples.
        prompts: Each one candidate.
        at_once: Examples whose texts are held together.

    Raises:
        DataError: There is no example.
    """
    if not rows.rows:
        raise DataError("There is no example to score: give at least one that fits the model.")
    found = []
    for first in range(0, len(rows.rows), at_once):
        some = ModelScorer(model, replace(rows, rows=rows.rows[first : first + at_once]))
        found.append(torch.cat([some.scores(one) for one in prompts]))
    return torch.cat(found, 1)
