"""Attribution graph JSON: what circuit-tracer's page and Neuronpedia open (hanna2025circuittracer).

Facts were read in Neuronpedia's `graph-schema.json`, its page's `utils.ts`, and circuit-tracer's
`graph_models.py`, `graph.py` and `util-cg.js`. What no schema says is in `graph_lint`.

Differs: a layer is two half-layers; ids of errors do not collide with those of features; position
embeddings and constants are nodes; targets may be features and scores.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from lmscope import __version__
from lmscope.circuits.exchange.graph_lint import lint_graph
from lmscope.circuits.exchange.inert import inert, storable
from lmscope.circuits.exchange.peer_names import PeerNames
from lmscope.circuits.graph import Graph, GraphNode
from lmscope.circuits.head_scores import HeadScore
from lmscope.circuits.influence import cumulative, node_influence
from lmscope.circuits.supernodes import Supernode
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, DataError
from lmscope.core.files import write_text
from lmscope.core.site import Site

INDEX_FILE: Final = "graph-metadata.json"
SCHEMA_VERSION: Final = 1
_NAME: Final = r"^[a-zA-Z0-9_.-]+$"
_SOURCE: Final = "https://github.com/lmscope/lmscope"


class AttributionJsonOptions(Config):
    """What the file says of itself."""

    slug: Annotated[str, Field(pattern=_NAME)]
    """Name of the graph in links and files."""
    scan: Annotated[str, Field(pattern=_NAME)] | None = None
    """Neuronpedia's id of the model; absent: the model's name, letters that are not allowed replaced."""
    node_threshold: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of influence that pages show at first."""
    feature_url: Annotated[str, Field(pattern=r"^https://")] | None = None
    """Where pages find `{feature}.json`; it needs https and must let other sites read."""
    source_set: str | None = None
    """Neuronpedia's set of dictionaries, where it has dashboards for them."""
    description: str | None = None
    creator: str | None = None
    created_ms: int | None = None
    """Since 1970, UTC; absent, so that equal graphs are equal files."""
    biases: bool = True
    """Whether constants are nodes. They have no links: each says what it adds along all paths."""


@dataclass(frozen=True)
class Additions:
    """What a graph does not hold itself.

    Attributes:
        probability: Of the target's token; pages show it and need it for a logit.
        target_text: What the target's token shows as, of a difference the whole name.
        labels: What features are called, by the ids of their nodes; others may be among them.
        supernodes: Groups that are pinned and drawn together.
        pinned: Further nodes that are pinned, by id.
        scores: Attention scores taken apart, by the id of the node at which they are shown.
    """

    probability: float | None = None
    target_text: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    supernodes: Sequence[Supernode] = ()
    pinned: Sequence[str] = ()
    scores: Mapping[str, HeadScore] = field(default_factory=dict)


def attribution_json(
    graph: Graph, options: AttributionJsonOptions, additions: Additions | None = None
) -> dict[str, Any]:
    """A graph as plain values for JSON.

    The weight of a link is what its lower end adds to the value of the upper end, as in circuit-tracer, not the flow in
    the target's units.

    Args:
        graph: What is written; prune a large one first.
        options: What it says of itself.
        additions: What it does not hold.

    Raises:
        DataError: The target is a logit and its probability is not given, or an addition is of no node.
    """
    return _Writing(graph, options, additions or Additions()).values()


def save_attribution_json(
    graph: Graph,
    path: Path | str,
    options: AttributionJsonOptions,
    additions: Additions | None = None,
) -> Path:
    """Write one JSON file.

    Raises:
        DataError: As of `attribution_json`.
        ArtifactError: It breaks a rule of the pages, or cannot be written.
    """
    path = Path(path)
    values = attribution_json(graph, options, additions)
    _refuse_broken(values)
    write_text(path, _text(values))
    return path


def publish_attribution_json(
    graph: Graph,
    folder: Path | str,
    options: AttributionJsonOptions,
    additions: Additions | None = None,
) -> Path:
    """Write `SLUG.json` into a folder of graphs, and list it in the folder's `graph-metadata.json`.

    A graph of the same slug is replaced. The folder can be given to circuit-tracer's local server.

    Raises:
        DataError: As of `attribution_json`.
        ArtifactError: It breaks a rule of the pages, or cannot be written, or the list is damaged.
    """
    folder = Path(folder)
    values = attribution_json(graph, options, additions)
    _refuse_broken(values)
    index = folder / INDEX_FILE
    listed = [one for one in _listed(index) if one.get("slug") != options.slug]
    path = folder / f"{options.slug}.json"
    write_text(path, _text(values))
    write_text(index, _text({"graphs": [*listed, values["metadata"]]}))
    return path


def slug_of(text: str) -> str:
    """A name for links and files; `graph` where nothing of the text can stay."""
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", text).strip("-.")[:80] or "graph"


def _refuse_broken(values: Mapping[str, Any]) -> None:
    if findings := lint_graph(values):
        raise ArtifactError(
            f"The graph was not written, since pages could not open it: {findings[0]}"
            + (f" ({len(findings) - 1} more)" if len(findings) > 1 else "")
        )


def _listed(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["graphs"]
        return [dict(one) for one in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"'{path}' is no list of graphs ({error}): remove it or choose another folder."
        ) from None


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, allow_nan=False, separators=(",", ":"))


class _Writing:
    """One graph on its way."""

    def __init__(self, graph: Graph, options: AttributionJsonOptions, additions: Additions) -> None:
        self.graph, self.options, self.additions = graph, options, additions
        self.names = PeerNames(graph)
        self.target = self._target()
        known = {node.id for node in graph.nodes}
        named = [*additions.pinned, *additions.scores]
        named += [member for one in additions.supernodes for member in one.members]
        for one in named:
            if one not in known:
                raise DataError(f"Something was said of '{one}', which is no node of the graph.")

    def values(self) -> dict[str, Any]:
        shares = cumulative(node_influence(self.graph))
        nodes = {
            node.id: self._node(node, float(share))
            for node, share in zip(self.graph.nodes, shares, strict=True)
            if node.kind != "bias" or self.options.biases
        }
        elsewhere: dict[str, Any] = {}
        for name, score in self.additions.scores.items():
            nodes[name]["qk_tracing_results"] = self._score(score, nodes, elsewhere)
        found = {
            "metadata": self._metadata(),
            "qParams": self._view(nodes),
            "nodes": list(nodes.values()),
            "links": self._links(nodes),
        }
        return {**found, "qk_only_nodes": elsewhere} if self.additions.scores else found

    def _node(self, node: GraphNode, share: float) -> dict[str, Any]:
        if node.kind == "target":
            return self.target
        return {
            **self.names.of(node.id),
            "clerp": self._clerp(node),
            "influence": None if node.kind == "bias" else share,
            "activation": node.activation,
            **_unused(),
        }

    def _clerp(self, node: GraphNode) -> str:
        if node.kind == "feature":
            return inert(self.additions.labels.get(node.id, ""))
        if node.kind == "bias":
            return inert(f"constant {node.id.removeprefix('bias:')}: adds {node.attribution:.4g}")
        if node.kind == "position":
            return f"position {node.position}"
        return "" if node.kind == "token" else inert(f"{node.kind} {node.site}")

    def _target(self) -> dict[str, Any]:
        """A logit as pages know it; a feature as itself; anything else at the top."""
        node = self.graph.nodes[0]
        position = len(self.graph.meta.tokens) - 1 if node.position is None else node.position
        if node.token is not None:
            return self._logit(node.token, position)
        text = inert(self.additions.target_text or self.graph.meta.target)
        common = {"clerp": text, "influence": None, "activation": None, **_unused()}
        if node.latent is not None and node.site is not None:
            feature = self.names.feature(Site.parse(node.site), node.latent, position)
            return {**feature, **common, "activation": node.attribution}
        return {
            "node_id": f"{self.names.top}_target_{position}",
            "feature": -1,
            "layer": str(self.names.top),
            "ctx_idx": position,
            "feature_type": "unknown",
            "jsNodeId": f"{self.names.top}_target_{position}",
            **common,
        }

    def _logit(self, token: int, position: int) -> dict[str, Any]:
        probability = self.additions.probability
        if probability is None or not 0 <= probability <= 1:
            raise DataError(
                "Pages show the probability of a logit's token and a graph does not hold it: give it, from 0 to 1."
            )
        text = inert(self.additions.target_text or self.graph.meta.target)
        # Pages cut the token out between quotes, and the number after "(p=".
        text = text.replace('"', "\u2033").replace("(p=", "(p\u2009=")
        top = self.names.top
        return {
            "node_id": f"{top}_{token}_{position}",
            "feature": token,
            "layer": str(top),
            "ctx_idx": position,
            "feature_type": "logit",
            "jsNodeId": f"L_{token}-{position}",
            "clerp": f'Output "{text}" (p={probability:.3f})',
            "influence": None,
            "activation": None,
            **_unused(),
            "token_prob": probability,
            "is_target_logit": True,
        }

    def _links(self, nodes: Mapping[str, Any]) -> list[dict[str, Any]]:
        graph = self.graph
        weights = direct_weights(graph)
        columns = (graph.source.tolist(), graph.goal.tolist(), weights.tolist())
        names = [nodes[node.id]["node_id"] if node.id in nodes else "" for node in graph.nodes]
        return [
            {"source": names[source], "target": names[goal], "weight": weight}
            for source, goal, weight in zip(*columns, strict=True)
            if weight
        ]

    def _score(
        self, score: HeadScore, nodes: Mapping[str, Any], elsewhere: dict[str, Any]
    ) -> dict[str, Any]:
        def name(writer: str) -> str:
            if writer in nodes:
                return nodes[writer]["node_id"]
            found = self.names.of(writer)
            text = "" if found["feature_type"] == "embedding" else inert(writer)
            elsewhere[found["node_id"]] = {**found, "clerp": text, "activation": None}
            return found["node_id"]

        return {
            "pair_wise_contributors": [[name(q), name(k), value] for q, k, value in score.pairs],
            "top_q_marginal_contributors": [[name(q), value] for q, value in score.query_totals],
            "top_k_marginal_contributors": [[name(k), value] for k, value in score.key_totals],
        }

    def _view(self, nodes: Mapping[str, Any]) -> dict[str, Any]:
        groups = [
            [inert(one.name), *(nodes[member]["node_id"] for member in one.members)]
            for one in self.additions.supernodes
        ]
        pinned = [nodes[one]["node_id"] for one in self.additions.pinned]
        pinned += [member for group in groups for member in group[1:]]
        return {
            "pinnedIds": list(dict.fromkeys(pinned)),
            "supernodes": groups,
            "linkType": "both",
            "clickedId": self.target["node_id"],
            "sg_pos": "",
        }

    def _metadata(self) -> dict[str, Any]:
        meta, options = self.graph.meta, self.options
        details = {
            "feature_json_base_url": options.feature_url,
            "neuronpedia_source_set": options.source_set,
        }
        info = {
            "description": options.description,
            "creator_name": options.creator,
            "create_time_ms": options.created_ms,
        }
        pruning = meta.options.get("pruning", {})
        shares = {"node_threshold": "node_share", "edge_threshold": "edge_share"}
        return {
            "slug": options.slug,
            "scan": options.scan or slug_of(meta.model),
            "transcoder_list": [],
            "prompt_tokens": [inert(text) for text in meta.texts],
            "prompt": storable(meta.prompt),
            "node_threshold": options.node_threshold,
            "schema_version": SCHEMA_VERSION,
            "feature_details": _given(details),
            "info": {
                **_given(info),
                "source_urls": [],
                "generator": {"name": "lmscope", "version": __version__, "url": _SOURCE},
            },
            "generation_settings": self._settings(),
            "pruning_settings": {k: pruning[v] for k, v in shares.items() if v in pruning},
        }

    def _settings(self) -> dict[str, Any]:
        """How it was made; pages show whatever stands here."""
        meta = self.graph.meta
        halves = {
            str(site): {"layer": half.layer, "first_index": half.first_index}
            for site, half in self.names.halves.items()
        }
        ledger = {k: v for k, v in meta.ledger.items() if _is_number(v)}
        return {
            "target": inert(meta.target),
            "target_value": meta.value,
            "model": inert(meta.model),
            "weights_hash": meta.weights_hash,
            "half_layers": halves,
            "ledger": ledger,
            "options": dict(meta.options),
        }


def direct_weights(graph: Graph) -> Float64[np.ndarray, "edge"]:
    """What the lower end of each edge adds to the value of the upper end.

    A flow is that times what one unit of the upper end adds to the target, which is its attribution over
    its activation. 0 where the upper end adds nothing.
    """
    activation = np.array([node.activation or 0.0 for node in graph.nodes])
    attribution = np.array([node.attribution for node in graph.nodes])
    units = np.divide(activation, attribution, out=np.zeros(len(graph)), where=attribution != 0)
    units[[node.kind == "target" for node in graph.nodes]] = 1.0
    return graph.flow.astype(np.float64) * units[graph.goal]


def _unused() -> dict[str, Any]:
    """Fields that pages of the first kind read."""
    return {"token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
