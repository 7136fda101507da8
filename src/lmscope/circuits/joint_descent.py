"""Direct contributions to features of many sites in one descent: each joins where its dictionary reads.

Features that stand at about the same position descend together, over the positions that they can see.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.circuits.descent import Descent
from lmscope.circuits.direct_rows import DirectRows, rows_of
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Branch, Frozen
from lmscope.circuits.frozen_norm import Biases, BiasKey
from lmscope.core.site import Site

CHUNK_BYTES: Final = 1 << 24
"""Read vectors that are carried at once take about so much memory,"""
PAIRS: Final = 1 << 12
"""and are of so many pairs of feature and position; with more, products run no faster."""
_SPREAD: Final = 1.25
"""Features descend together whose positions, counted from 1, differ by no more than this factor,"""
_WASTED: Final = 128
"""or while no more positions are carried for nothing."""


@dataclass(frozen=True, eq=False)
class Readers:
    """Features of one site that are traced to what adds to them.

    Attributes:
        site: What their dictionary writes.
        nodes: Their places among the site's active features.
        number: What each is called by who asks.
    """

    site: Site
    nodes: Int[Tensor, "target"]
    number: Int[Tensor, "target"]

    def __len__(self) -> int:
        return len(self.nodes)


class _Summed(Biases):
    """All constants together, of targets that join one after the other."""

    def __init__(self, total: Float[Tensor, "target"]) -> None:
        super().__init__()
        self.total = total

    def add(self, key: BiasKey, value: Float[Tensor, "target"]) -> None:
        self.total[: len(value)] += value


def joint_rows(
    frozen: Frozen, below: Frozen, readers: Sequence[Readers]
) -> Iterator[tuple[Int[Tensor, "target"], DirectRows]]:
    """What adds to features of any sites, a chunk of them at a time.

    Args:
        frozen: The run.
        below: The same with those features only whose contributions are asked for.
        readers: The features that are traced, in forward order of their sites.

    Yields:
        The numbers of some of them, and what adds to these; positions that they cannot see, and features
        there, are left out at the end.
    """
    places = [(frozen.branch(one.site), one) for one in readers if len(one)]
    if not places:
        return
    position = torch.cat([_features(branch).position[one.nodes] for (_, branch), one in places])
    width = max(frozen.embed.shape[1], *(_width(branch) for (_, branch), _ in places))
    most = min(PAIRS, CHUNK_BYTES // (width * frozen.embed.element_size()))
    order = position.argsort(stable=True)
    sizes = [len(one) for one in readers if len(one)]
    for length, chosen in _chunks(position[order], most):
        is_in = torch.zeros_like(position, dtype=torch.bool)
        is_in[order[chosen]] = True
        parts = is_in.split(sizes)
        some = [
            (stage, branch, Readers(one.site, one.nodes[part], one.number[part]))
            for ((stage, branch), one), part in zip(places, parts, strict=True)
            if part.any()
        ]
        # What is traced from high up starts; the others join on the way.
        joining = some[::-1]
        numbers = torch.cat([one.number for _, _, one in joining])
        yield numbers, _descend(below.until(length), length, joining)


def _descend(
    frozen: Frozen, length: int, joining: Sequence[tuple[int, Branch, Readers]]
) -> DirectRows:
    """Rows of targets in the order in which they join."""
    sites: dict[Site, Tensor] = {}

    def stop(branch: Branch, features: ActiveFeatures, gradient: Tensor) -> None:
        sites[branch.site] = gradient * features.value

    n = sum(len(one) for _, _, one in joining)
    biases = _Summed(frozen.embed.new_zeros(n))
    none = frozen.embed.new_zeros(length, 0, frozen.embed.shape[1]).transpose(0, 1)
    descent, at = Descent(stop, none, biases), joining[0][0]
    for stage, branch, one in joining:
        descent.go(frozen, at, stage)
        read, constants = _start(branch.until(length), length, one)
        begin = len(descent.read)
        biases.total[begin : begin + len(one)] += constants
        # Positions lie first in memory, as products over all targets want them.
        both = [descent.read.transpose(0, 1), read.transpose(0, 1)]
        descent.read, at = torch.cat(both, 1).transpose(0, 1), stage
    descent.go(frozen, at)
    return rows_of(frozen, descent, sites, biases.total)


def _start(branch: Branch, length: int, one: Readers) -> tuple[Tensor, Tensor]:
    """Read vectors of the stream below the features' layer, and the constants above it."""
    features = _features(branch)
    read = features.error.new_zeros(length, len(one), _width(branch)).transpose(0, 1)
    rows = torch.arange(len(one), device=one.nodes.device)
    read[rows, features.position[one.nodes]] = features.only(one.nodes).encoder_rows
    biases = _Summed(features.encoder_biases[one.nodes])
    return branch.back_read(read, biases), biases.total


def _chunks(position: Int[Tensor, "target"], most: int) -> Iterator[tuple[int, slice]]:
    """Stretches of ascending positions with the number of positions that each needs.

    Args:
        position: Of each target.
        most: Pairs of target and position in one stretch, unless a single target has more.
    """
    begin, wasted = 0, 0
    listed = position.tolist()
    for i in range(1, len(listed) + 1):
        if i < len(listed):
            wasted += (i - begin) * (listed[i] - listed[i - 1])
            near = listed[i] + 1 <= _SPREAD * (listed[begin] + 1) or wasted <= _WASTED
            if near and (i + 1 - begin) * (listed[i] + 1) <= most:
                continue
        yield listed[i - 1] + 1, slice(begin, i)
        begin, wasted = i, 0


def _features(branch: Branch) -> ActiveFeatures:
    assert branch.features is not None
    return branch.features


def _width(branch: Branch) -> int:
    return _features(branch).dictionary.config.d_read
