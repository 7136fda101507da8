"""Influence: the share of a target that runs through each node and edge, whatever the signs.

Flows raise and lower, so they cancel; to see which nodes matter, sizes are looked at. Every node passes
its influence to its inputs in proportion to the sizes of their flows (ameisen2025tracing).
"""

from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from lmscope.circuits.graph import Graph
from lmscope.core.errors import DataError, did_you_mean

UNEXPLAINED: Final = ("error", "leaf")
"""Kinds that a graph does not look into."""
INPUTS: Final = ("token", "position")


def node_influence(
    graph: Graph, closed: Bool[np.ndarray, "node"] | None = None
) -> Float64[np.ndarray, "node"]:
    """How much of the target runs through each node; 1 arrives at the first step.

    Differs: constants, and features that a threshold cut, are no edges, so shares are of what the graph holds.

    Args:
        graph: Any graph.
        closed: Nodes that pass nothing to their inputs.

    Returns:
        Influence of each node, from 0; 0 for the target itself and for biases, which have no edges.

    Raises:
        DataError: The edges go in a circle.
    """
    shares = _shares(graph)
    if closed is not None:
        shares = np.where(closed[graph.goal], 0.0, shares)
    found = np.zeros(len(graph))
    current = _at_target(graph)
    for _ in range(len(graph) + 1):
        current = np.bincount(
            graph.source, weights=current[graph.goal] * shares, minlength=len(graph)
        )
        if not current.any():
            return found
        found += current
    raise DataError("The edges of this graph go in a circle, so nothing can be traced along them.")


def edge_influence(graph: Graph) -> Float64[np.ndarray, "edge"]:
    """How much of the target runs along each edge.

    Raises:
        DataError: The edges go in a circle.
    """
    passed = node_influence(graph) + _at_target(graph)
    return passed[graph.goal] * _shares(graph)


def cumulative(influence: Float64[np.ndarray, "item"]) -> Float64[np.ndarray, "item"]:
    """The share of all influence that lies in an item and in all above it.

    The most influential has the lowest share, so that items up to a share are those that hold it. Equal
    ones count in their order. All 1 where there is no influence.
    """
    total = influence.sum()
    if not total > 0:
        return np.ones(len(influence))
    order = np.argsort(-influence, kind="stable")
    found = np.empty(len(influence))
    found[order] = np.minimum(np.cumsum(influence[order]) / total, 1.0)
    return found


def least_to_hold(influence: Float64[np.ndarray, "item"], share: float) -> float:
    """The influence that an item needs so that all such items hold at least a share of it."""
    if not len(influence) or not influence.sum() > 0:
        return 0.0
    ordered = -np.sort(-influence)
    held = np.cumsum(ordered) / ordered.sum()
    # Sums of floats may end a rounding below 1.
    place = int(np.searchsorted(held, min(share, float(held[-1]))))
    return float(ordered[min(place, len(ordered) - 1)])


class GraphScores(NamedTuple):
    """How much of a graph is explained by features (ameisen2025tracing).

    Attributes:
        replacement: Of what runs from leaves to the target, the share that begins at tokens and positions
            and not at errors; NaN where nothing runs.
        completeness: Of the inputs of all nodes, weighted by influence, the share that is no error. A node
            without inputs counts as complete, errors too, as in circuit-tracer, so that scores compare.
    """

    replacement: float
    completeness: float


def graph_scores(graph: Graph, chosen: Collection[str] | None = None) -> GraphScores:
    """Score a graph, or a choice of its features.

    Args:
        graph: Any graph.
        chosen: Ids of features; the others count as errors. None: all are chosen.

    Raises:
        DataError: There is no such node, or the edges go in a circle.
    """
    unknown = np.array([node.kind in UNEXPLAINED for node in graph.nodes])
    if chosen is not None:
        known = {node.id for node in graph.nodes}
        for one in chosen:
            if one not in known:
                raise DataError(f"The graph has no node '{one}'.{did_you_mean(one, known)}")
        wanted = set(chosen)
        unknown |= np.array(
            [node.kind == "feature" and node.id not in wanted for node in graph.nodes]
        )
    influence = node_influence(graph, unknown)
    inputs = influence[[node.kind in INPUTS for node in graph.nodes]].sum()
    errors = influence[unknown].sum()
    shares = _shares(graph)
    missing = np.where(unknown[graph.source] & ~unknown[graph.goal], shares, 0.0)
    missed = np.bincount(graph.goal, weights=missing, minlength=len(graph))
    weights = influence + _at_target(graph)
    total = inputs + errors
    replacement = float(inputs / total) if total > 0 else float("nan")
    return GraphScores(replacement, float(((1 - missed) * weights).sum() / weights.sum()))


def _shares(graph: Graph) -> Float64[np.ndarray, "edge"]:
    """Of each edge, its part in the sizes of all that flows into its upper end."""
    sizes = np.abs(graph.flow.astype(np.float64))
    into = np.bincount(graph.goal, weights=sizes, minlength=len(graph))[graph.goal]
    return np.divide(sizes, into, out=np.zeros_like(sizes), where=into > 0)


def _at_target(graph: Graph) -> Float64[np.ndarray, "node"]:
    return np.array([float(node.kind == "target") for node in graph.nodes])
