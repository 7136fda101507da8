"""Supernodes: features of a graph that do one thing, found by what they write, when they fire, or their label.

People group features of attribution graphs by hand; these groups come from measures, and each says how
alike its members are. A grouped graph keeps all flows: between groups they are summed, within one they are
written down apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Float64
from pydantic import Field
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from lmscope.circuits.graph import Graph, GraphNode
from lmscope.core.config import Config
from lmscope.core.errors import DataError, did_you_mean

_APART: Final = -1.0
"""Similarity of what must not be put together; the least that a cosine can be."""


class SupernodeOptions(Config):
    """Which features may stand together."""

    least: Annotated[float, Field(ge=-1, le=1)] = 0.7
    """Mean similarity between two groups that are put together."""
    position: Literal["any", "same"] = "any"
    """`same`: only features at one position."""
    max_layers: Annotated[int, Field(ge=1)] | None = None
    """Members lie in at most so many layers next to each other; absent: in any."""
    same_sign: bool = True
    """Whether features that raise the target stay apart from those that lower it."""


@dataclass(frozen=True)
class Supernode:
    """A group of features.

    Attributes:
        name: For people.
        members: Ids of nodes, in the graph's order.
        attribution: Of all together; a member that works through another counts in both.
        similarity: Mean over pairs of members; 1 where they share a label.
    """

    name: str
    members: tuple[str, ...]
    attribution: float
    similarity: float


@dataclass(frozen=True)
class GroupedEdge:
    """All edges between two groups or nodes.

    Attributes:
        source, goal: Name of a group, or id of a node in none.
        flow: Their sum.
    """

    source: str
    goal: str
    flow: float


@dataclass(frozen=True)
class GroupedGraph:
    """A graph with groups as nodes.

    Attributes:
        groups: The groups.
        single: Nodes in none.
        edges: Between them, largest first.
        within: Flow between members of each group.
    """

    groups: tuple[Supernode, ...]
    single: tuple[GraphNode, ...]
    edges: tuple[GroupedEdge, ...]
    within: Mapping[str, float]

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "groups": [vars(one) for one in self.groups],
            "single": [node.to_mapping() for node in self.single],
            "edges": [vars(one) for one in self.edges],
            "within": dict(self.within),
        }


def features_of(graph: Graph) -> tuple[GraphNode, ...]:
    """The features of a graph, in whose order similarities are given."""
    return tuple(node for node in graph.nodes if node.kind == "feature")


def decoder_similarity(
    vectors: Float[np.ndarray, "node model"],
) -> Float64[np.ndarray, "node node"]:
    """Cosines between what features write; 0 for one that writes nothing.

    Args:
        vectors: A decoder row for each of `features_of`, whatever its dictionary.
    """
    wide = vectors.astype(np.float64)
    sizes = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = np.divide(wide, sizes, out=np.zeros_like(wide), where=sizes > 0)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def coactivation(
    activations: Float[np.ndarray, "node case"],
) -> Float64[np.ndarray, "node node"]:
    """Cosines between when features fire and how much; 0 for one that never fires.

    Args:
        activations: Of each of `features_of` on every prompt, or at every position of many, from 0.
    """
    return decoder_similarity(activations)


def supernodes(
    graph: Graph,
    similarity: Float[np.ndarray, "node node"],
    options: SupernodeOptions | None = None,
    labels: Mapping[str, str] | None = None,
) -> tuple[Supernode, ...]:
    """Put features together that are alike, the most alike first (average linkage, sokal1958statistical).

    Args:
        graph: Where they stand.
        similarity: Of each pair of `features_of`, from -1 to 1; several measures may be averaged.
        options: What may stand together.
        labels: What node ids are called; a group takes the name of its most important member.

    Returns:
        Groups of two or more, those that add most first.

    Raises:
        DataError: There is not one row a feature, or a similarity is not finite.
    """
    chosen = options or SupernodeOptions()
    nodes = features_of(graph)
    if similarity.shape != (len(nodes), len(nodes)):
        raise DataError(
            f"The graph has {len(nodes)} features, but similarities of {similarity.shape[0]} by "
            f"{similarity.shape[1]} were given: give one row for each of features_of(graph)."
        )
    if not np.isfinite(similarity).all():
        raise DataError("A similarity is not a number: leave out features without a vector.")
    if len(nodes) < 2:
        return ()
    alike = (similarity.astype(np.float64) + similarity.T) / 2
    groups = _grouped(np.where(_apart(nodes, chosen), _APART, alike), chosen, nodes)
    return _named(
        [(group, _mean_pair(alike, group)) for group in groups if len(group) > 1],
        nodes,
        labels or {},
    )


def supernodes_by_label(
    graph: Graph, labels: Mapping[str, str], options: SupernodeOptions | None = None
) -> tuple[Supernode, ...]:
    """Put features together that have one label.

    Args:
        graph: Where they stand.
        labels: Label by node id; capitals and spaces at the ends do not count.
        options: What may stand together; `least` is not looked at.
    """
    nodes = features_of(graph)
    said = [" ".join(labels.get(node.id, "").casefold().split()) for node in nodes]
    numbers = {text: i for i, text in enumerate(dict.fromkeys(said))}
    which = np.array([numbers[text] for text in said])
    has = np.array([bool(text) for text in said], dtype=bool)
    same = (which[:, None] == which) & has[:, None] & has
    chosen = (options or SupernodeOptions()).model_copy(update={"least": 1.0})
    return supernodes(graph, np.where(same, 1.0, _APART), chosen, labels)


def group(graph: Graph, groups: Sequence[Supernode]) -> GroupedGraph:
    """The graph with groups as nodes.

    Args:
        graph: What is grouped.
        groups: Found or chosen; no node in two.

    Raises:
        DataError: A member is no node of the graph, stands in two groups, or two names are equal.
    """
    known = {node.id: node for node in graph.nodes}
    home: dict[str, str] = {}
    names = [one.name for one in groups]
    for one in groups:
        if names.count(one.name) > 1 or one.name in known:
            raise DataError(
                f"Two nodes would be called '{one.name}': give each group its own name."
            )
        for member in one.members:
            if member not in known:
                raise DataError(f"The graph has no node '{member}'.{did_you_mean(member, known)}")
            if member in home:
                raise DataError(
                    f"'{member}' stands in '{home[member]}' and in '{one.name}': choose one."
                )
            home[member] = one.name
    places = [home.get(node.id, node.id) for node in graph.nodes]
    flows: dict[tuple[str, str], float] = {}
    within = dict.fromkeys(names, 0.0)
    columns = (graph.source.tolist(), graph.goal.tolist(), graph.flow.tolist())
    for source, goal, flow in zip(*columns, strict=True):
        ends = places[source], places[goal]
        if ends[0] == ends[1]:
            within[ends[0]] += flow
        else:
            flows[ends] = flows.get(ends, 0.0) + flow
    edges = [GroupedEdge(*ends, flow) for ends, flow in flows.items()]
    return GroupedGraph(
        tuple(groups),
        tuple(node for node in graph.nodes if node.id not in home),
        tuple(sorted(edges, key=lambda one: (-abs(one.flow), one.source, one.goal))),
        within,
    )


def _apart(nodes: Sequence[GraphNode], options: SupernodeOptions) -> Bool[np.ndarray, "node node"]:
    """Pairs that must not stand together."""
    apart = np.zeros((len(nodes), len(nodes)), dtype=bool)
    if options.position == "same":
        position = np.array([node.position for node in nodes])
        apart |= position[:, None] != position
    if options.max_layers is not None:
        layer = np.array([node.layer or 0 for node in nodes])
        apart |= np.abs(layer[:, None] - layer) >= options.max_layers
    if options.same_sign:
        raises = np.array([node.attribution >= 0 for node in nodes])
        apart |= raises[:, None] != raises
    return apart


def _grouped(
    similarity: Float64[np.ndarray, "node node"],
    options: SupernodeOptions,
    nodes: Sequence[GraphNode],
) -> list[list[int]]:
    """Average linkage; groups that hold a pair which must stay apart are taken to pieces."""
    distance = 1.0 - similarity
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    # Rounding must not part what lies exactly at the limit.
    numbers = fcluster(tree, 1.0 - options.least + 1e-9, "distance")
    apart = _apart(nodes, options)
    found = []
    for number in np.unique(numbers):
        found += _pieces(np.flatnonzero(numbers == number).tolist(), apart)
    return found


def _pieces(members: list[int], apart: Bool[np.ndarray, "node node"]) -> list[list[int]]:
    """Members in their order, each in the first piece where nothing stands apart from it."""
    pieces: list[list[int]] = []
    for member in members:
        home = next((piece for piece in pieces if not apart[member, piece].any()), None)
        if home is None:
            pieces.append([member])
        else:
            home.append(member)
    return pieces


def _mean_pair(similarity: Float64[np.ndarray, "node node"], members: list[int]) -> float:
    inner = similarity[np.ix_(members, members)]
    return float(inner[np.triu_indices(len(members), 1)].mean())


def _named(
    found: Sequence[tuple[list[int], float]],
    nodes: Sequence[GraphNode],
    labels: Mapping[str, str],
) -> tuple[Supernode, ...]:
    groups = [([nodes[i] for i in members], similarity) for members, similarity in found]
    groups.sort(key=lambda one: (-abs(sum(n.attribution for n in one[0])), one[0][0].id))
    taken: dict[str, int] = {}
    supers = []
    for members, similarity in groups:
        first = max(members, key=lambda node: abs(node.attribution))
        name = labels.get(first.id) or f"{first.site}/{first.latent}"
        name = f"{name} (+{len(members) - 1})"
        taken[name] = taken.get(name, 0) + 1
        supers.append(
            Supernode(
                name if taken[name] == 1 else f"{name} #{taken[name]}",
                tuple(node.id for node in members),
                sum(node.attribution for node in members),
                similarity,
            )
        )
    return tuple(supers)
