"""What a graph claims of features and links, tried in the linear model and in the model itself."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lmscope.circuits.feature_sets import FeatureNode
from lmscope.circuits.graph import Graph, GraphNode
from lmscope.circuits.interventions import FeatureChange, Intervention, direct_effect, intervene
from lmscope.circuits.targets import FeatureTarget
from lmscope.core.errors import DataError
from lmscope.server.live.circuits import Circuits, Opened

How = Literal["ablate", "scale", "set"]


def claim_answer(circuits: Circuits, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Change features, and see what becomes of the target; or along one link, of its upper end.

    Features change in the model as it is used: attention, norms and all features between react, and what
    dictionaries leave over stays in place. A link is tried with all other features held.

    Args:
        circuits: The model and the dictionaries.
        payload: As of `Circuits.open`, with `nodes` or `edge` (ids), `how` and `value`.

    Raises:
        LmscopeError: A feature cannot be changed, or the target cannot be read in the model.
    """
    began = time.perf_counter()
    opened = circuits.open(payload)
    how, value = payload["how"], payload["value"]
    if payload["edge"] is None:
        found = _of_nodes(opened, payload["nodes"], how, value)
    else:
        source, goal = payload["edge"]
        found = _of_edge(opened, source, goal, how, value)
    expected, real = found["expected"], found["real"]
    share = real / expected if expected else None
    return {**found, "share": share, "elapsed_s": time.perf_counter() - began}


def _of_nodes(opened: Opened, ids: Sequence[str], how: How, value: float | None) -> dict[str, Any]:
    nodes = _by_id(opened.graph, ids)
    changes = [_change(node, how, value) for node in nodes]
    tried = intervene(opened.frozen, opened.target.read_by(opened.frozen), changes)
    return {
        "claimed": sum(node.attribution for node in nodes),
        "expected": sum(node.attribution * _times(node, how, value) for node in nodes),
        "reads": opened.graph.meta.target,
        **_measured(tried, 1.0),
    }


def _of_edge(
    opened: Opened, source: str, goal: str, how: How, value: float | None
) -> dict[str, Any]:
    lower, upper = _by_id(opened.graph, (source, goal))
    flow = _flow(opened.graph, source, goal)
    frozen = opened.frozen
    changes = [_change(lower, how, value)]
    if upper.kind == "target":
        tried = direct_effect(frozen, opened.target.read_by(frozen), changes)
        worth = 1.0
    else:
        node = FeatureNode.parse(upper.id)
        target = FeatureTarget(node.site, node.position, node.latent)
        tried = direct_effect(frozen, target, changes)
        # What one unit of the upper end adds to the target.
        worth = upper.attribution / upper.activation if upper.activation else 0.0
    return {
        "claimed": flow,
        "expected": flow * _times(lower, how, value),
        "reads": opened.graph.meta.target if upper.kind == "target" else upper.id,
        **_measured(tried, worth),
    }


def _measured(tried: Intervention, worth: float) -> dict[str, float]:
    return {
        "linear": tried.predicted * worth,
        "real": tried.change * worth,
        "before": tried.before,
        "after": tried.after,
    }


def _change(node: GraphNode, how: How, value: float | None) -> FeatureChange:
    feature = FeatureNode.parse(node.id)
    if how == "ablate" or value is None:
        return FeatureChange(feature, "set", 0.0)
    return FeatureChange(feature, how, value)


def _times(node: GraphNode, how: How, value: float | None) -> float:
    """By how many times itself a feature changes."""
    if how == "ablate" or value is None:
        return -1.0
    if how == "scale":
        return value - 1.0
    if not node.activation:
        raise DataError(f"'{node.id}' does not fire, so nothing is claimed of it.")
    return value / node.activation - 1.0


def _by_id(graph: Graph, ids: Sequence[str]) -> list[GraphNode]:
    known = {node.id: node for node in graph.nodes}
    return [known[id_] for id_ in ids]


def _flow(graph: Graph, source: str, goal: str) -> float:
    places = {node.id: place for place, node in enumerate(graph.nodes)}
    chosen = (graph.source == places[source]) & (graph.goal == places[goal])
    return float(graph.flow[chosen].sum())
