"""Two graphs side by side: what both hold, and what only one does."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lmscope.circuits.graph import Graph
from lmscope.circuits.node_keys import Match, check_alike, merged


@dataclass(frozen=True)
class ComparedNode:
    """One node in two graphs.

    Attributes:
        key: As of `node_keys.node_key`.
        kind: As of `GraphNode`.
        a, b: What it adds to either target; None where it is not there.
    """

    key: str
    kind: str
    a: float | None
    b: float | None


@dataclass(frozen=True)
class ComparedEdge:
    """One edge in two graphs.

    Attributes:
        source, goal: Keys of its ends.
        a, b: The flow in either; None where it is not there.
    """

    source: str
    goal: str
    a: float | None
    b: float | None


@dataclass(frozen=True)
class GraphComparison:
    """Two graphs side by side.

    Attributes:
        match: What counted as the same.
        nodes: Features, tokens, positions, errors and leaves of both, largest difference first; not the
            target and not biases.
        edges: Of both, largest difference first.
    """

    match: Match
    nodes: tuple[ComparedNode, ...]
    edges: tuple[ComparedEdge, ...]

    @cached_property
    def shared(self) -> tuple[ComparedNode, ...]:
        """Nodes of both."""
        return tuple(one for one in self.nodes if one.a is not None and one.b is not None)

    @cached_property
    def only_a(self) -> tuple[ComparedNode, ...]:
        """Nodes of the first alone."""
        return tuple(one for one in self.nodes if one.b is None)

    @cached_property
    def only_b(self) -> tuple[ComparedNode, ...]:
        """Nodes of the second alone."""
        return tuple(one for one in self.nodes if one.a is None)

    @property
    def feature_overlap(self) -> float:
        """Features of both among features of either, from 0 to 1; NaN where there is none."""
        features = [one for one in self.nodes if one.kind == "feature"]
        both = sum(one.a is not None and one.b is not None for one in features)
        return both / len(features) if features else float("nan")

    @property
    def weighted_overlap(self) -> float:
        """The same by attribution: smaller over larger, summed; opposite signs have nothing in common."""
        pairs = [(one.a or 0.0, one.b or 0.0) for one in self.nodes if one.kind == "feature"]
        least = sum(min(abs(a), abs(b)) for a, b in pairs if a * b > 0)
        most = sum(max(abs(a), abs(b)) if a * b >= 0 else abs(a) + abs(b) for a, b in pairs)
        return least / most if most else float("nan")

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that do not exist are null."""
        return {
            "match": self.match,
            "n_shared": len(self.shared),
            "n_only_a": len(self.only_a),
            "n_only_b": len(self.only_b),
            "feature_overlap": _number(self.feature_overlap),
            "weighted_overlap": _number(self.weighted_overlap),
            "nodes": [vars(one) for one in self.nodes],
            "edges": [vars(one) for one in self.edges],
        }


def compare_graphs(a: Graph, b: Graph, match: Match = "latent") -> GraphComparison:
    """Put two graphs side by side.

    Args:
        a: One graph.
        b: Another, of the same model and dictionaries; prompt and target may differ.
        match: What counts as the same node.

    Raises:
        ArtifactError: They are of different models or dictionaries.
    """
    check_alike((a, b))
    one, other = merged(a, match), merged(b, match)
    nodes = [
        ComparedNode(
            key,
            node.kind,
            one.nodes[key].attribution if key in one.nodes else None,
            other.nodes[key].attribution if key in other.nodes else None,
        )
        for key, node in (one.nodes | other.nodes).items()
        if node.kind not in ("target", "bias")
    ]
    edges = [
        ComparedEdge(*pair, one.edges.get(pair), other.edges.get(pair))
        for pair in one.edges | other.edges
    ]
    return GraphComparison(
        match,
        tuple(sorted(nodes, key=lambda one: (-_difference(one), one.key))),
        tuple(sorted(edges, key=lambda one: (-_difference(one), one.source, one.goal))),
    )


def _difference(one: ComparedNode | ComparedEdge) -> float:
    return abs((one.a or 0.0) - (one.b or 0.0))


def _number(value: float) -> float | None:
    return value if value == value else None
