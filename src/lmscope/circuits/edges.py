"""Direct edges: what each writer adds to each feature that was kept.

Nothing lies in between but layers without a dictionary, which are passed through.

Rows are made for kept features only, in closed form. The flow along an edge is the direct contribution
times what one unit of the upper feature adds to the target; the flow into a feature sums to its
attribution (conservation), so a circuit's edges hold all of the target that its nodes do.
"""

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

_PAIRS: Final = 1 << 19
"""Pairs of features whose flows are looked at together."""
_FIRST_EDGES: Final = 1 << 20
"""Edges that room is taken for at first where small flows are left out."""
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

    Edges lie in compressed rows, all that ends in one goal together and by ascending sources; rows come in no
    particular order.

    Attributes:
        sites: The site of each number.
        node: Its place among the site's active features.
        goals: Number of the upper feature of each row; -1 is the target.
        counts: Edges of each row.
        source: Number of the lower feature of each edge.
        flow: Along each edge.
        tokens: Into each feature from tokens, the last row into the target.
        positions: Likewise from position embeddings.
        errors: Likewise from the errors of each site.
        leaves: Likewise from each site that has no dictionary and ends the descent.
        biases: Likewise from constants.
    """

    sites: tuple[Site, ...]
    node: Int[Tensor, "feature"]
    goals: Int[Tensor, "goal"]
    counts: Int[Tensor, "goal"]
    source: Int[Tensor, "edge"]
    flow: Float[Tensor, "edge"]
    tokens: Float[Tensor, "row pos"]
    positions: Float[Tensor, "row pos"]
    errors: Mapping[Site, Float[Tensor, "row pos"]]
    leaves: Mapping[Site, Float[Tensor, "row pos"]]
    biases: Float[Tensor, "row"]

    @property
    def goal(self) -> Int[Tensor, "edge"]:
        """Number of the upper feature of each edge; -1 is the target."""
        return self.goals.repeat_interleave(self.counts)

    def order(self) -> Int[Tensor, "edge"]:
        """Places of all edges, the target's first, then by goals and sources."""
        rows = self.goals.argsort()
        begin = (self.counts.cumsum(0) - self.counts)[rows]
        counts = self.counts[rows]
        shift = begin - (counts.cumsum(0) - counts)
        return torch.arange(len(self.flow), device=rows.device) + shift.repeat_interleave(counts)


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
        self._n = sum(len(one) for one in features)
        self._numbers = [(one.site, one.number.int()) for one in features]
        counts = torch.tensor([len(one) for one in features], dtype=torch.long)
        above = torch.arange(len(features)).repeat_interleave(counts)
        # The target stands above all sites.
        self._site_of = torch.cat([above, above.new_tensor([len(features)])])
        self._new = lambda: frozen.embed.new_zeros(self._n + 1, frozen.n_positions)
        self.tokens, self.positions = self._new(), self._new()
        self.errors: dict[Site, Tensor] = {}
        self.leaves: dict[Site, Tensor] = {}
        self.biases = frozen.embed.new_zeros(self._n + 1)
        most = _most_edges(frozen, features)
        # Nearly all flows differ from 0, so all have room from the start: the memory is taken only where it is
        # written. Where small flows are left out, few edges may be left of more than there is memory for.
        room = min(most, _FIRST_EDGES) if least else most
        self._source = torch.empty(room, dtype=torch.int32)
        self._flow = torch.empty(room, dtype=frozen.embed.dtype)
        self._at = 0
        self._goals: list[Tensor] = []
        self._counts: list[Tensor] = []

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
        goals = goals.cpu()
        self._goals.append(goals)
        above, sizes = self._site_of[goals].unique_consecutive(return_counts=True)
        end = 0
        for site, size in zip(above.tolist(), sizes.tolist(), strict=True):
            begin, end = end, end + size
            self._add(site, slice(begin, end), unit, rows.sites)

    def _add(
        self,
        above: int,
        part: slice,
        unit: Tensor,
        sites: Mapping[Site, Float[Tensor, "_row _node"]],
    ) -> None:
        """Flows from features of lower sites into some rows, which stand at one site."""
        lower = [(sites[one][part], n) for one, n in self._numbers[:above] if one in sites]
        n = sum(values.shape[1] for values, _ in lower)
        if not n:
            self._counts.append(torch.zeros(part.stop - part.start, dtype=torch.long))
            return
        numbers = torch.cat([number[: values.shape[1]] for values, number in lower])
        rows = max(1, _PAIRS // n)
        columns = zip(*(values.split(rows) for values, _ in lower), strict=True)
        for values, units in zip(columns, unit[part].split(rows), strict=True):
            flow = torch.cat(values, 1) * units
            large = flow.abs() > self._least
            self._counts.append(large.sum(1).cpu())
            begin, self._at = self._at, self._at + int(self._counts[-1].sum())
            if self._at > len(self._flow):
                self._source = _with_room(self._source, begin, self._at)
                self._flow = _with_room(self._flow, begin, self._at)
            self._flow[begin : self._at] = flow[large]
            self._source[begin : self._at] = numbers.expand_as(flow)[large]

    def edges(self) -> FlowEdges:
        """All of them."""
        features, device = self._features, self.biases.device
        goals = torch.cat(self._goals)
        none = torch.zeros(0, dtype=torch.long, device=device)
        return FlowEdges(
            tuple(one.site for one in features for _ in range(len(one))),
            torch.cat([one.nodes for one in features] or [none]),
            goals.masked_fill(goals == self._n, -1).to(device),
            torch.cat(self._counts).to(device),
            self._source[: self._at].to(device),
            self._flow[: self._at].to(device),
            self.tokens,
            self.positions,
            self.errors,
            self.leaves,
            self.biases,
        )


def _with_room(values: Tensor, n: int, wanted: int) -> Tensor:
    """The first of some numbers, with room for all that are wanted and as many again."""
    larger = values.new_empty(2 * wanted)
    larger[:n] = values[:n]
    return larger


def _most_edges(frozen: Frozen, readers: Sequence[Readers]) -> int:
    """How many edges there are when no flow is 0."""
    n = sum(len(one) for one in readers)
    lower: list[Tensor] = []
    for one in readers:
        features = frozen.branch(one.site)[1].features
        assert features is not None
        position = features.position[one.nodes]
        n += sum(int(torch.searchsorted(below, position, right=True).sum()) for below in lower)
        lower.append(position)
    return n


def _copied(biases: Biases) -> Biases:
    copy = Biases()
    for key, value in biases.found.items():
        copy.add(key, value)
    return copy
