"""Monosemanticity and complexity from 1 to 5, as a language model rates them (he2024llamascope).

The levels are those of cunningham2024topk, in our words; he2024llamascope shows 20 contexts.
"""

from typing import Final, Literal

from lmscope.atlas.explain import prompts
from lmscope.atlas.explain.protocols import Evidence, Judge, Label, Score
from lmscope.runs.endpoint import Answer, AnswerError, Endpoint

Level = Literal[1, 2, 3, 4, 5]

LEAST_EXCERPTS: Final = 3
"""With fewer nobody can say whether there is a pattern."""


class _Rating(Answer):
    pattern: str
    """What the firing tokens and their contexts have in common, in a few words."""
    monosemanticity: Level
    complexity: Level


class _Rubric:
    """One of two figures of the same answer: asking for the second one costs nothing."""

    name: str

    def __init__(self, endpoint: Endpoint, *, n_examples: int = 20) -> None:
        self.endpoint, self.n_examples = endpoint, n_examples

    def score(self, label: Label, evidence: Evidence, judge: Judge) -> Score | None:
        """The level; the label and the judge have no say, as it is the latent that is rated.

        Returns:
            None where the latent fires in fewer than 3 excerpts, or the model gave no usable answer.

        Raises:
            LmscopeError: As `Endpoint.ask`.
        """
        largest = evidence.record.max
        cases = prompts.spread(evidence.positives, self.n_examples, lambda case: case.example.max)
        if len(cases) < LEAST_EXCERPTS:
            return None
        material = prompts.lines([prompts.firing_excerpt(case, largest) for case in cases])
        try:
            rating = self.endpoint.ask(prompts.RUBRIC, material, _Rating)
        except AnswerError:
            return None
        value = float(getattr(rating, self.name))
        return Score(self.name, value, value, value, len(cases))


class Monosemanticity(_Rubric):
    """Whether one pattern explains all that a latent fires on: 5 all, 1 no pattern (he2024llamascope).

    Args:
        endpoint: What answers; the same as that of `Complexity`, so that one answer serves both.
        n_examples: Excerpts shown, from the strongest to the weakest.
    """

    name = "monosemanticity"


class Complexity(_Rubric):
    """How rich that pattern is: 1 a single token, 5 an idea across contexts (cunningham2024topk).

    Args:
        endpoint: What answers; the same as that of `Monosemanticity`, so that one answer serves both.
        n_examples: Excerpts shown, from the strongest to the weakest.
    """

    name = "complexity"
