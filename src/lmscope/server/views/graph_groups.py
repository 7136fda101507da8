"""Features of a graph put together where they are alike, by what can be had without the model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from lmscope.circuits.graph import Graph, GraphNode
from lmscope.circuits.pruning import subgraph
from lmscope.core.errors import LmscopeError
from lmscope.server.context import Context
from lmscope.server.failures import WrongInput
from lmscope.server.library.entries import DictionaryEntry
from lmscope.server.library.graph_columns import GraphColumns
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.library.library import Library
from lmscope.server.schemas.graph import NodeGroup, NodeGroups
from lmscope.server.views.graph import found_graph
from lmscope.server.views.graph_labels import labels_of, served_dictionaries

By = Literal["decoder", "label", "activation"]
MAX_FEATURES: Final = 2_000
MAX_GRAPHS: Final = 16
"""Of a run, from which it is told which features fire together."""
_WEIGHTS: Final = "weights.safetensors"
_ROWS: Final = "W_dec"
Vectors = Mapping[int, np.ndarray]
"""Something to compare, by place in the graph."""


def node_groups(
    context: Context, run: str, name: str, by: By, share: float, least: float
) -> NodeGroups:
    """Automatic groups among the features that are shown, those that add most first.

    Raises:
        NotFound: There is no such graph.
        WrongInput: There are too many features.
        ArtifactError: The graph cannot be read.
    """
    from lmscope.circuits.supernodes import (
        SupernodeOptions,
        coactivation,
        decoder_similarity,
        supernodes,
        supernodes_by_label,
    )

    entry, found = found_graph(context, run, name)
    shown = found.shown(share)
    labels = labels_of(context, entry, found)
    graph = found.graph
    places = [p for p in np.flatnonzero(shown).tolist() if graph.nodes[p].kind == "feature"]
    if len(places) > MAX_FEATURES:
        raise WrongInput(
            f"{len(places):,} features are shown, and at most {MAX_FEATURES:,} are put together. Show a smaller share."
        )
    named = {graph.nodes[p].id: labels.label[p] for p in places if labels.label[p] is not None}
    options = SupernodeOptions(least=least)
    if by == "label":
        groups = supernodes_by_label(_part(graph, places), named, options)
        return _answer(found, by, "Features that have one label.", groups, len(places) - len(named))
    if by == "decoder":
        vectors = decoder_rows(context.library, found, places)
        meaning = "Features whose decoder rows point one way: mean cosine between groups."
    else:
        vectors, n_graphs = _firings(context, entry, found, places)
        meaning = (
            f"Features that fire at the same positions of {n_graphs} prompt{'s' * (n_graphs > 1)} of this run: mean "
            "cosine of their activations between groups."
        )
    able = [p for p in places if p in vectors]
    measure = decoder_similarity if by == "decoder" else coactivation
    if len(able) < 2:
        return _answer(found, by, meaning, (), len(places) - len(able))
    similarity = measure(np.stack([vectors[p] for p in able]).astype(np.float64))
    groups = supernodes(_part(graph, able), similarity, options, named)
    return _answer(found, by, meaning, groups, len(places) - len(able))


def decoder_rows(library: Library, found: GraphColumns, places: Sequence[int]) -> Vectors:
    """The decoder row of each feature, from an atlas or from the weights; those that nobody has are left out."""
    rows: dict[int, np.ndarray] = {}
    for site, entry in served_dictionaries(library, found).items():
        own = {p: node for p in places if (node := found.graph.nodes[p]).site == site}
        latents = [node.latent or 0 for node in own.values()]
        if own and (read := _rows_of(library, entry, latents)) is not None:
            rows |= dict(zip(own, read, strict=True))
    # Dictionaries of attention outputs may write streams of another width than the others.
    widths = [len(row) for row in rows.values()]
    usual = max(set(widths), key=widths.count, default=0)
    return {place: row for place, row in rows.items() if len(row) == usual}


def _rows_of(library: Library, entry: DictionaryEntry, latents: Sequence[int]) -> np.ndarray | None:
    if entry.folder is not None:
        rows = _weights_rows(entry.folder / _WEIGHTS, latents)
        if rows is not None:
            return rows
    if not entry.atlases:
        return None
    try:
        with library.atlas(entry.id) as atlas:
            return None if atlas.vectors is None else atlas.vectors[latents].astype(np.float32)
    except (LmscopeError, IndexError):  # damaged: the first page tells of it
        return None


def _weights_rows(path: Path, latents: Sequence[int]) -> np.ndarray | None:
    try:
        with safe_open(path, framework="numpy") as file:  # pyright: ignore[reportArgumentType]
            part = file.get_slice(_ROWS)
            return np.stack([np.asarray(part[i], dtype=np.float32) for i in latents])
    except (OSError, SafetensorError, TypeError, ValueError, IndexError):  # e.g. bfloat16
        return None


def _firings(
    context: Context, entry: GraphEntry, found: GraphColumns, places: Sequence[int]
) -> tuple[Vectors, int]:
    """Activations of each feature's latent at every position of the run's prompts."""
    graphs = [found.graph]
    others, _ = context.graphs.entries([entry.run])
    for other in others:
        if other.name != entry.name and len(graphs) < MAX_GRAPHS:
            graphs.append(context.graphs.open(other).graph)
    starts = np.cumsum([0, *(len(graph.meta.tokens) for graph in graphs)])
    fires: dict[tuple[str | None, int | None], np.ndarray] = {}
    for graph, start in zip(graphs, starts, strict=False):
        for node in graph.nodes:
            if node.kind == "feature" and node.position is not None:
                row = fires.setdefault(_latent(node), np.zeros(starts[-1]))
                row[start + node.position] = node.activation or 0.0
    return {p: fires[_latent(found.graph.nodes[p])] for p in places}, len(graphs)


def _latent(node: GraphNode) -> tuple[str | None, int | None]:
    return node.site, node.latent


def _part(graph: Graph, places: Sequence[int]) -> Graph:
    return subgraph(graph, [graph.nodes[p].id for p in places])


def _answer(
    found: GraphColumns, by: By, meaning: str, groups: Sequence[Any], n_left_out: int
) -> NodeGroups:
    return NodeGroups(
        by=by,
        meaning=meaning,
        groups=[
            NodeGroup(
                name=one.name,
                places=[found.places[id_] for id_ in one.members],
                ids=list(one.members),
                attribution=one.attribution,
                similarity=one.similarity,
            )
            for one in groups
        ],
        n_left_out=n_left_out,
    )
