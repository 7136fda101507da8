"""Hierarchical attribution: how much of a target comes from where, features below a threshold cut off.

It is the gated backward pass of the paper without automatic differentiation: features that are kept pass
their part on to what they read, the others are written down as cut. Its cost is that of looking at each
active feature once, whatever the threshold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.circuits.config import TraceOptions
from lmscope.circuits.descent import Descent
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Branch, Frozen
from lmscope.circuits.frozen_norm import Biases
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
    sites: dict[Site, SiteAttribution] = {}

    def passes(branch: Branch, features: ActiveFeatures, gradient: Tensor) -> Tensor:
        attribution = gradient[0] * features.value
        kept = keep(branch.site, attribution)
        sites[branch.site] = SiteAttribution(features, attribution, gradient[0], kept)
        return gradient * kept

    biases = Biases()
    for key, value in start.biases.found.items():
        biases.add(key, value)
    with torch.no_grad():
        descent = Descent(passes, start.read, biases).go(frozen, start.stage)
        ledger = _ledger(frozen, start, descent, sites)
    ledger.check()
    return Attribution(frozen, start, threshold, dict(reversed(sites.items())), ledger)


def _ledger(
    frozen: Frozen, start: Start, descent: Descent, sites: Mapping[Site, SiteAttribution]
) -> Ledger:
    tokens, positions = descent.tokens(frozen)[0], descent.positions(frozen)[0]
    errors = {site: value[0] for site, value in reversed(descent.errors.items())}
    leaves = {site: value[0] for site, value in reversed(descent.leaves.items())}
    biases = {key: float(value) for key, value in descent.biases.found.items()}
    attributions = [one.attribution for one in sites.values()]
    met = sizes(tokens, positions, *errors.values(), *leaves.values(), *attributions)
    return Ledger(
        target=start.value,
        tokens=tokens,
        positions=positions,
        errors=errors,
        leaves=leaves,
        biases=biases,
        cut=sum((float(one.attribution[~one.kept].double().sum()) for one in sites.values()), 0.0),
        sizes=met + sum(abs(value) for value in biases.values()),
        eps=torch.finfo(tokens.dtype).eps,
    )


def _rule(options: TraceOptions, threshold: float) -> Keep:
    if options.rule == "signed":
        return lambda _site, attribution: attribution > threshold
    return lambda _site, attribution: attribution.abs() >= threshold
