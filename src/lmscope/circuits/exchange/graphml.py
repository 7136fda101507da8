"""GraphML: a graph for networkx, Gephi, yEd and Cytoscape."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from lmscope.circuits.graph import Graph
from lmscope.circuits.influence import cumulative, node_influence
from lmscope.core.files import write_text
from lmscope.display.visible import visible

_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>'
_SPACE: Final = "http://graphml.graphdrawing.org/xmlns"
_NODE_KEYS: Final = {
    "kind": "string",
    "label": "string",
    "attribution": "double",
    "influence": "double",
    "activation": "double",
    "site": "string",
    "layer": "int",
    "position": "int",
    "latent": "int",
    "token": "int",
    "text": "string",
}
_EDGE_KEYS: Final = {"flow": "double", "size": "double"}
_GRAPH_KEYS: Final = {
    "model": "string",
    "weights_hash": "string",
    "prompt": "string",
    "target": "string",
    "value": "double",
}
_REPLACED: Final = {0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}
"""Characters that XML has no place for; the others are spelt out by `visible`."""


def save_graphml(graph: Graph, path: Path | str, labels: Mapping[str, str] | None = None) -> Path:
    """Write a graph as GraphML.

    Nodes keep their ids; `influence` is the running share of all influence, `size` of an edge that of its flow.

    Args:
        graph: What is written.
        path: The file; one that is there is replaced.
        labels: What features are called, by the ids of their nodes.

    Raises:
        ArtifactError: The file cannot be written.
    """
    path = Path(path)
    write_text(path, "\n".join(_lines(graph, labels or {})) + "\n")
    return path


def _lines(graph: Graph, labels: Mapping[str, str]) -> Iterator[str]:
    yield _HEAD
    yield f'<graphml xmlns="{_SPACE}">'
    for owner, keys in (("graph", _GRAPH_KEYS), ("node", _NODE_KEYS), ("edge", _EDGE_KEYS)):
        for name, kind in keys.items():
            yield f'  <key id="{owner}-{name}" for="{owner}" attr.name="{name}" attr.type="{kind}"/>'
    yield '  <graph edgedefault="directed">'
    meta = graph.meta
    yield from _data("graph", {name: getattr(meta, name) for name in _GRAPH_KEYS}, "    ")
    shares = cumulative(node_influence(graph))
    for place, node in enumerate(graph.nodes):
        shown = None if node.position is None else meta.texts[node.position]
        values = node.to_mapping() | {
            "label": labels.get(node.id),
            "influence": float(shares[place]),
            "text": meta.target if node.kind == "target" else shown,
        }
        yield f"    <node id={_quoted(node.id)}>"
        yield from _data("node", {name: values.get(name) for name in _NODE_KEYS}, "      ")
        yield "    </node>"
    columns = (graph.source.tolist(), graph.goal.tolist(), graph.flow.tolist())
    for source, goal, flow in zip(*columns, strict=True):
        ends = _quoted(graph.nodes[source].id), _quoted(graph.nodes[goal].id)
        yield f"    <edge source={ends[0]} target={ends[1]}>"
        yield from _data("edge", {"flow": flow, "size": abs(flow)}, "      ")
        yield "    </edge>"
    yield "  </graph>"
    yield "</graphml>"


def _data(owner: str, values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in values.items():
        if value is not None:
            yield f'{indent}<data key="{owner}-{name}">{escape(_written(value))}</data>'


def _written(value: object) -> str:
    return visible(value).translate(_REPLACED) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    return quoteattr(_written(text))
