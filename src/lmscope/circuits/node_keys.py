"""What makes nodes of different prompts the same, and graphs with nodes of one key put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lmscope.circuits.graph import Graph, GraphNode
from lmscope.core.errors import ArtifactError, DataError
from lmscope.core.feature import FeatureId

Match = Literal["latent", "position", "from_end"]
"""`latent`: a latent is the same wherever it stands, a token wherever it occurs. `position`: only at one
position. `from_end`: at one position counted from the end, for prompts that differ in length."""
Edge = tuple[str, str]


@dataclass(frozen=True)
class MergedNode:
    """Nodes of one prompt that have one key.

    Attributes:
        key: What they have in common.
        kind: As of `GraphNode`.
        site, latent, token: As of `GraphNode`.
        attribution: Of all together.
        activation: The largest; None where there is none.
        ids: Of the nodes.
    """

    key: str
    kind: str
    site: str | None
    latent: int | None
    token: int | None
    attribution: float
    activation: float | None
    ids: tuple[str, ...]


@dataclass(frozen=True)
class MergedGraph:
    """A graph with nodes of one key put together.

    Attributes:
        value: Of the target.
        nodes: By key.
        edges: Sum of the flows between nodes of two keys.
    """

    value: float
    nodes: dict[str, MergedNode]
    edges: dict[Edge, float]


def node_key(node: GraphNode, match: Match, n_tokens: int) -> str:
    """What the node is called where prompts are put side by side."""
    if node.kind in ("target", "bias"):
        return node.id
    if match == "position" or node.position is None:
        return node.id
    name = node.id.rpartition("@")[0]
    if match == "from_end":
        return f"{name}@-{n_tokens - node.position}"
    return f"token:{node.token}" if node.kind == "token" else name


def merged(graph: Graph, match: Match) -> MergedGraph:
    """Put nodes of one key together."""
    keys = [node_key(node, match, len(graph.meta.tokens)) for node in graph.nodes]
    nodes: dict[str, MergedNode] = {}
    for key, node in zip(keys, graph.nodes, strict=True):
        before = nodes.get(key)
        numbers = [] if before is None or before.activation is None else [before.activation]
        numbers += [] if node.activation is None else [node.activation]
        nodes[key] = MergedNode(
            key,
            node.kind,
            node.site,
            node.latent,
            node.token if match == "latent" or node.kind == "target" else None,
            node.attribution + (0.0 if before is None else before.attribution),
            max(numbers, default=None),
            (*(() if before is None else before.ids), node.id),
        )
    edges: dict[Edge, float] = {}
    columns = (graph.source.tolist(), graph.goal.tolist(), graph.flow.tolist())
    for source, goal, flow in zip(*columns, strict=True):
        pair = (keys[source], keys[goal])
        edges[pair] = edges.get(pair, 0.0) + flow
    return MergedGraph(graph.meta.value, nodes, edges)


def check_alike(graphs: Sequence[Graph]) -> None:
    """Refuse graphs whose nodes do not mean the same.

    Raises:
        DataError: There is none.
        ArtifactError: Two are of different models or dictionaries.
    """
    if not graphs:
        raise DataError("There is no graph: give at least one.")
    first = graphs[0]
    known = {one.site: one for one in first.meta.dictionaries}
    for graph in graphs[1:]:
        if graph.meta.weights_hash != first.meta.weights_hash:
            raise ArtifactError(
                f"The graphs of {_said(first)} and {_said(graph)} are of different models ({first.meta.model}, "
                f"{graph.meta.model}), so their nodes cannot be put side by side."
            )
        for one in graph.meta.dictionaries:
            other = known.setdefault(one.site, one)
            digests = {d.content_digest for d in (one, other) if d.content_digest is not None}
            if len(digests) > 1 or one.n_latents != other.n_latents:
                raise ArtifactError(
                    f"The graphs of {_said(first)} and {_said(graph)} have different dictionaries at '{one.site}', so "
                    "their latents do not mean the same: trace both with one."
                )


def node_labels(graph: Graph, labels: Mapping[FeatureId, str]) -> dict[str, str]:
    """What is said of the features of a graph, by the ids of its nodes.

    Args:
        graph: Where the features stand.
        labels: By dictionary and latent; dictionaries are known by the names that the graph gives.
    """
    names = {one.site: one.name for one in graph.meta.dictionaries}
    found = {}
    for node in graph.nodes:
        name = None if node.site is None else names.get(node.site)
        if name is None or node.latent is None:
            continue
        label = labels.get(FeatureId(name, node.latent))
        if label:
            found[node.id] = label
    return found


def _said(graph: Graph) -> str:
    prompt = graph.meta.prompt
    return repr(prompt if len(prompt) <= 40 else f"{prompt[:40]}...")
