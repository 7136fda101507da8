"""Two graphs side by side."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lmscope.circuits.graph import Graph
from lmscope.circuits.graph_comparison import GraphComparison, compare_graphs
from lmscope.circuits.node_keys import Match, node_key
from lmscope.circuits.pruning import subgraph
from lmscope.core.errors import ArtifactError
from lmscope.server.context import Context
from lmscope.server.failures import WrongInput
from lmscope.server.library.graph_columns import GraphColumns
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.schemas.common import Provenance, Snippet
from lmscope.server.views.graph import found_graph, graph_line
from lmscope.server.views.graph_labels import labels_of


def graphs_compared(
    context: Context, a: str, b: str, share: float, match: Match, n_links: int
) -> dict[str, Any]:
    """What two graphs have in common, as plain values: those of `GraphsCompared`.

    Args:
        context: Of the server.
        a: RUN/NAME of one.
        b: Of the other.
        share: Of either's influence: only nodes that hold it are compared.
        match: What counts as the same node.
        n_links: Links with the largest difference.

    Raises:
        NotFound: One is not there.
        WrongInput: It is the same twice, or they are of different models or dictionaries.
    """
    if a == b:
        raise WrongInput("A graph cannot be compared with itself. Choose another one.")
    both = [found_graph(context, *_address(one)) for one in (a, b)]
    parts = [_shown(found, share) for _, found in both]
    try:
        compared = compare_graphs(parts[0], parts[1], match)
    except ArtifactError as error:
        raise WrongInput(str(error)) from None
    ids = [_ids(graph, match) for graph in parts]
    said: dict[str, tuple[Any, ...]] = {}
    for (entry, found), by_key in zip(both, ids, strict=True):
        said = _said(context, entry, found, by_key) | said
    return {
        "a": graph_line(both[0][0]),
        "b": graph_line(both[1][0]),
        "match": match,
        "n_shared": len(compared.shared),
        "n_only_a": len(compared.only_a),
        "n_only_b": len(compared.only_b),
        "feature_overlap": compared.feature_overlap,
        "weighted_overlap": compared.weighted_overlap,
        "nodes": _nodes(compared, said, ids),
        "links": _links(compared, n_links),
        "n_links_all": len(compared.edges),
        "provenance": _provenance([entry for entry, _ in both], share, match),
    }


def _address(text: str) -> tuple[str, str]:
    run, slash, name = text.partition("/")
    if not (run and slash and name):
        raise WrongInput(f"'{text}' is no address of a graph. Write RUN/NAME.")
    return run, name


def _shown(found: GraphColumns, share: float) -> Graph:
    if share >= 1:
        return found.graph
    places = np.flatnonzero(found.shown(share)).tolist()
    return subgraph(found.graph, [found.graph.nodes[place].id for place in places])


def _ids(graph: Graph, match: Match) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    n_tokens = len(graph.meta.tokens)
    for node in graph.nodes:
        found.setdefault(node_key(node, match, n_tokens), []).append(node.id)
    return found


def _said(
    context: Context, entry: GraphEntry, found: GraphColumns, ids: Mapping[str, list[str]]
) -> dict[str, tuple[Any, ...]]:
    """Site, latent, label and dictionary of the first node of each key."""
    labels = labels_of(context, entry, found)
    said = {}
    for key, own in ids.items():
        place = found.places[own[0]]
        node = found.graph.nodes[place]
        said[key] = (node.site, node.latent, labels.label[place], labels.dictionary[place])
    return said


def _nodes(
    compared: GraphComparison,
    said: Mapping[str, tuple[Any, ...]],
    ids: list[dict[str, list[str]]],
) -> dict[str, Any]:
    nodes = compared.nodes
    columns = zip(*(said[one.key] for one in nodes), strict=True) if nodes else ((), (), (), ())
    site, latent, label, dictionary = (list(column) for column in columns)
    return {
        "key": [one.key for one in nodes],
        "kind": [one.kind for one in nodes],
        "site": site,
        "latent": latent,
        "label": label,
        "dictionary": dictionary,
        "a": [one.a for one in nodes],
        "b": [one.b for one in nodes],
        "ids_a": [ids[0].get(one.key, []) for one in nodes],
        "ids_b": [ids[1].get(one.key, []) for one in nodes],
    }


def _links(compared: GraphComparison, n: int) -> dict[str, Any]:
    index = {one.key: place for place, one in enumerate(compared.nodes)}
    edges = compared.edges[:n]
    return {
        "source": [index.get(one.source, -1) for one in edges],
        "goal": [index.get(one.goal, -1) for one in edges],
        "a": [one.a for one in edges],
        "b": [one.b for one in edges],
    }


def _provenance(entries: list[GraphEntry], share: float, match: Match) -> Provenance:
    lines = [
        "from lmscope import Graph",
        "from lmscope.circuits.graph_comparison import compare_graphs",
        "",
    ]
    lines += [
        f"{name} = Graph.load({str(entry.path.resolve())!r})"
        for name, entry in zip("ab", entries, strict=True)
    ]
    if share < 1:
        lines += [
            "",
            "from lmscope.circuits.pruning import subgraph",
            "from lmscope.server.library.graph_columns import GraphColumns",
            "",
            "def part(graph):",
            f"    shown = GraphColumns(graph).shown({share!r})",
            "    return subgraph(graph, [node.id for node, kept in zip(graph.nodes, shown) if kept])",
            "",
            "a, b = part(a), part(b)",
        ]
    lines += [f"print(compare_graphs(a, b, {match!r}).to_mapping())"]
    facts = [
        (f"graph {name}", f"{entry.run.id}/{entry.name}")
        for name, entry in zip("ab", entries, strict=True)
    ]
    facts += [("share of influence", f"{share:g}"), ("the same node", match)]
    return Provenance(
        facts=facts, snippets=[Snippet(title="Python", language="python", text="\n".join(lines))]
    )
