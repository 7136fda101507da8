"""The page of a graph: the part that carries a share of its influence, with its ledger and what was found."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Bool

from lmscope.circuits.graph import Graph
from lmscope.jobs.trace_record import TraceRecord
from lmscope.server.context import Context
from lmscope.server.library.graph_columns import GraphColumns
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.library.players import board_of
from lmscope.server.schemas.common import Problem
from lmscope.server.schemas.graph import (
    FaithfulnessLine,
    GraphDictionaryLine,
    GraphLedger,
    GraphLine,
    GraphMeta,
    GraphRecord,
    Graphs,
    GraphToken,
    LedgerPart,
    PredictedToken,
    SweepLine,
)
from lmscope.server.views.graph_labels import labels_of, served_dictionaries
from lmscope.server.views.graph_provenance import graph_provenance, has_weights

MEANINGS: Final[Mapping[str, str]] = {
    "tokens": "Token embeddings, through the features that are kept.",
    "positions": "Position embeddings, through the features that are kept.",
    "errors": "What dictionaries leave over of what they stand for.",
    "leaves": "Outputs of layers that are not traced through.",
    "biases": "Constants of the model and of its dictionaries.",
    "cut": "Features that were reached and lie below the threshold.",
}
"""The parts of a ledger in the order of drawing."""
_STEPS: Final = tuple(round(step / 20, 2) for step in range(1, 21))
_INNER: Final = 200


def found_graph(context: Context, run: str, name: str) -> tuple[GraphEntry, GraphColumns]:
    """A graph by its address.

    Raises:
        NotFound: There is none.
        Damaged: What was found beside it cannot be read.
        ArtifactError: The graph itself cannot be read.
    """
    entry = context.graphs.entry(context.library.run(run), name)
    return entry, context.graphs.open(entry)


def graphs(context: Context) -> Graphs:
    """All graphs, those of the newest run first."""
    found, troubles = context.graphs.entries(context.library.runs())
    where = context.library.where
    return Graphs(
        graphs=[graph_line(one) for one in found],
        problems=[Problem(where=where(one.path), message=one.message) for one in troubles],
    )


def graph_line(entry: GraphEntry) -> GraphLine:
    """A graph in a line."""
    record = entry.record
    return GraphLine(
        run=entry.run.id,
        name=entry.name,
        prompt=record.prompt,
        target=record.target,
        model=next(iter(entry.run.record.weights), None),
        value=record.value,
        recovered=record.recovered,
        n_nodes=record.n_nodes,
        n_edges=record.n_edges,
        n_tokens=record.n_tokens,
        created=entry.run.record.created.isoformat(),
    )


def graph_page(context: Context, run: str, name: str, share: float, n_links: int) -> dict[str, Any]:
    """A graph or a part of it, as plain values: those of `GraphPage`.

    Args:
        context: Of the server.
        run: Id of its run.
        name: Of its files.
        share: Of all influence that lies in the nodes that are shown.
        n_links: Strongest links between them.

    Raises:
        NotFound: There is none.
        ArtifactError: It cannot be read.
    """
    entry, found = found_graph(context, run, name)
    shown = found.shown(share)
    links = found.links(shown)
    # From places in the whole graph to places in this answer.
    index = np.cumsum(shown) - 1
    tests = context.graph_notes.tests(entry)
    return {
        "meta": _meta(context, entry, found),
        "record": graph_record(entry.record),
        "ledger": graph_ledger(found.graph),
        "nodes": node_columns(context, entry, found, shown, tests),
        "links": {
            "source": index[links.source[:n_links]],
            "goal": index[links.goal[:n_links]],
            "flow": links.flow[:n_links],
        },
        "n_nodes_all": found.n_shown_at_most,
        "n_links_all": found.n_links,
        "n_links_shown": len(links.flow),
        "share": share,
        "shares": {"share": _STEPS, "n_nodes": [found.n_shown(step) for step in _STEPS]},
        "n_tests": len(tests),
        "views": sorted(context.graph_notes.views(entry)),
        "read_only": context.settings.read_only,
        "live": has_weights(context.library, entry, found),
        "player": board_of(context.library, entry.run),
        "provenance": graph_provenance(entry, found, share),
    }


def node_columns(
    context: Context,
    entry: GraphEntry,
    found: GraphColumns,
    shown: Bool[np.ndarray, "node"],
    tests: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Columns of some nodes: those of `NodeColumns`."""
    labels = labels_of(context, entry, found)
    own = {name: _plain(column[shown]) for name, column in found.columns.items()}
    n_tests = n_tests_of(tests)
    return {
        **own,
        "influence": found.cumulative[shown],
        "label": labels.label[shown].tolist(),
        "label_known": labels.known[shown].tolist(),
        "dictionary": labels.dictionary[shown].tolist(),
        "tests": [n_tests.get(id_, 0) for id_ in own["id"]],
    }


def n_tests_of(tests: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many tests each node is in, by id; that of a link counts for both ends."""
    found: dict[str, int] = {}
    for one in tests:
        for id_ in {*one.get("nodes", ()), *(one.get("edge") or ())}:
            found[id_] = found.get(id_, 0) + 1
    return found


def graph_ledger(graph: Graph) -> GraphLedger:
    """What the target is the sum of."""
    ledger = graph.ledger
    inner = {
        "tokens": _of_kind(graph, "token"),
        "positions": _of_kind(graph, "position"),
        "errors": ledger.get("by_error", {}),
        "leaves": ledger.get("by_leaf", {}),
        "biases": ledger.get("by_bias", {}),
    }
    return GraphLedger(
        target=ledger["target"],
        parts=[
            LedgerPart(
                name=name,  # pyright: ignore[reportArgumentType]
                meaning=meaning,
                value=ledger.get(name, 0.0),
                inner=_largest(inner.get(name, {})),
            )
            for name, meaning in MEANINGS.items()
        ],
        residual=ledger["residual"],
        tolerance=ledger["tolerance"],
    )


def graph_record(record: TraceRecord) -> GraphRecord:
    """What was found beside the graph."""
    return GraphRecord(
        model_value=record.model_value,
        probability=record.probability,
        predictions=[
            PredictedToken(
                token=one.token, text=one.text, probability=one.probability, logit=one.logit
            )
            for one in record.predictions
        ],
        position=record.position,
        recovered=record.recovered,
        n_features=record.n_features,
        n_reached=record.n_reached,
        why_not=None if record.why_not is None else record.why_not.to_mapping(),
        sweep=[
            SweepLine(
                threshold=one.threshold,
                n_features=one.n_features,
                recovered=one.recovered,
                cut=one.cut,
                errors=one.errors,
                residual=one.residual,
            )
            for one in record.sweep
        ],
        faithfulness=[
            FaithfulnessLine(
                where=one.where,
                errors=one.errors,
                baseline=one.ablation,
                full=one.full,
                empty=one.empty,
                kept=one.kept,
                faithfulness=one.faithfulness,
                completeness=one.completeness,
            )
            for one in record.faithfulness
        ],
    )


def _meta(context: Context, entry: GraphEntry, found: GraphColumns) -> GraphMeta:
    meta = found.graph.meta
    served = served_dictionaries(context.library, found)
    tokens = zip(meta.tokens, meta.texts, strict=True)
    return GraphMeta(
        run=entry.run.id,
        name=entry.name,
        prompt=meta.prompt,
        tokens=[GraphToken(id=id_, text=text) for id_, text in tokens],
        model=meta.model,
        weights_hash=meta.weights_hash,
        n_layers=meta.n_layers,
        n_rows=2 * meta.n_layers + 2,
        target=meta.target,
        target_place=0,
        value=meta.value,
        options=meta.options,
        dictionaries=[
            GraphDictionaryLine(
                site=one.site,
                reads=one.reads,
                name=one.name,
                n_latents=one.n_latents,
                id=served[one.site].id if one.site in served else None,
            )
            for one in meta.dictionaries
        ],
        created=entry.run.record.created.isoformat(),
    )


def _of_kind(graph: Graph, kind: str) -> dict[str, float]:
    return {node.id: node.attribution for node in graph.nodes if node.kind == kind}


def _largest(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(parts.items(), key=lambda one: (-abs(one[1]), one[0]))[:_INNER]


def _plain(column: np.ndarray) -> Any:
    return column.tolist() if column.dtype == object else column
