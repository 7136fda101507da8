"""What a target reads directly: of a feature, what keeps it below its threshold; of a score, its pairs."""

from typing import Final

from lmscope.circuits.attribution import Attribution
from lmscope.circuits.firing_building import firing
from lmscope.circuits.graph import Graph
from lmscope.circuits.head_score_building import head_score
from lmscope.circuits.head_scores import HeadScore
from lmscope.circuits.scores import ScoreTarget
from lmscope.circuits.target_text import NamedTarget
from lmscope.circuits.targets import FeatureTarget
from lmscope.jobs.trace_record import Input, WhyNot

N_INPUTS: Final = 10
N_PAIRS: Final = 50


def why_not(found: Attribution, graph: Graph, target: NamedTarget) -> WhyNot | None:
    """Whether a feature fires and what raises and lowers it; None for other targets.

    Args:
        found: What was traced.
        graph: Its circuit, the target at place 0.
        target: What was asked for.
    """
    if not isinstance(target.target, FeatureTarget):
        return None
    parts = [
        Input(id=f"bias:{key}", flow=float(value))
        for key, value in found.start.biases.found.items()
    ]
    edges = zip(graph.source.tolist(), graph.goal.tolist(), graph.flow.tolist(), strict=True)
    parts += [
        Input(id=graph.nodes[source].id, flow=flow) for source, goal, flow in edges if goal == 0
    ]
    parts.sort(key=lambda one: (one.flow, one.id))
    lowering = tuple(one for one in parts if one.flow < 0)[:N_INPUTS]
    raising = tuple(one for one in reversed(parts) if one.flow > 0)[:N_INPUTS]
    return WhyNot(
        firing=firing(found.frozen, target.target),
        lowering=lowering,
        raising=raising,
        rest=found.start.value - sum(one.flow for one in (*lowering, *raising)),
    )


def pairs_of(found: Attribution, target: NamedTarget) -> HeadScore | None:
    """The pairs that an attention score is the sum of; None for other targets."""
    score = target.target
    if not isinstance(score, ScoreTarget):
        return None
    place = score.layer, score.head, score.query, score.key
    return head_score(found.frozen, *place, N_PAIRS, against=score.against)
