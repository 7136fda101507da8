"""Direct edges: what each writer adds to each feature that was kept.

Nothing lies in between but layers without a dictionary, which are passed through.

Rows are made for kept features only, in closed form. The flow along an edge is the direct contribution
times what one unit of the upper feature adds to the target; the flow into a feature sums to its
attribution (conservation), so a circuit's edges hold all of the target that its nodes do.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.circuits.attribution import Attribution
from lmscope.circuits.direct_rows import DirectRows, direct_rows
from lmscope.circuits.frozen import Frozen
from lmscope.circuits.frozen_norm import Biases, BiasKey
from lmscope.circuits.joint_descent import Readers, joint_rows
from lmscope.core.site import Site

_TARGET: Final = -1
_Part = tuple[Tensor, Tensor, Tensor]
"""Sources, goals and flows of some edges."""
CHUNK_BYTES: Final = 1 << 26
"""Read vectors that are carried at once take about so much memory."""


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
        read[rows, features.position[chunk]] = features.only(chunk).encoder_rows
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
    kept = {site: one.kept.nonzero().squeeze(-1) for site, one in found.sites.items()}
    readers, n = [], 0
    for site, nodes in kept.items():
        number = torch.arange(n, n + len(nodes), device=nodes.device)
        readers.append(Readers(site, nodes, number))
        n += len(nodes)
    rows = _Rows(found.frozen, readers, least)
    frozen, start = found.frozen.only(kept), found.start
    with torch.no_grad():
        unit = torch.ones(1, dtype=start.read.dtype, device=start.read.device)
        goal = torch.tensor([n], device=start.read.device)
        biases = _copied(start.biases)
        rows.add(goal, unit, direct_rows(frozen, start.stage, start.read, biases))
        gradients = [one.gradient[kept[site]] for site, one in found.sites.items()]
        gradient = torch.cat([*gradients, unit])
        for goals, part in joint_rows(found.frozen, frozen, readers):
            rows.add(goals, gradient[goals], part)
    return rows.edges()


class _Rows:
    """Collects flows into features, by their numbers, and into the target, which has the last one."""

    def __init__(self, frozen: Frozen, features: Sequence[Readers], least: float) -> None:
        self._features, self._least = features, least
        self._number = {one.site: (i, one.number.int()) for i, one in enumerate(features)}
        counts = torch.tensor([len(one) for one in features], dtype=torch.long)
        above = torch.arange(len(features)).repeat_interleave(counts)
        self._site_of = torch.cat([above, above.new_tensor([_TARGET])]).to(frozen.embed.device)
        self._n = sum(len(one) for one in features)
        self._new = lambda: frozen.embed.new_zeros(self._n + 1, frozen.n_positions)
        self.tokens, self.positions = self._new(), self._new()
        self.errors: dict[Site, Tensor] = {}
        self.leaves: dict[Site, Tensor] = {}
        self.biases = frozen.embed.new_zeros(self._n + 1)
        self._parts: dict[tuple[int, int], list[_Part]] = defaultdict(list)

    def add(
        self, goals: Int[Tensor, "target"], gradient: Float[Tensor, "target"], rows: DirectRows
    ) -> None:
        """Flows into some goals, over the first positions and the first features of each site."""
        unit, length = gradient[:, None], rows.tokens.shape[1]
        self.tokens[goals, :length] = rows.tokens * unit
        self.positions[goals, :length] = rows.positions * unit
        self.biases[goals] = rows.biases * gradient
        for kinds, mine in ((rows.errors, self.errors), (rows.leaves, self.leaves)):
            for site, values in kinds.items():
                if site not in mine:
                    mine[site] = self._new()
                mine[site][goals, :length] = values * unit
        above, sizes = self._site_of[goals].unique_consecutive(return_counts=True)
        blocks = [goals.int().split(sizes.tolist()), unit.split(sizes.tolist())]
        for site, direct in rows.sites.items():
            below, numbers = self._number[site]
            parts = zip(above.tolist(), direct.split(sizes.tolist()), *blocks, strict=True)
            for upper_site, values, upper_goals, units in parts:
                if _TARGET < upper_site <= below:
                    continue  # it stands no higher
                flow = values * units
                upper, lower = (flow.abs() > self._least).nonzero(as_tuple=True)
                if len(upper):
                    part = numbers[lower], upper_goals[upper], flow[upper, lower]
                    self._parts[upper_site, below].append(part)

    def edges(self) -> FlowEdges:
        """All of them: into the target first, then by sites of the upper and of the lower end.

        Within two sites they come as they were added: by upper ends, whose numbers follow their positions.
        """
        n = sum(len(flow) for parts in self._parts.values() for _, _, flow in parts)
        source, goal = (torch.empty(n, dtype=torch.int32) for _ in range(2))
        flow, at = torch.empty(n, dtype=self.biases.dtype), 0
        for key in sorted(self._parts):
            for part in self._parts.pop(key):
                end = at + len(part[2])
                source[at:end], goal[at:end], flow[at:end] = part
                at = end
        goal[goal == self._n] = -1
        features, device = self._features, self.biases.device
        none = torch.zeros(0, dtype=torch.long, device=device)
        return FlowEdges(
            tuple(one.site for one in features for _ in range(len(one))),
            torch.cat([one.nodes for one in features] or [none]),
            source.to(device),
            goal.to(device),
            flow.to(device),
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
