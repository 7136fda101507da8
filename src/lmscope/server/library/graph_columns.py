"""GraphColumns: a graph as columns of numbers, ordered by influence, so that any part is shown at once."""

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from lmscope.circuits.graph import Graph, GraphNode
from lmscope.circuits.influence import node_influence
from lmscope.core.errors import SiteError
from lmscope.core.site import Site
from lmscope.server.failures import NotFound

FIXED: Final = ("target", "token", "position")
"""Kinds that are shown whatever the share, so that a drawing keeps its ground."""
HIDDEN: Final = "bias"
"""Constants have no links; the ledger tells of them."""
_ROWS: Final = {"attn_out": 1, "resid_mid": 1, "scores": 1, "mlp_out": 2, "resid_post": 2}
"""Half layers above the one below a layer."""


class Links(NamedTuple):
    """Some links, strongest first.

    Attributes:
        source, goal: Places in the whole graph.
        flow: Along each.
    """

    source: Int32[np.ndarray, "link"]
    goal: Int32[np.ndarray, "link"]
    flow: Float32[np.ndarray, "link"]


class GraphColumns:
    """A graph made ready to be drawn in parts; its arrays are read-only.

    Args:
        graph: The graph.

    Raises:
        DataError: Its edges go in a circle.

    Attributes:
        graph: The same.
        influence: Share of all influence that runs through each node.
        cumulative: The share that lies in a node and in all above it, from 0 to 1; 1 for constants.
        columns: Values of the nodes that no one changes, by name.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        nodes = graph.nodes
        raw = node_influence(graph)
        total = raw.sum()
        self.influence: Float64[np.ndarray, "node"] = raw / total if total > 0 else raw
        self._is_fixed = _is(nodes, FIXED)
        self._is_hidden = _is(nodes, (HIDDEN,))
        order = np.argsort(-self.influence, kind="stable")
        held = np.cumsum(self.influence[order])
        self.cumulative: Float64[np.ndarray, "node"] = np.ones(len(nodes))
        self._before: Float64[np.ndarray, "node"] = np.ones(len(nodes))
        if total > 0:
            self.cumulative[order] = np.minimum(held, 1.0)
            # What those hold that matter more; a rounding must not show one node more.
            self._before[order] = np.concatenate([[0.0], held[:-1]]) + 1e-12
        by_size = np.argsort(-np.abs(graph.flow), kind="stable")
        self._links = Links(graph.source[by_size], graph.goal[by_size], graph.flow[by_size])
        self.columns = _columns(graph)
        self.labels: dict[Any, Any] = {}

    @property
    def n_nodes(self) -> int:
        """Nodes, constants too."""
        return len(self.graph.nodes)

    @property
    def n_links(self) -> int:
        """Links."""
        return len(self.graph.flow)

    @property
    def n_shown_at_most(self) -> int:
        """Nodes without constants."""
        return int((~self._is_hidden).sum())

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Place by id."""
        return {node.id: place for place, node in enumerate(self.graph.nodes)}

    def shown(self, share: float) -> Bool[np.ndarray, "node"]:
        """The fewest nodes that hold a share of all influence, with the target, tokens and positions."""
        if share >= 1:
            return ~self._is_hidden
        return self._is_fixed | ((self._before < share) & ~self._is_hidden)

    def n_shown(self, share: float) -> int:
        """How many that are."""
        return int(self.shown(share).sum())

    def links(self, shown: Bool[np.ndarray, "node"]) -> Links:
        """All links between nodes that are shown."""
        kept = shown[self._links.source] & shown[self._links.goal]
        return Links(*(column[kept] for column in self._links))

    def links_of(self, place: int, shown: Bool[np.ndarray, "node"]) -> Links:
        """All links of a node with nodes that are shown, which it need not be itself."""
        source, goal = self._links.source, self._links.goal
        kept = ((source == place) & shown[goal]) | ((goal == place) & shown[source])
        return Links(*(column[kept] for column in self._links))

    def node(self, place: int) -> GraphNode:
        """The node at a place.

        Raises:
            NotFound: There is none.
        """
        if not 0 <= place < self.n_nodes:
            raise NotFound(f"The graph has no node {place}: there are {self.n_nodes}, from 0.")
        return self.graph.nodes[place]


def row_of(node: GraphNode, n_layers: int) -> int:
    """The row of the drawing in which a node stands: 0 tokens, two for each layer, the last one logits."""
    if node.kind in ("token", "position", "bias"):
        return 0
    if node.site is None:
        return 2 * n_layers + 1
    try:
        site = Site.parse(node.site)
    except SiteError:  # of a later version
        return 2 * (node.layer or 0) + 1
    if site.layer is None:
        return 2 * n_layers + 1
    if site.part == "resid_pre":
        return max(1, 2 * site.layer)
    return 2 * site.layer + _ROWS.get(site.part, 1)


def _is(nodes: Collection[GraphNode], kinds: Collection[str]) -> Bool[np.ndarray, "node"]:
    return np.array([node.kind in kinds for node in nodes], dtype=bool)


def _columns(graph: Graph) -> dict[str, np.ndarray]:
    nodes, n_layers = graph.nodes, graph.meta.n_layers
    found: dict[str, np.ndarray] = {
        "place": _integers(range(len(nodes))),
        "row": _integers(row_of(node, n_layers) for node in nodes),
        "attribution": np.array([node.attribution for node in nodes], dtype=np.float64),
    }
    for name in ("id", "kind", "position", "latent", "site", "activation"):
        column = np.empty(len(nodes), dtype=object)
        column[:] = [getattr(node, name) for node in nodes]
        found[name] = column
    return found


def _integers(values: Any) -> Int64[np.ndarray, "node"]:
    return np.fromiter(values, dtype=np.int64)
