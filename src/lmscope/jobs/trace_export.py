"""Graphs in the forms of other tools, with what their features mean."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from lmscope.circuits.exchange.attribution_json import (
    Additions,
    AttributionJsonOptions,
    save_attribution_json,
    slug_of,
)
from lmscope.circuits.exchange.graphml import save_graphml
from lmscope.circuits.graph import Graph
from lmscope.circuits.supernodes import Supernode
from lmscope.core.errors import RecipeError, did_you_mean
from lmscope.jobs.trace_label_file import Labels, features_of
from lmscope.jobs.trace_record import TraceRecord


class _Added(NamedTuple):
    """What a graph does not hold."""

    labels: dict[str, str]
    """By the ids of nodes."""
    groups: Sequence[Supernode]


def export_graph(
    graph: Graph,
    record: TraceRecord,
    path: Path,
    labels: Labels,
    groups: Sequence[Supernode] = (),
) -> None:
    """Write a graph in the form that a file's ending names.

    Args:
        graph: The graph.
        record: What was found on its prompt.
        path: Ends in .graph, .json (an attribution graph) or .graphml.
        labels: What its features mean.
        groups: Features that are drawn together, where the form knows that.

    Raises:
        RecipeError: It ends otherwise.
        ArtifactError: It cannot be written.
    """
    if path.suffix not in _WRITERS:
        raise RecipeError(
            f"Graphs are not written as '{path.suffix}'.{did_you_mean(path.suffix, _WRITERS)}"
        )
    features = features_of(graph)
    named = {node: labels[feature] for node, feature in features.items() if feature in labels}
    _WRITERS[path.suffix](graph, record, path, _Added(named, groups))


def _own(graph: Graph, _record: TraceRecord, path: Path, _added: _Added) -> None:
    graph.save(path)


def _attribution_json(graph: Graph, record: TraceRecord, path: Path, added: _Added) -> None:
    node = graph.nodes[0]
    logit = None if node.token is None else graph.meta.target.removeprefix("logit ")
    text = next((p.text for p in record.predictions if p.token == node.token), logit)
    additions = Additions(
        probability=record.probability,
        target_text=text if node.against is None else logit,
        labels=added.labels,
        supernodes=added.groups,
        scores={} if record.score is None else {node.id: record.score},
    )
    save_attribution_json(graph, path, AttributionJsonOptions(slug=slug_of(record.name)), additions)


def _graphml(graph: Graph, _record: TraceRecord, path: Path, added: _Added) -> None:
    save_graphml(graph, path, added.labels)


_WRITERS: Final[Mapping[str, Callable[[Graph, TraceRecord, Path, _Added], None]]] = {
    ".graph": _own,
    ".json": _attribution_json,
    ".graphml": _graphml,
}
