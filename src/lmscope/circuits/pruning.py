"""Pruning: the part of a graph that most of the target runs through, and parts chosen by name."""

from collections.abc import Collection
from typing import Annotated, Any, Final

import numpy as np
from jaxtyping import Bool
from pydantic import Field

from lmscope.circuits.graph import Graph
from lmscope.circuits.influence import edge_influence, least_to_hold, node_influence
from lmscope.core.config import Config
from lmscope.core.errors import DataError, did_you_mean

_CUT: Final = ("feature", "error", "leaf")
"""Kinds that pruning may take away; tokens, positions and biases stay, so that a graph stays readable."""
Share = Annotated[float, Field(ge=0, le=1)]


class PruningOptions(Config):
    """How small a graph becomes; several limits hold together."""

    n_nodes: Annotated[int, Field(ge=0)] | None = None
    """At most so many features, errors and leaves, the most influential."""
    node_share: Share | None = None
    """The fewest nodes that hold this share of all nodes' influence; 0.8 is usual."""
    edge_share: Share | None = None
    """Of the edges between them, the fewest that hold this share; 0.98 is usual."""


def prune(graph: Graph, options: PruningOptions) -> Graph:
    """Keep what most of the target runs through (ameisen2025tracing).

    What does not reach the target any more goes as well, and so does a feature whose inputs are all
    gone. The ledger stays that of the whole graph.

    Differs: features that had no inputs in the graph stay, since all of theirs may be constants or below
    the threshold; position embeddings stay like tokens.

    Args:
        graph: What to cut.
        options: How far.

    Raises:
        DataError: No limit is given, or the edges go in a circle.
    """
    limits = options.to_mapping()
    if not limits:
        raise DataError("Pruning needs a limit: give n_nodes, node_share or edge_share.")
    nodes = _kept_nodes(graph, options)
    edges = nodes[graph.source] & nodes[graph.goal]
    if options.edge_share is not None:
        # Shares of what is left, so the influence is that of the smaller graph.
        smaller = _part(graph, np.ones_like(nodes), edges, {})
        influence = edge_influence(smaller)
        least = least_to_hold(influence, options.edge_share)
        edges[edges] = influence >= least
    nodes, edges = _without_loose_ends(graph, nodes, edges)
    return _part(graph, nodes, edges, {"pruning": limits})


def subgraph(graph: Graph, ids: Collection[str]) -> Graph:
    """The target, the nodes of these ids, and the edges between them.

    Raises:
        DataError: There is no such node.
    """
    known = {node.id for node in graph.nodes}
    for one in ids:
        if one not in known:
            raise DataError(f"The graph has no node '{one}'.{did_you_mean(one, known)}")
    wanted = set(ids)
    nodes = np.array([node.id in wanted or node.kind == "target" for node in graph.nodes])
    edges = nodes[graph.source] & nodes[graph.goal]
    return _part(graph, nodes, edges, {"n_chosen": int(nodes.sum()) - 1})


def _kept_nodes(graph: Graph, options: PruningOptions) -> Bool[np.ndarray, "node"]:
    influence = node_influence(graph)
    fixed = np.array([node.kind not in _CUT for node in graph.nodes])
    kept = np.ones(len(graph), dtype=bool)
    if options.node_share is not None:
        kept &= influence >= least_to_hold(influence, options.node_share)
    if options.n_nodes is not None:
        order = np.argsort(np.where(fixed, np.inf, -influence), kind="stable")
        kept[order[options.n_nodes :]] = False
    return kept | fixed


def _without_loose_ends(
    graph: Graph, nodes: Bool[np.ndarray, "node"], edges: Bool[np.ndarray, "edge"]
) -> tuple[Bool[np.ndarray, "node"], Bool[np.ndarray, "edge"]]:
    """Take away what leads nowhere and what comes from nowhere, until nothing changes."""
    n = len(graph)
    cut = np.array([node.kind in _CUT for node in graph.nodes])
    fed = np.array([node.kind == "feature" for node in graph.nodes])
    fed &= np.bincount(graph.goal, minlength=n) > 0
    while True:
        out = np.bincount(graph.source[edges], minlength=n) > 0
        into = np.bincount(graph.goal[edges], minlength=n) > 0
        left = nodes & ~(cut & ~out) & ~(fed & ~into)
        edges = edges & left[graph.source] & left[graph.goal]
        if (left == nodes).all():
            return nodes, edges
        nodes = left


def _part(
    graph: Graph,
    nodes: Bool[np.ndarray, "node"],
    edges: Bool[np.ndarray, "edge"],
    said: dict[str, Any],
) -> Graph:
    place = np.cumsum(nodes) - 1
    meta = graph.meta.model_copy(update={"options": {**graph.meta.options, **said}})
    return Graph(
        meta,
        tuple(node for node, keep in zip(graph.nodes, nodes, strict=True) if keep),
        place[graph.source[edges]].astype(np.int32),
        place[graph.goal[edges]].astype(np.int32),
        graph.flow[edges],
    )
