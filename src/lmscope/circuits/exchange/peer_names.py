"""What nodes are called in attribution graphs of other tools.

There a feature is `{layer}_{latent}_{position}`, and pages put nodes where the layer says. A layer here
is two there, attention at 2l and feed-forward at 2l + 1, so that their features stay apart.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from lmscope.circuits.graph import Graph
from lmscope.core.errors import DataError
from lmscope.core.site import Site

FEATURE: Final = "cross layer transcoder"
ERROR: Final = "mlp reconstruction error"
EMBEDDING: Final = "embedding"
_FEATURE_ID: Final = re.compile(r"(?P<site>[^/]+)/(?P<latent>\d+)@(?P<position>\d+)", re.ASCII)
_INPUT_ID: Final = re.compile(r"(?P<kind>token|position)@(?P<position>\d+)", re.ASCII)
_SITE_ID: Final = re.compile(
    r"(?P<kind>error|leaf|skip|constant):(?P<site>.+)@(?P<position>\d+)", re.ASCII
)
_BIAS_ID: Final = re.compile(r"bias:(?P<name>.+)@(?P<layer>\d+)", re.ASCII)
_MLP: Final = re.compile(r"mlp|b_in|b_out|b_gate|b_up|b_down")


@dataclass(frozen=True)
class HalfLayer:
    """Where a site's features stand.

    Attributes:
        layer: The number there.
        first_index: What the numbers of its latents begin at, above 0 where two dictionaries share a layer.
    """

    layer: int
    first_index: int = 0


class PeerNames:
    """Names of the nodes of one graph.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: Graph) -> None:
        self._tokens = graph.meta.tokens
        self._position = graph.nodes[0].position
        latents = {Site.parse(one.site): one.n_latents for one in graph.meta.dictionaries}
        sites = [Site.parse(n.site) for n in graph.nodes[1:] if n.site is not None]
        lowest = [half_layer(site) for site in {*latents, *sites}]
        lowest += [_bias_layer(n.id) for n in graph.nodes if n.kind == "bias"]
        # Pages look for a layer above 0 and stop without one.
        self.shift = 0 if any(lowest) else 1
        self.halves: dict[Site, HalfLayer] = {}
        taken: dict[int, int] = {}
        for site in sorted({*latents, *sites}):
            layer = half_layer(site) + self.shift
            self.halves[site] = HalfLayer(layer, taken.get(layer, 0))
            taken[layer] = taken.get(layer, 0) + latents.get(site, 0)
        self._others: dict[tuple[int, int], list[str]] = {}
        self.top = 2 * graph.meta.n_layers + 1 + self.shift

    def of(self, node: str) -> dict[str, Any]:
        """Fields by which a node is known there.

        Args:
            node: Its id here, also one of a score's pairs that is no node of the graph.

        Returns:
            `node_id`, `feature`, `layer`, `ctx_idx`, `feature_type` and `jsNodeId`.

        Raises:
            DataError: It is no id.
        """
        if found := _FEATURE_ID.fullmatch(node):
            return self.feature(
                Site.parse(found["site"]), int(found["latent"]), int(found["position"])
            )
        if found := _INPUT_ID.fullmatch(node):
            return self._input(found["kind"], int(found["position"]))
        if found := _SITE_ID.fullmatch(node):
            return self._of_site(found["kind"], found["site"], int(found["position"]))
        if found := _BIAS_ID.fullmatch(node):
            layer = _bias_layer(node) + self.shift
            last = len(self._tokens) - 1 if self._position is None else self._position
            name = re.sub(r"\W+", "_", found["name"], flags=re.ASCII)
            return self._other(f"{layer}_bias_{name}_{last}", layer, last, "bias")
        raise DataError(f"'{node}' is no id of a node.")

    def feature(self, site: Site, latent: int, position: int) -> dict[str, Any]:
        """The fields of a latent at a position."""
        half = self.halves.get(site) or HalfLayer(half_layer(site) + self.shift)
        index = half.first_index + latent
        found = _fields(
            f"{half.layer}_{index}_{position}",
            cantor(half.layer, index),
            half.layer,
            position,
            FEATURE,
        )
        return {**found, "jsNodeId": f"{half.layer}_{index}-0"}

    def _input(self, kind: str, position: int) -> dict[str, Any]:
        """A token, or a position embedding, which pages show as one more embedding."""
        length = len(self._tokens)
        if kind == "position":
            return _fields(f"E_pos_{position}", length + position, "E", position, EMBEDDING)
        token = self._tokens[position]
        found = _fields(f"E_{token}_{position}", position, "E", position, EMBEDDING)
        return {**found, "jsNodeId": f"E_{token}-{position}"}

    def _of_site(self, kind: str, text: str, position: int) -> dict[str, Any]:
        if text in ("query", "key"):
            return self._other(f"0_constant_{text}_{position}", 0, position, "bias")
        site = Site.parse(text)
        half = self.halves.get(site) or HalfLayer(half_layer(site) + self.shift)
        types = {"error": ERROR, "leaf": ERROR, "constant": "bias"}
        part = site.part.removesuffix("_out")
        name = f"{half.layer}_{kind}_{part}_{position}"
        return self._other(name, half.layer, position, types.get(kind, "unknown"))

    def _other(self, name: str, layer: int, position: int, feature_type: str) -> dict[str, Any]:
        """What is no feature; pages tell nodes of one place apart by a number, so it gets one below 0."""
        known = self._others.setdefault((layer, position), [])
        if name not in known:
            known.append(name)
        return _fields(name, -1 - known.index(name), layer, position, feature_type)


def half_layer(site: Site) -> int:
    """2l up to the middle of layer l, 2l + 1 from there."""
    layer = site.layer or 0
    if site.part == "resid_pre":
        return max(2 * layer - 1, 0)
    return 2 * layer + (site.part in ("mlp_out", "resid_post"))


def cantor(layer: int, index: int) -> int:
    """The one number that pages take layer and latent from."""
    return (layer + index) * (layer + index + 1) // 2 + index


def from_cantor(number: int) -> tuple[int, int]:
    """Layer and latent again."""
    total = _triangle_root(number)
    index = number - total * (total + 1) // 2
    return total - index, index


def _triangle_root(number: int) -> int:
    low, high = 0, 1
    while high * (high + 1) // 2 <= number:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle * (middle + 1) // 2 <= number else (low, middle)
    return low


def _bias_layer(node: str) -> int:
    found = _BIAS_ID.fullmatch(node)
    assert found is not None
    return 2 * int(found["layer"]) + bool(_MLP.search(found["name"]))


def _fields(
    name: str, feature: int, layer: int | str, position: int, feature_type: str
) -> dict[str, Any]:
    return {
        "node_id": name,
        "feature": feature,
        "layer": str(layer),
        "ctx_idx": position,
        "feature_type": feature_type,
        "jsNodeId": name,
    }
