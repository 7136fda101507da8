"""Rules of attribution graph JSON: those of its schema, and those that no schema states.

Each was read in the code of a page that opens such files. One that is broken often goes without a word:
nodes are hidden, details are another feature's, or the page stays empty.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lmscope.circuits.exchange.peer_names import from_cantor
from lmscope.core.errors import ArtifactError

MOST_BYTES: Final = 100 * 1024 * 1024
_MOST_FINDINGS: Final = 100
_MOST_EXACT: Final = 2**50
"""Numbers above this lose their last digits when a page takes layer and latent from them."""
_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]+")
_PROBABILITY: Final = re.compile(r"\(p=(?P<number>[0-9.eE+-]+)\)")
_TYPES: Final = frozenset(
    {
        "cross layer transcoder",
        "mlp reconstruction error",
        "embedding",
        "logit",
        "lorsa",
        "lorsa error",
        "bias",
        "unknown",
        "unexplored node",
    }
)
_WITH_FEATURES: Final = ("cross layer transcoder", "lorsa")
_METADATA: Final = {"slug": str, "scan": str, "prompt_tokens": list, "prompt": str}
_NODE: Final = {
    "node_id": str,
    "ctx_idx": int,
    "feature_type": str,
    "jsNodeId": str,
    "clerp": str,
}
_LINK: Final = {"source": str, "target": str, "weight": (int, float)}
_SCORES: Final = {
    "pair_wise_contributors": 3,
    "top_q_marginal_contributors": 2,
    "top_k_marginal_contributors": 2,
}
Values = Mapping[str, Any]


def lint_graph(graph: Values) -> list[str]:
    """What is wrong with an attribution graph; nothing when pages open it.

    Args:
        graph: The values of the JSON file.

    Returns:
        One sentence a finding, at most 100.
    """
    shape = list(islice(_check_shape(graph), _MOST_FINDINGS))
    if shape:
        return shape
    return list(islice(_check_rules(graph), _MOST_FINDINGS))


def lint_graph_file(path: Path | str) -> list[str]:
    """The same of a file.

    Raises:
        ArtifactError: It cannot be read.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    if len(data) > MOST_BYTES:
        return [
            f"The file has {len(data) / 2**20:.0f} MiB, Neuronpedia takes 100: prune the graph."
        ]
    try:
        values = json.loads(data)
    except ValueError as error:
        return [f"The file is no JSON ({error})."]
    return lint_graph(values) if isinstance(values, dict) else ["The file holds no object."]


def _check_shape(graph: Values) -> Iterator[str]:
    """What the schema asks for."""
    wanted = {"metadata": dict, "qParams": dict, "nodes": list, "links": list}
    parts = list(_missing(graph, wanted, "the graph"))
    yield from parts
    if parts:
        return
    yield from _missing(graph["metadata"], _METADATA, "metadata")
    if any(not isinstance(text, str) for text in graph["metadata"].get("prompt_tokens") or ()):
        yield "metadata: prompt_tokens holds something that is no string."
    for number, node in enumerate(graph["nodes"]):
        if not isinstance(node, dict):
            yield f"Node {number} is no object."
            continue
        where = f"node {node.get('node_id', number)!r}"
        yield from _missing(node, _NODE, where)
        if not isinstance(node.get("layer"), str | int):
            yield f"{where}: 'layer' is {node.get('layer')!r}, a string or a whole number is read."
        if "feature" not in node or not isinstance(node["feature"], int | None):
            yield f"{where}: 'feature' is {node.get('feature')!r}, a whole number or null is read."
    for number, link in enumerate(graph["links"]):
        if not isinstance(link, dict):
            yield f"Link {number} is no object."
            continue
        yield from _missing(link, _LINK, f"link {number}")


def _missing(
    values: Values, wanted: Mapping[str, type | tuple[type, ...]], where: str
) -> Iterator[str]:
    for key, kind in wanted.items():
        if key not in values:
            yield f"{where}: '{key}' is missing."
        elif not isinstance(values[key], kind) or isinstance(values[key], bool):
            yield f"{where}: '{key}' is {str(values[key])[:40]!r}, which has the wrong type."


def _check_rules(graph: Values) -> Iterator[str]:
    for check in _RULES:
        yield from check(graph)


def _check_metadata(graph: Values) -> Iterator[str]:
    meta = graph["metadata"]
    for key in ("slug", "scan"):
        if not _NAME.fullmatch(meta[key]):
            yield f"metadata: {key} '{meta[key]}' has other characters than letters, digits, '_', '.' and '-', and saving refuses it."
    if meta.get("schema_version") != 1:
        yield f"metadata: schema_version is {meta.get('schema_version')!r}; without 1, layers and latents are read from features by an old rule."
    url = (meta.get("feature_details") or {}).get("feature_json_base_url")
    if url is not None and not str(url).startswith("https://"):
        yield f"metadata: feature_json_base_url '{url}' does not begin with https://, and browsers refuse it."


def _check_ids(graph: Values) -> Iterator[str]:
    seen: set[str] = set()
    places: dict[tuple[str, Any, int], str] = {}
    for node in graph["nodes"]:
        name = node["node_id"]
        if name in seen:
            yield f"Node id '{name}' is there twice, and links to it lead to one of both."
        seen.add(name)
        place = (str(node["layer"]), node["feature"], node["ctx_idx"])
        other = places.setdefault(place, name)
        if other != name:
            yield f"Nodes '{other}' and '{name}' have one layer, feature and position, so pages take them for one."


def _check_nodes(graph: Values) -> Iterator[str]:
    length = len(graph["metadata"]["prompt_tokens"])
    for node in graph["nodes"]:
        name = node["node_id"]
        if node["feature_type"] not in _TYPES:
            yield f"Node '{name}': no page knows the feature_type '{node['feature_type']}'."
        if not 0 <= node["ctx_idx"] < length:
            yield f"Node '{name}': ctx_idx {node['ctx_idx']} lies outside the prompt's {length} tokens."
        if node["feature_type"] in _WITH_FEATURES:
            yield from _check_feature(node)
        if node["feature_type"] == "logit" and node["clerp"]:
            yield from _check_logit(node)
        yield from _check_numbers(node)


def _check_feature(node: Values) -> Iterator[str]:
    name, number = node["node_id"], node["feature"]
    if number is None or number < 0 or str(from_cantor(number)[0]) != str(node["layer"]):
        yield f"Node '{name}': feature {number} is not the pairing of layer {node['layer']} and a latent, so another feature's details are shown."
    elif number > _MOST_EXACT:
        yield f"Node '{name}': feature {number} is too large for a page to take layer and latent from it."
    elif not re.fullmatch(r"\d+_\d+_\d+", name):
        yield f"Node '{name}': three whole numbers joined by '_' are read where features are pinned."


def _check_logit(node: Values) -> Iterator[str]:
    """Pages take the number from behind the first '(p=' and fail where there is none."""
    found = _PROBABILITY.search(node["clerp"])
    if node["clerp"].count("(p=") != 1 or found is None or not _is_share(found["number"]):
        yield f"Node '{node['node_id']}': the clerp of a logit ends in one '(p=0.123)', which pages read; it is '{node['clerp'][:60]}'."


def _check_numbers(node: Values) -> Iterator[str]:
    influence, activation = node.get("influence"), node.get("activation")
    if influence is not None and not (_finite(influence) and 0 <= influence <= 1):
        yield f"Node '{node['node_id']}': influence {influence} is no share from 0 to 1, and sliders hide the wrong nodes."
    if activation is not None and not _finite(activation):
        yield f"Node '{node['node_id']}': activation {activation} is no number."


def _check_influence(graph: Values) -> Iterator[str]:
    """It is a running share, so the last node has all."""
    shares = [n["influence"] for n in graph["nodes"] if n.get("influence") is not None]
    if shares and max(shares) < 0.5 and len(shares) > 2:
        yield f"The largest influence is {max(shares):.2g}: the running share of all influence is read, which ends near 1, not the influence itself."


def _check_layers(graph: Values) -> Iterator[str]:
    def above(node: Values) -> bool:
        layer = str(node["layer"])
        return node["feature_type"] != "logit" and layer.isdecimal() and int(layer) > 0

    if not any(above(node) for node in graph["nodes"]):
        yield "No node but logits lies above layer 0, and Neuronpedia stops with 'No layer found'."


def _check_links(graph: Values) -> Iterator[str]:
    known = {node["node_id"] for node in graph["nodes"]}
    seen: set[tuple[str, str]] = set()
    for link in graph["links"]:
        ends = (link["source"], link["target"])
        for end in ends:
            if end not in known:
                yield f"The link from '{ends[0]}' to '{ends[1]}' ends at '{end}', which is no node, and is dropped without a word."
        if ends in seen:
            yield f"The link from '{ends[0]}' to '{ends[1]}' is there twice."
        seen.add(ends)
        if not _finite(link["weight"]):
            yield f"The link from '{ends[0]}' to '{ends[1]}' weighs {link['weight']}, which is no number."


def _check_view(graph: Values) -> Iterator[str]:
    known, view = {node["node_id"] for node in graph["nodes"]}, graph["qParams"]
    groups = view.get("supernodes", [])
    if any(not isinstance(group, list) or len(group) < 2 for group in groups):
        yield "qParams: a supernode is a list of its label and the ids of its members."
        return
    members = [member for group in groups for member in group[1:]]
    for name in [*view.get("pinnedIds", []), *members]:
        if name not in known:
            yield f"qParams: '{name}' is pinned or grouped and is no node."
    for name in sorted(set(members) - set(view.get("pinnedIds", []))):
        yield f"qParams: '{name}' is in a supernode and not pinned, so it is not drawn."


def _check_scores(graph: Values) -> Iterator[str]:
    elsewhere = graph.get("qk_only_nodes") or {}
    known = {node["node_id"] for node in graph["nodes"]}
    for name, node in elsewhere.items():
        if name in known or node.get("node_id") != name:
            yield f"qk_only_nodes: '{name}' is a node already, or its node_id is another."
    for node in graph["nodes"]:
        results = node.get("qk_tracing_results")
        if results is None:
            continue
        for key, width in _SCORES.items():
            rows = results.get(key)
            if rows is None or any(len(row) != width for row in rows):
                yield f"Node '{node['node_id']}': {key} is a list of {width} values a row."
                continue
            for end in (end for row in rows for end in row[:-1]):
                if end not in known and end not in elsewhere:
                    yield f"Node '{node['node_id']}': {key} names '{end}', which is in neither nodes nor qk_only_nodes."


def _check_texts(graph: Values) -> Iterator[str]:
    """circuit-tracer's page puts labels into its markup as they are."""
    for node in graph["nodes"]:
        if re.search(r"<[a-zA-Z/!?]", node["clerp"]):
            yield f"Node '{node['node_id']}': the clerp holds a tag, which circuit-tracer's page would act on."
    for number, text in enumerate(graph["metadata"]["prompt_tokens"]):
        if re.search(r"<[a-zA-Z/!?]", text):
            yield f"Token {number} holds a tag, which circuit-tracer's page would act on."


def _check_size(graph: Values) -> Iterator[str]:
    size = len(json.dumps(graph, separators=(",", ":")))
    if size > MOST_BYTES:
        yield f"The graph has {size / 2**20:.0f} MiB, Neuronpedia takes 100: prune it."


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


_RULES: Final[tuple[Callable[[Values], Iterator[str]], ...]] = (
    _check_metadata,
    _check_ids,
    _check_nodes,
    _check_influence,
    _check_layers,
    _check_links,
    _check_view,
    _check_scores,
    _check_texts,
    _check_size,
)
