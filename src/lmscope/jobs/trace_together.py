"""The circuit that many prompts share, with supernodes found by themselves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from lmscope.circuits.aggregation import AggregationOptions, SharedCircuit, aggregate
from lmscope.circuits.graph import Graph, GraphNode
from lmscope.circuits.node_keys import node_key, node_labels
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.supernodes import (
    Supernode,
    SupernodeOptions,
    coactivation,
    decoder_similarity,
    group,
    supernodes,
    supernodes_by_label,
)
from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.core.site import Site
from lmscope.jobs.trace_label_file import Labels

GroupBy = Literal["coactivation", "decoder", "label"]


class SharedOptions(AggregationOptions):
    """`AggregationOptions` that leave out what is in less than half of the prompts."""

    least_stability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Nodes and edges in a smaller share of prompts are left out."""


class TogetherOptions(Config):
    """Whether and how the circuits of all prompts are put together."""

    wanted: bool = False
    aggregation: SharedOptions = SharedOptions()
    """What counts as the same on two prompts, and in how many prompts a node must be."""
    group_by: GroupBy = "coactivation"
    """What makes features alike. `coactivation`: firing at the same places, as much. `decoder`: writing
    the same. `label`: being called the same."""
    supernodes: SupernodeOptions = SupernodeOptions()
    """Which features may stand together."""
    max_grouped: Annotated[int, Field(ge=2)] = 2000
    """Features of the shared circuit that are grouped, those that add most."""


def check_together(options: TogetherOptions, n_prompts: int, labels: Sequence[str]) -> None:
    """Refuse what cannot be put together, before anything is traced.

    Raises:
        RecipeError: There is one prompt, or labels are asked for and none are given.
    """
    if not options.wanted:
        return
    if n_prompts < 2:
        raise RecipeError(
            "One prompt shares its circuit with no other: give several with --prompts FILE, or leave --together out."
        )
    if options.group_by == "label" and not labels:
        raise RecipeError(
            "Features are grouped by labels, and none are given: name an atlas with --labels, or group by "
            "coactivation or decoder."
        )


def put_together(
    options: TogetherOptions,
    graphs: Sequence[Graph],
    replacement: Replacement,
    labels: Labels,
) -> dict[str, Any]:
    """The shared circuit and its supernodes as plain values for JSON.

    Args:
        options: How.
        graphs: One a prompt, at least one.
        replacement: Model and dictionaries that they are of.
        labels: What features mean.

    Returns:
        `circuit`, as of `SharedCircuit`; `texts` of tokens and `labels` by key of a node; `supernodes`; `edges` between them
        and the other nodes; `within` each; `n_grouped`, the features that were looked at.

    Raises:
        DataError: A target is 0 and shares of it are asked for.
    """
    shared = aggregate(graphs, options.aggregation)
    said = _labels(graphs, options, labels)
    graph = _as_graph(shared, graphs[0], options.max_grouped)
    keys = [node.id for node in graph.nodes if node.kind == "feature"]
    groups = _groups(options, graph, graphs, replacement, said)
    grouped = group(graph, groups)
    return {
        "circuit": shared.to_mapping(),
        "group_by": options.group_by,
        "texts": _texts(graphs, options),
        "labels": {node.key: said[node.key] for node in shared.nodes if node.key in said},
        "supernodes": [{**vars(one), "members": list(one.members)} for one in groups],
        "edges": [vars(one) for one in grouped.edges],
        "within": dict(grouped.within),
        "n_grouped": len(keys),
    }


def groups_of(graph: Graph, values: Mapping[str, Any]) -> tuple[Supernode, ...]:
    """The supernodes of a shared circuit in the graph of one prompt, where two members are there.

    Args:
        graph: Of one of the prompts.
        values: What `put_together` gave.
    """
    match = values["circuit"]["options"]["match"]
    found: dict[str, list[GraphNode]] = {}
    for node in graph.nodes:
        if node.kind == "feature":
            found.setdefault(node_key(node, match, len(graph.meta.tokens)), []).append(node)
    groups = list[Supernode]()
    for one in values["supernodes"]:
        members = [node for key in one["members"] for node in found.get(key, ())]
        if len(members) > 1:
            ids = tuple(node.id for node in members)
            adds = sum(node.attribution for node in members)
            groups.append(Supernode(one["name"], ids, adds, one["similarity"]))
    return tuple(groups)


def _groups(
    options: TogetherOptions,
    graph: Graph,
    graphs: Sequence[Graph],
    replacement: Replacement,
    labels: Mapping[str, str],
) -> tuple[Supernode, ...]:
    nodes = [node for node in graph.nodes if node.kind == "feature"]
    if len(nodes) < 2:
        return ()
    if options.group_by == "label":
        return supernodes_by_label(graph, labels, options.supernodes)
    if options.group_by == "decoder":
        alike = decoder_similarity(np.stack([_written(node, replacement) for node in nodes]))
    else:
        alike = coactivation(_cases([node.id for node in nodes], graphs, options))
    return supernodes(graph, alike, options.supernodes, labels)


def _written(node: GraphNode, replacement: Replacement) -> Float64[np.ndarray, "model"]:
    assert node.site is not None
    assert node.latent is not None
    dictionary = replacement.dictionaries[Site.parse(node.site)]
    return dictionary.W_dec[node.latent].detach().double().cpu().numpy()


def _cases(
    keys: Sequence[str], graphs: Sequence[Graph], options: TogetherOptions
) -> Float64[np.ndarray, "node case"]:
    """Activation of each feature at every position of every prompt at which one of them stands."""
    rows = {key: row for row, key in enumerate(keys)}
    places: dict[tuple[int, int], int] = {}
    entries: list[tuple[int, int, float]] = []
    for number, graph in enumerate(graphs):
        for node in graph.nodes:
            if node.kind != "feature" or node.position is None:
                continue
            key = node_key(node, options.aggregation.match, len(graph.meta.tokens))
            if (row := rows.get(key)) is not None:
                case = places.setdefault((number, node.position), len(places))
                entries.append((row, case, node.activation or 0.0))
    found = np.zeros((len(keys), len(places)))
    for row, case, value in entries:
        found[row, case] = value
    return found


def _as_graph(shared: SharedCircuit, first: Graph, most: int) -> Graph:
    """The shared circuit as one graph: of features the largest, and all that is no feature."""
    features = [node for node in shared.nodes if node.kind == "feature"][:most]
    kept = [*features, *(node for node in shared.nodes if node.kind != "feature")]
    target = first.nodes[0].model_copy(update={"attribution": 1.0})
    nodes = (
        target,
        *(
            GraphNode.model_construct(
                id=node.key,
                kind=node.kind,
                attribution=node.attribution.value,
                site=node.site,
                layer=None if node.site is None else Site.parse(node.site).layer,
                position=_position(node.key, first),
                latent=node.latent,
                activation=node.activation,
                token=node.token,
            )
            for node in kept
        ),
    )
    places = {node.id: place for place, node in enumerate(nodes)}
    edges = [edge for edge in shared.edges if edge.source in places and edge.goal in places]
    return Graph(
        first.meta,
        nodes,
        np.array([places[edge.source] for edge in edges], dtype=np.int32),
        np.array([places[edge.goal] for edge in edges], dtype=np.int32),
        np.array([edge.flow.value for edge in edges], dtype=np.float32),
    )


def _position(key: str, first: Graph) -> int | None:
    """The position that a key ends with; one counted from the end is that of the first prompt."""
    _, _, last = key.rpartition("@")
    if not last.lstrip("-").isdigit() or "/" not in key or key.count("@") < 2:
        return None
    number = int(last)
    return number if number >= 0 else len(first.meta.tokens) + number


def _texts(graphs: Iterable[Graph], options: TogetherOptions) -> dict[str, str]:
    """What tokens show as, by key of a node that is the same token on all prompts."""
    if options.aggregation.match != "latent":
        return {}
    return {
        node_key(node, "latent", len(graph.meta.tokens)): graph.meta.texts[node.position]
        for graph in graphs
        for node in graph.nodes
        if node.kind == "token" and node.position is not None
    }


def _labels(graphs: Iterable[Graph], options: TogetherOptions, labels: Labels) -> dict[str, str]:
    """Labels by key of a node."""
    found: dict[str, str] = {}
    if not labels:
        return found
    match = options.aggregation.match
    for graph in graphs:
        named = node_labels(graph, labels)
        for node in graph.nodes:
            if node.id in named:
                found[node_key(node, match, len(graph.meta.tokens))] = named[node.id]
    return found
