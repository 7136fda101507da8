"""Direct edges: what each writer adds to each feature that was kept.

Nothing lies in between but layers without a dictionary, which are passed through.

Rows are made for kept features only, in closed form. The flow along an edge is the direct contribution
times what one unit of the upper feature adds to the target; the flow into a feature sums to its
attribution (conservation), so a circuit's edges hold all of the target that its nodes do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmscope.circuits.attribution import Attribution, SiteAttribution
from lmscope.circuits.descent import Descent
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Branch, Frozen
from lmscope.circuits.frozen_norm import Biases, BiasKey
from lmscope.core.site import Site

CHUNK_BYTES: Final = 1 << 26
"""Read vectors that are carried at once take about so much memory."""


@dataclass(frozen=True, eq=False)
class DirectRows:
    """Direct contributions to some targets.

    Attributes:
        sites: Of the active features of each site below.
        tokens, positions: Of embeddings.
        errors, leaves: Of what dictionaries leave over and of outputs not traced through.
        biases: Of all constants together.
    """

    sites: Mapping[Site, Float[Tensor, "target node"]]
    tokens: Float[Tensor, "target pos"]
    positions: Float[Tensor, "target pos"]
    errors: Mapping[Site, Float[Tensor, "target pos"]]
    leaves: Mapping[Site, Float[Tensor, "target pos"]]
    biases: Float[Tensor, "target"]

    def total(self) -> Float[Tensor, "target"]:
        """All contributions: the pre-activation of each target."""
        parts = [*self.sites.values(), self.tokens, self.positions]
        parts += [*self.errors.values(), *self.leaves.values()]
        return torch.stack([part.sum(1) for part in parts]).sum(0) + self.biases


def direct_rows(
    frozen: Frozen, stage: int, read: Float[Tensor, "target pos model"], biases: Biases
) -> DirectRows:
    """What adds to targets directly.

    Args:
        frozen: The run.
        stage: Stages below the stream that they read.
        read: What reads it.
        biases: What constants above it add.
    """
    sites: dict[Site, Tensor] = {}

    def stop(branch: Branch, features: ActiveFeatures, gradient: Tensor) -> None:
        sites[branch.site] = gradient * features.value

    with torch.no_grad():
        met = Descent(stop, read, biases).go(frozen, stage)
        found = list(met.biases.found.values())
        constant = torch.stack(found).sum(0) if found else read.new_zeros(len(read))
        return DirectRows(
            dict(reversed(sites.items())),
            met.tokens(frozen),
            met.positions(frozen),
            dict(reversed(met.errors.items())),
            dict(reversed(met.leaves.items())),
            constant,
        )


def feature_rows(
    frozen: Frozen, site: Site, nodes: Int[Tensor, "target"]
) -> Iterator[tuple[Int[Tensor, "target"], DirectRows]]:
    """What adds to features of one site, a chunk of them at a time.

    Args:
        frozen: The run.
        site: What their dictionary writes.
        nodes: Their places among the site's active features.
    """
    stage, branch = frozen.branch(site)
    features = branch.features
    assert features is not None
    length, width = frozen.n_positions, max(frozen.embed.shape[1], features.encoder_rows.shape[1])
    size = max(1, CHUNK_BYTES // (length * width * frozen.embed.element_size()))
    for chunk in nodes.split(size):
        read = frozen.embed.new_zeros(len(chunk), length, features.encoder_rows.shape[1])
        rows = torch.arange(len(chunk), device=chunk.device)
        read[rows, features.position[chunk]] = features.encoder_rows[chunk]
        biases = Biases()
        key = BiasKey(site.layer or 0, f"b_enc {site.part}")
        biases.add(key, features.encoder_biases[chunk])
        yield chunk, direct_rows(frozen, stage, branch.back_read(read, biases), biases)


@dataclass(frozen=True, eq=False)
class FlowEdges:
    """Edges between what was kept, as flows in the target's units.

    Features are numbered through, in forward order of their sites, then by position and latent.

    Attributes:
        sites: The site of each number.
        node: Its place among the site's active features.
        source, goal: Numbers of the lower and the upper feature of each edge; -1 as goal is the target.
        flow: Along each edge.
        tokens: Into each feature from tokens, the last row into the target.
        positions: Likewise from position embeddings.
        errors: Likewise from errors of all sites together.
        biases: Likewise from constants.
    """

    sites: tuple[Site, ...]
    node: Int[Tensor, "feature"]
    source: Int[Tensor, "edge"]
    goal: Int[Tensor, "edge"]
    flow: Float[Tensor, "edge"]
    tokens: Float[Tensor, "row pos"]
    positions: Float[Tensor, "row pos"]
    errors: Mapping[Site, Float[Tensor, "row pos"]]
    leaves: Mapping[Site, Float[Tensor, "row pos"]]
    biases: Float[Tensor, "row"]


def flow_edges(found: Attribution, *, least: float = 0.0) -> FlowEdges:
    """The edges of a circuit.

    Args:
        found: The circuit.
        least: Edges between features with a smaller flow are left out.
    """
    numbers, sites, places = _numbered(found)
    n = len(places)
    rows = _Rows(found.frozen, n + 1)
    start = found.start
    direct = direct_rows(found.frozen, start.stage, start.read, _copied(start.biases))
    rows.add(
        torch.tensor([n]),
        torch.ones(1, dtype=start.read.dtype),
        direct,
        numbers,
        found.sites,
        least,
    )
    for site, one in found.sites.items():
        kept = one.kept.nonzero().squeeze(-1)
        for chunk, part in feature_rows(found.frozen, site, kept):
            goals = numbers[site][chunk]
            rows.add(goals, one.gradient[chunk], part, numbers, found.sites, least)
    return rows.edges(tuple(sites), places)


def _numbered(found: Attribution) -> tuple[dict[Site, Tensor], list[Site], Tensor]:
    """Numbers of kept features by site and place (-1: not kept), and site and place by number."""
    numbers: dict[Site, Tensor] = {}
    sites: list[Site] = []
    places = []
    for site, one in found.sites.items():
        kept = one.kept.nonzero().squeeze(-1)
        own = torch.full((len(one.kept),), -1, dtype=torch.long, device=kept.device)
        own[kept] = torch.arange(len(sites), len(sites) + len(kept), device=kept.device)
        numbers[site] = own
        sites += [site] * len(kept)
        places.append(kept)
    return numbers, sites, torch.cat(places) if places else torch.zeros(0, dtype=torch.long)


class _Rows:
    """Collects flows row by row."""

    def __init__(self, frozen: Frozen, n_rows: int) -> None:
        like, length = frozen.embed, frozen.n_positions
        self._n = n_rows
        self._new = lambda: like.new_zeros(n_rows, length)
        self.tokens, self.positions = self._new(), self._new()
        self.errors: dict[Site, Tensor] = {}
        self.leaves: dict[Site, Tensor] = {}
        self.biases = like.new_zeros(n_rows)
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(
        self,
        goals: Tensor,
        gradient: Tensor,
        rows: DirectRows,
        numbers: Mapping[Site, Tensor],
        sites: Mapping[Site, SiteAttribution],
        least: float,
    ) -> None:
        unit = gradient[:, None]
        self.tokens[goals] = rows.tokens * unit
        self.positions[goals] = rows.positions * unit
        self.biases[goals] = rows.biases * gradient
        for kinds, mine in ((rows.errors, self.errors), (rows.leaves, self.leaves)):
            for site, values in kinds.items():
                mine.setdefault(site, self._new())[goals] = values * unit
        for site, direct in rows.sites.items():
            kept: Bool[Tensor, "node"] = sites[site].kept
            flow = direct[:, kept] * unit
            upper, lower = (flow.abs() > least).nonzero(as_tuple=True)
            self._parts.append((numbers[site][kept][lower], goals[upper], flow[upper, lower]))

    def edges(self, sites: tuple[Site, ...], places: Tensor) -> FlowEdges:
        empty = torch.zeros(0, dtype=torch.long)
        columns = list(zip(*self._parts, strict=True)) or [(empty,), (empty,), (self.biases[:0],)]
        source, goal, flow = (torch.cat(column) for column in columns)
        goal = torch.where(goal == self._n - 1, -1, goal)
        return FlowEdges(
            sites,
            places,
            source,
            goal,
            flow,
            self.tokens,
            self.positions,
            self.errors,
            self.leaves,
            self.biases,
        )


def _copied(biases: Biases) -> Biases:
    copy = Biases()
    for key, value in biases.found.items():
        copy.add(key, value)
    return copy
