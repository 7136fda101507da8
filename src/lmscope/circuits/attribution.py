"""Hierarchical attribution: how much of a target comes from where, features below a threshold cut off.

One pass down the frozen model carries one read vector for each position. At a dictionary it meets the
active features: what a feature adds to the target is its activation times what one unit of it adds. Those
that are kept pass their part on to what they read; the others are written down as cut. So the pass is
the gated backward pass of the paper without automatic differentiation, and its cost is that of looking at
each active feature once, whatever the threshold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.circuits.config import TraceOptions
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Branch, Frozen
from lmscope.circuits.frozen_norm import Biases, BiasKey
from lmscope.circuits.ledger import Ledger, sizes
from lmscope.circuits.targets import Start, Target
from lmscope.core.site import Site

_DEFAULTS: Final = TraceOptions()
Keep = Callable[[Site, Float[Tensor, "node"]], Bool[Tensor, "node"]]
"""Says which of a site's active features are traced further, from their attributions."""


@dataclass(frozen=True, eq=False)
class SiteAttribution:
    """The active features of one site.

    Attributes:
        features: The features.
        attribution: What each adds to the target through what is kept above it.
        gradient: What one unit of each adds.
        kept: Whether it is traced further.
    """

    features: ActiveFeatures
    attribution: Float[Tensor, "node"]
    gradient: Float[Tensor, "node"]
    kept: Bool[Tensor, "node"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Where a target comes from.

    Attributes:
        frozen: On what run.
        start: Of what target.
        threshold: Below which features were cut, in the target's units; None where they were chosen.
        sites: The features of each site below the target, in forward order.
        ledger: What sums to the target.
    """

    frozen: Frozen
    start: Start
    threshold: float | None
    sites: Mapping[Site, SiteAttribution]
    ledger: Ledger

    @property
    def n_kept(self) -> int:
        """Features that were traced further."""
        return sum(int(one.kept.sum()) for one in self.sites.values())

    @property
    def n_reached(self) -> int:
        """Features that add something."""
        return sum(int((one.attribution != 0).sum()) for one in self.sites.values())


def attribute(frozen: Frozen, target: Target, options: TraceOptions = _DEFAULTS) -> Attribution:
    """Trace a target down to tokens (ge2024circuits, hierarchical attribution).

    Differs: the rule is `|attribution| >= threshold` unless the published signed one is asked for; errors
    and every constant are part of the ledger.

    Args:
        frozen: The run.
        target: What is traced.
        options: Which features are traced further.

    Raises:
        DataError: As of the target.
        LedgerError: The parts do not sum to the target.
    """
    start = target.start(frozen)
    threshold = options.threshold * (abs(start.value) if options.relative else 1.0)
    return attribute_from(frozen, start, _rule(options, threshold), threshold)


def sweep(
    frozen: Frozen,
    target: Target,
    thresholds: Sequence[float],
    options: TraceOptions = _DEFAULTS,
) -> list[Attribution]:
    """The same at several thresholds, one pass each."""
    changed = [options.model_copy(update={"threshold": t}) for t in thresholds]
    return [attribute(frozen, target, one) for one in changed]


def attribute_from(
    frozen: Frozen, start: Start, keep: Keep, threshold: float | None = None
) -> Attribution:
    """Trace with any choice of features.

    Args:
        frozen: The run.
        start: Of the target.
        keep: Which features are traced further.
        threshold: What the choice went by, to be written down.

    Raises:
        LedgerError: The parts do not sum to the target.
    """
    with torch.no_grad():
        descent = _Descent(keep, start)
        for stage in reversed(frozen.stages[: start.stage]):
            descent.through(stage)
        found = Attribution(frozen, start, threshold, descent.in_order(), descent.ledger(frozen))
    found.ledger.check()
    return found


@dataclass
class _Descent:
    """One read vector a position on its way down, and what it met."""

    keep: Keep
    start: Start
    sites: dict[Site, SiteAttribution] = field(default_factory=dict)
    errors: dict[Site, Tensor] = field(default_factory=dict)
    leaves: dict[Site, Tensor] = field(default_factory=dict)
    cut: float = 0.0
    sizes: float = 0.0

    def __post_init__(self) -> None:
        self.read = self.start.read
        self.biases = Biases()
        for key, value in self.start.biases.found.items():
            self.biases.add(key, value)

    def through(self, stage: tuple[Branch, ...]) -> None:
        """Pass one stage: what its branches wrote is met, what they read is read from below."""
        below = torch.zeros_like(self.read) if stage[0].is_stream else self.read
        for branch in stage:
            if branch.features is not None:
                below = below + self._meet(branch, branch.features)
            elif branch.leaf is not None:
                self.leaves[branch.site] = (self.read[0] * branch.leaf).sum(-1)
                self.sizes += sizes(self.leaves[branch.site])
            else:
                assert branch.linear is not None
                below = below + branch.linear.back(self.read, self.biases)
        self.read = below

    def _meet(self, branch: Branch, features: ActiveFeatures) -> Tensor:
        gradient = features.gradient(self.read)[0]
        attribution = gradient * features.value
        kept = self.keep(branch.site, attribution)
        self.sites[branch.site] = SiteAttribution(features, attribution, gradient, kept)
        self.errors[branch.site] = (self.read[0] * features.error).sum(-1)
        self.cut += float(attribution[~kept].double().sum())
        self.sizes += sizes(attribution, self.errors[branch.site])
        layer, part = branch.site.layer or 0, branch.site.part
        standing = self.read * features.stands[:, None]
        self.biases.of(BiasKey(layer, f"b_dec {part}"), standing, features.decoder_bias)
        passed = gradient[kept]
        constant = (passed * features.encoder_biases[kept]).sum()[None]
        self.biases.add(BiasKey(layer, f"b_enc {part}"), constant)
        read = standing.new_zeros(1, standing.shape[1], features.dictionary.config.d_read)
        rows = features.encoder_rows[kept] * passed[:, None]
        read[0].index_add_(0, features.position[kept], rows)
        if features.skip is not None:
            read = read + standing @ features.skip
        return branch.back_read(read, self.biases)

    def in_order(self) -> dict[Site, SiteAttribution]:
        return dict(reversed(self.sites.items()))

    def ledger(self, frozen: Frozen) -> Ledger:
        tokens = (self.read[0] * frozen.embed).sum(-1)
        where = frozen.pos_embed
        positions = torch.zeros_like(tokens) if where is None else (self.read[0] * where).sum(-1)
        biases = {key: float(value) for key, value in self.biases.found.items()}
        met = sizes(tokens, positions) + sum(abs(value) for value in biases.values())
        return Ledger(
            target=self.start.value,
            tokens=tokens,
            positions=positions,
            errors=dict(reversed(self.errors.items())),
            leaves=dict(reversed(self.leaves.items())),
            biases=biases,
            cut=self.cut,
            sizes=self.sizes + met,
            eps=torch.finfo(tokens.dtype).eps,
        )


def _rule(options: TraceOptions, threshold: float) -> Keep:
    if options.rule == "signed":
        return lambda _site, attribution: attribution > threshold
    return lambda _site, attribution: attribution.abs() >= threshold
