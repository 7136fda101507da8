"""StatisticsExplainer: labels without a language model, from counts of tokens and their neighbours."""

from typing import Final

from lmscope.atlas.explain.background import Background
from lmscope.atlas.explain.candidates import Clause, clauses, with_sure
from lmscope.atlas.explain.fit import Fit, Seen
from lmscope.atlas.explain.protocols import Evidence, Label
from lmscope.atlas.explain.rules import Rule
from lmscope.atlas.explain.wording import say

MIN_CASES: Final = 5
"""Fewer stretches than this say nothing."""
MIN_PRECISION: Final = 0.8
MIN_RECALL: Final = 0.5
_SECOND_EARNS: Final = 0.04
"""What a second alternative has to add to the quality."""

_SURE_COSTS: Final = 0.03
"""What further values may cost of the precision; they pay on stretches not seen here."""


class StatisticsExplainer:
    """Finds the short rule that tells best where a latent fires, and says it in words."""

    name = "statistics"

    def __init__(self, background: Background) -> None:
        self.background = background

    def explain(self, evidence: Evidence) -> Label:
        """The best rule as a label; an empty one where no rule is good enough."""
        nothing = Label(evidence.record.latent, "", self.name)
        if len(evidence.positives) < MIN_CASES:
            return nothing
        seen = Seen(evidence, self.background)
        best, fit = _choose(seen)
        if fit.stretch_precision < MIN_PRECISION or fit.stretch_recall < MIN_RECALL:
            return nothing
        rule = Rule(any_of=best, context_length=seen.context_length)
        return Label(
            latent=evidence.record.latent,
            text=say(rule, self.background.show),
            explainer=self.name,
            rule=rule.to_mapping(),
            precision=fit.stretch_precision,
            recall=fit.stretch_recall,
        )


def _choose(seen: Seen) -> tuple[tuple[Clause, ...], Fit]:
    """The best candidate, with a second alternative where that helps."""
    candidates = [(seen.fit(clause), clause) for clause in clauses(seen)]
    candidates.sort(key=lambda pair: -pair[0].quality)
    if not candidates:
        return (), Fit(0, 0, 0, 0, 0)
    fit, first = candidates[0]
    chosen, found = (first,), seen.measure_clause(first)
    n_values = sum(len(c.values) for c in first)
    for _, second in candidates[1:24]:
        both = found | seen.measure_clause(second)
        longer = seen.judge(both, n_values + sum(len(c.values) for c in second))
        if longer.quality > fit.quality + (_SECOND_EARNS if len(chosen) == 1 else 0):
            fit, chosen = longer, (first, second)
    return _lengthened(seen, chosen, fit), fit


def _lengthened(seen: Seen, chosen: tuple[Clause, ...], fit: Fit) -> tuple[Clause, ...]:
    """With further sure values, unless these name many stretches by chance."""
    longer = tuple(with_sure(seen, clause) for clause in chosen)
    found = seen.measure_clause(longer[0])
    for clause in longer[1:]:
        found |= seen.measure_clause(clause)
    is_safe = seen.judge(found, 1).stretch_precision >= fit.stretch_precision - _SURE_COSTS
    return longer if is_safe else chosen
