"""From an attribution and its edges to a Graph."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from lmscope.circuits.attribution import Attribution
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.edges import FlowEdges, flow_edges
from lmscope.circuits.graph import Graph, GraphDictionary, GraphMeta, GraphNode
from lmscope.core.site import Site

TARGET: Final = "target"
_Maker = Callable[[int, float], GraphNode]
"""Makes the node of one position from what it adds."""


def build_graph(
    found: Attribution,
    options: TraceOptions,
    *,
    prompt: str,
    texts: Sequence[str],
    names: Mapping[Site, tuple[str, str]] | None = None,
    least_flow: float = 0.0,
) -> Graph:
    """The circuit as plain values.

    Args:
        found: What was traced.
        options: How.
        prompt: The text.
        texts: What each token shows as.
        names: Name and content digest of the dictionary that writes a site.
        least_flow: Edges with a smaller flow are left out, and so are tokens, positions, errors and
            leaves that add less.
    """
    edges = flow_edges(found, least=least_flow)
    building = _Building(found, edges, least_flow)
    building.add_features()
    building.add_leaves()
    frozen = found.frozen
    model = frozen.replacement.model
    known = names or {}
    dictionaries = tuple(
        GraphDictionary(
            site=str(site),
            reads=str(one.config.read_site),
            name=known.get(site, (None, None))[0],
            content_digest=known.get(site, (None, None))[1],
            n_latents=one.config.n_latents,
        )
        for site, one in frozen.replacement.dictionaries.items()
    )
    meta = GraphMeta(
        prompt=prompt,
        tokens=tuple(frozen.tokens.tolist()),
        texts=tuple(texts),
        model=model.name,
        weights_hash=model.weights_hash,
        n_layers=model.n_layers,
        dictionaries=dictionaries,
        target=found.start.name,
        value=found.start.value,
        options={**frozen.replacement.options.to_mapping(), **options.to_mapping()},
        ledger=found.ledger.to_mapping(),
        n_reached=found.n_reached,
    )
    return building.graph(meta)


class _Building:
    """Nodes by place, and edges as they come."""

    def __init__(self, found: Attribution, edges: FlowEdges, least: float) -> None:
        self.found, self.edges, self.least = found, edges, least
        start = found.start
        self.nodes = [
            GraphNode(
                id=TARGET,
                kind="target",
                attribution=start.value,
                site=None if start.site is None else str(start.site),
                layer=None if start.site is None else start.site.layer,
                position=start.position,
                latent=start.latent,
                token=start.token,
                against=start.against,
            )
        ]
        self.sources: list[Tensor] = []
        self.goals: list[Tensor] = []
        self.flows: list[Tensor] = []

    def add_features(self) -> None:
        """Kept features, and the flows between them and into the target."""
        for site, node in zip(self.edges.sites, self.edges.node.tolist(), strict=True):
            one = self.found.sites[site]
            features = one.features
            position, latent = int(features.position[node]), int(features.latent[node])
            self.nodes.append(
                GraphNode(
                    id=f"{site}/{latent}@{position}",
                    kind="feature",
                    attribution=float(one.attribution[node]),
                    site=str(site),
                    layer=site.layer,
                    position=position,
                    latent=latent,
                    activation=float(features.value[node]),
                )
            )
        # Features are numbered from 0 and the target is -1, so their places are one more.
        order = self.edges.order()
        source, goal = self.edges.source[order], self.edges.goal[order]
        self._add(source + 1, goal + 1, self.edges.flow[order])

    def add_leaves(self) -> None:
        """Tokens, positions, errors, outputs that are not traced through, and constants."""
        tokens = self.found.frozen.tokens.tolist()
        self._add_rows(
            self.edges.tokens,
            lambda i, a: GraphNode(
                id=f"token@{i}", kind="token", attribution=a, position=i, token=tokens[i]
            ),
        )
        if self.found.frozen.pos_embed is not None:
            self._add_rows(
                self.edges.positions,
                lambda i, a: GraphNode(
                    id=f"position@{i}", kind="position", attribution=a, position=i
                ),
            )
        for site, flows in self.edges.errors.items():
            self._add_rows(flows, _maker("error", site))
        for site, flows in self.edges.leaves.items():
            self._add_rows(flows, _maker("leaf", site))
        for key, value in sorted(self.found.ledger.biases.items()):
            node = GraphNode(id=f"bias:{key}", kind="bias", attribution=value, layer=key.layer)
            self.nodes.append(node)

    def graph(self, meta: GraphMeta) -> Graph:
        source, goal, flow = (
            torch.cat(part).cpu().numpy() for part in (self.sources, self.goals, self.flows)
        )
        return Graph(
            meta,
            tuple(self.nodes),
            source.astype(np.int32),
            goal.astype(np.int32),
            flow.astype(np.float32),
        )

    def _add_rows(self, flows: Tensor, make: _Maker) -> None:
        """A node for each position that adds more than the least, with its flows."""
        totals = flows.double().sum(0)
        rows = len(flows)
        for position in (totals.abs() > self.least).nonzero().squeeze(-1).tolist():
            place = len(self.nodes)
            self.nodes.append(make(position, float(totals[position])))
            upper = (flows[:, position].abs() > self.least).nonzero().squeeze(-1)
            # The last row is the target's; features stand one place after their number.
            goals = torch.where(upper == rows - 1, 0, upper + 1)
            self._add(torch.full_like(upper, place), goals, flows[upper, position])

    def _add(self, source: Tensor, goal: Tensor, flow: Tensor) -> None:
        self.sources.append(source)
        self.goals.append(goal)
        self.flows.append(flow)


def _maker(kind: Literal["error", "leaf"], site: Site) -> _Maker:
    def make(position: int, attribution: float) -> GraphNode:
        return GraphNode(
            id=f"{kind}:{site}@{position}",
            kind=kind,
            attribution=attribution,
            site=str(site),
            layer=site.layer,
            position=position,
        )

    return make
