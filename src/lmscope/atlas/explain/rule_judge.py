"""RuleJudge: says what a label promises by following its rule; no language model is asked."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool

from lmscope.atlas.explain.protocols import Case, Label
from lmscope.atlas.explain.rules import Passages, Rule
from lmscope.core.errors import RecipeError

UNDECIDED: Final = 0.5


class RuleJudge:
    """Follows the rules of labels: all that it knows of a stretch are its tokens and their places.

    What it gives is 0 or 1, and 0.5 where the rule does not say: a rule on whole stretches does not tell
    which tokens fire.
    """

    name = "rule"

    def fires(self, label: Label, cases: Sequence[Case]) -> list[float]:
        """Whether the rule holds anywhere in each stretch.

        Raises:
            RecipeError: The label has no rule.
        """
        _, named = _follow(label, cases)
        return [float(row.any()) for row in named]

    def marked(self, label: Label, cases: Sequence[Case], marks: Sequence[set[int]]) -> list[float]:
        """For each stretch, the share of the marked places at which the rule holds.

        Raises:
            RecipeError: The label has no rule.
        """
        rule, named = _follow(label, cases)
        if not rule.is_placed:
            return [UNDECIDED] * len(cases)
        rows = zip(named, marks, strict=True)
        return [float(row[sorted(places)].mean()) if places else UNDECIDED for row, places in rows]

    def activations(self, label: Label, case: Case) -> list[float] | None:
        """1 where the rule holds, else 0.

        Raises:
            RecipeError: The label has no rule.
        """
        _, named = _follow(label, [case])
        return named[0].astype(float).tolist()


def _follow(label: Label, cases: Sequence[Case]) -> tuple[Rule, Bool[np.ndarray, "stretch token"]]:
    if label.rule is None:
        raise RecipeError(
            f"The label of latent {label.latent} by '{label.explainer}' has no rule that a program can "
            "follow: choose the judge 'llm'."
        )
    rule = Rule.read(label.rule)
    return rule, Passages.of(cases).matches(rule)
