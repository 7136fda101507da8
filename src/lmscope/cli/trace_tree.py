"""A circuit as a tree for a terminal: what adds most to the target, and what adds most to that."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lmscope.circuits.graph import Graph, GraphNode
from lmscope.core.feature import FeatureId
from lmscope.display.visible import visible

_LEAVES: Final = {
    "token": "tokens",
    "position": "position embeddings",
    "error": "errors of dictionaries",
    "leaf": "leaves",
}
_NAMED: Final = ("feature", "token")
"""Kinds that get lines of their own; the others are one line each."""


@dataclass(frozen=True)
class TreeShape:
    """How much of a circuit is shown.

    Attributes:
        n_children: Lines below each node, the strongest first.
        depth: Levels below the target.
    """

    n_children: int = 5
    depth: int = 3


_SHAPE: Final = TreeShape()


class CircuitTree:
    """Draws one graph.

    Args:
        graph: The graph.
        labels: What its features mean, by dictionary and latent.
        shape: How much is shown.
    """

    def __init__(
        self, graph: Graph, labels: Mapping[FeatureId, str], shape: TreeShape = _SHAPE
    ) -> None:
        self._graph, self._shape, self._labels = graph, shape, labels
        self._names = {one.site: one.name for one in graph.meta.dictionaries}
        self._below: dict[int, list[tuple[int, float]]] = defaultdict(list)
        edges = zip(graph.source.tolist(), graph.goal.tolist(), graph.flow.tolist(), strict=True)
        for source, goal, flow in edges:
            self._below[goal].append((source, flow))
        self._shown: set[int] = set()

    def lines(self) -> Iterator[str]:
        """The tree, a line at a time."""
        meta = self._graph.meta
        yield f"{visible(meta.target)} = {meta.value:.4g}"
        yield from self._lines(0, "", self._shape.depth)

    def _lines(self, place: int, indent: str, depth: int) -> Iterator[str]:
        below = sorted(self._below[place], key=lambda edge: (-abs(edge[1]), edge[0]))
        named = [edge for edge in below if self._graph.nodes[edge[0]].kind in _NAMED]
        named = named[: self._shape.n_children]
        rest = self._rest(below, {source for source, _ in named})
        for i, (source, flow) in enumerate(named):
            last = i + 1 == len(named) and not rest
            node = self._graph.nodes[source]
            again = source in self._shown and bool(self._below[source])
            self._shown.add(source)
            more = " (see above)" if again else ""
            yield f"{indent}{'└─' if last else '├─'} {flow:+.3g}  {self._words(node)}{more}"
            if depth > 1 and not again:
                yield from self._lines(source, f"{indent}{'   ' if last else '│  '}", depth - 1)
        for i, (words, flow) in enumerate(rest):
            yield f"{indent}{'└─' if i + 1 == len(rest) else '├─'} {flow:+.3g}  {words}"

    def _rest(self, below: list[tuple[int, float]], named: set[int]) -> list[tuple[str, float]]:
        """One line for each kind of what is not named."""
        sums: dict[str, list[float]] = defaultdict(list)
        for source, flow in below:
            if source not in named:
                kind = self._graph.nodes[source].kind
                sums[_LEAVES.get(kind, f"{kind}s")].append(flow)
        return [
            (
                f"{len(flows)} {'more ' if words in ('features', 'tokens') else ''}{words}",
                sum(flows),
            )
            for words, flows in sums.items()
        ]

    def _words(self, node: GraphNode) -> str:
        texts = self._graph.meta.texts
        at = "" if node.position is None else f'  {node.position} "{visible(texts[node.position])}"'
        if node.kind == "token":
            return f"token{at}"
        name = self._names.get(node.site or "")
        label = None
        if name is not None and node.latent is not None:
            label = self._labels.get(FeatureId(name, node.latent))
        words = f"{node.site}/{node.latent}{at}  fires {node.activation or 0:.3g}"
        return words if label is None else f"{words}  {visible(label)}"
