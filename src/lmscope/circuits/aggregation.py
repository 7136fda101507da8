"""Aggregation: the circuit that many prompts share, with how sure each part of it is.

A graph is of one prompt. Over prompts of one task, what recurs is the task's and what does not is the
prompt's: each node and edge gets its mean over prompts, an interval, and the share of prompts it is in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, Final, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from lmscope.circuits.graph import Graph
from lmscope.circuits.node_keys import Edge, Match, MergedGraph, MergedNode, check_alike, merged
from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.evaluation.statistics import BootstrapOptions, Estimate, bootstrap_weights

_BLOCK: Final = 512
"""Columns that are resampled at once, to bound memory."""
_MOST_PAIRS: Final = 2000


class AggregationOptions(Config):
    """How graphs are put together."""

    match: Match = "latent"
    """What counts as the same node on two prompts."""
    units: Literal["target", "share"] = "share"
    """`share`: of each prompt's target, so that each prompt counts alike. `target`: in its units."""
    least_stability: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Nodes and edges in a smaller share of prompts are left out."""
    bootstrap: BootstrapOptions = BootstrapOptions()
    """Prompts are what is resampled."""
    seed: int = 0
    """Of the resamples."""


@dataclass(frozen=True)
class SharedNode:
    """One node over prompts.

    Attributes:
        key: As of `node_keys.node_key`.
        kind, site, latent, token: As of `GraphNode`.
        attribution: Mean over all prompts; where it is not there it adds 0.
        stability: Share of prompts that it is in.
        activation: Mean of its largest activation on prompts that it is in; None where it has none.
        n_nodes: Mean number of positions on prompts that it is in.
    """

    key: str
    kind: str
    site: str | None
    latent: int | None
    token: int | None
    attribution: Estimate
    stability: float
    activation: float | None
    n_nodes: float


@dataclass(frozen=True)
class SharedEdge:
    """One edge over prompts.

    Attributes:
        source, goal: Keys of its ends.
        flow: Mean over all prompts; where it is not there it is 0.
        stability: Share of prompts that it is in.
    """

    source: str
    goal: str
    flow: Estimate
    stability: float


@dataclass(frozen=True)
class SharedCircuit:
    """What the graphs of many prompts have in common.

    Attributes:
        n_prompts: How many there are.
        options: How they were put together.
        nodes: Largest mean first; the target is left out.
        edges: Between nodes and into the target; largest mean first.
        overlap: Features of both among features of either, mean over pairs of prompts; NaN for one prompt.
        n_features: Features of all prompts, before any were left out.
    """

    n_prompts: int
    options: AggregationOptions
    nodes: tuple[SharedNode, ...]
    edges: tuple[SharedEdge, ...]
    overlap: float
    n_features: int

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "n_prompts": self.n_prompts,
            "options": self.options.to_mapping(),
            "overlap": self.overlap if self.overlap == self.overlap else None,
            "n_features": self.n_features,
            "nodes": [_plain(one) for one in self.nodes],
            "edges": [_plain(one) for one in self.edges],
        }


def aggregate(graphs: Sequence[Graph], options: AggregationOptions | None = None) -> SharedCircuit:
    """Put the graphs of many prompts together.

    Args:
        graphs: Of one model and its dictionaries, one a prompt.
        options: How.

    Raises:
        DataError: There is no graph, or shares are asked for and a target is 0.
        ArtifactError: Graphs are of different models or dictionaries.
    """
    chosen = options or AggregationOptions()
    check_alike(graphs)
    parts = [merged(graph, chosen.match) for graph in graphs]
    units = [_unit(graph, chosen) for graph in graphs]
    weights = bootstrap_weights(len(parts), chosen.bootstrap.n_resamples, chosen.seed) / len(parts)
    nodes = _nodes(parts, units, weights, chosen)
    keys = {"target", *(node.key for node in nodes)}
    edges = _edges(parts, units, weights, chosen)
    features = [_features(part) for part in parts]
    return SharedCircuit(
        len(parts),
        chosen,
        nodes,
        tuple(edge for edge in edges if edge.source in keys and edge.goal in keys),
        _overlap(features),
        len(set().union(*features)),
    )


def _unit(graph: Graph, options: AggregationOptions) -> float:
    if options.units == "target":
        return 1.0
    if not graph.meta.value:
        raise DataError(
            f"The target of {graph.meta.prompt[:40]!r} is 0, so nothing is a share of it: ask for units = 'target'."
        )
    return 1.0 / graph.meta.value


def _nodes(
    parts: Sequence[MergedGraph],
    units: Sequence[float],
    weights: Float64[np.ndarray, "resample prompt"],
    options: AggregationOptions,
) -> tuple[SharedNode, ...]:
    there: dict[str, list[tuple[int, MergedNode]]] = {}
    for prompt, part in enumerate(parts):
        for key, node in part.nodes.items():
            if node.kind != "target":
                there.setdefault(key, []).append((prompt, node))
    kept = {k: v for k, v in there.items() if len(v) / len(parts) >= options.least_stability}
    columns = [
        {prompt: node.attribution * units[prompt] for prompt, node in v} for v in kept.values()
    ]
    found = []
    for (key, places), estimate in zip(
        kept.items(), _estimates(columns, weights, options), strict=True
    ):
        first = places[0][1]
        activations = [node.activation for _, node in places if node.activation is not None]
        found.append(
            SharedNode(
                key,
                first.kind,
                first.site,
                first.latent,
                first.token,
                estimate,
                len(places) / len(parts),
                float(np.mean(activations)) if activations else None,
                float(np.mean([len(node.ids) for _, node in places])),
            )
        )
    return tuple(sorted(found, key=lambda one: (-abs(one.attribution.value), one.key)))


def _edges(
    parts: Sequence[MergedGraph],
    units: Sequence[float],
    weights: Float64[np.ndarray, "resample prompt"],
    options: AggregationOptions,
) -> tuple[SharedEdge, ...]:
    there: dict[Edge, dict[int, float]] = {}
    for prompt, part in enumerate(parts):
        for edge, flow in part.edges.items():
            there.setdefault(edge, {})[prompt] = flow * units[prompt]
    kept = {k: v for k, v in there.items() if len(v) / len(parts) >= options.least_stability}
    estimates = _estimates(list(kept.values()), weights, options)
    found = [
        SharedEdge(*edge, estimate, len(places) / len(parts))
        for (edge, places), estimate in zip(kept.items(), estimates, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-abs(one.flow.value), one.source, one.goal)))


def _estimates(
    columns: Sequence[Mapping[int, float]],
    weights: Float64[np.ndarray, "resample prompt"],
    options: AggregationOptions,
) -> Iterator[Estimate]:
    """Mean and interval of each column, which holds a number for some prompts and 0 for the others."""
    n = weights.shape[1]
    tail = (1 - options.bootstrap.confidence) / 2
    for start in range(0, len(columns), _BLOCK):
        block = columns[start : start + _BLOCK]
        values = np.zeros((n, len(block)))
        for column, numbers in enumerate(block):
            values[list(numbers), column] = list(numbers.values())
        means = weights @ values
        if n < 2 or len(means) < 2:
            yield from (Estimate(value=float(mean), n=n) for mean in means[0])
            continue
        low, high = np.quantile(means[1:], [tail, 1 - tail], axis=0)
        for mean, least, most in zip(means[0], low, high, strict=True):
            yield Estimate(value=float(mean), low=float(least), high=float(most), n=n)


def _features(part: MergedGraph) -> set[str]:
    return {key for key, node in part.nodes.items() if node.kind == "feature"}


def _overlap(sets: Sequence[set[str]]) -> float:
    """Mean over pairs; over pairs spread evenly where there are very many."""
    pairs = list(combinations(range(len(sets)), 2))
    step = max(1, len(pairs) // _MOST_PAIRS)
    shares = [
        len(sets[a] & sets[b]) / len(sets[a] | sets[b])
        for a, b in pairs[::step]
        if sets[a] or sets[b]
    ]
    return float(np.mean(shares)) if shares else float("nan")


def _plain(one: SharedNode | SharedEdge) -> dict[str, Any]:
    return {
        key: value.to_mapping() if isinstance(value, Estimate) else value
        for key, value in vars(one).items()
    }
