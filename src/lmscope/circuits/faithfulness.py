"""Faithfulness: how much of a target a set of features brings about by itself (ge2024circuits; mueller2025mib).

With m(K) the target when all features outside K are replaced by a baseline, m(0) when all are, and m(M)
that of the model as it is: f(K) = (m(K) - m(0)) / (m(M) - m(0)). Completeness is f of all features but K;
a circuit that holds all that matters leaves 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.circuits.feature_sets import FeatureSet, active_below, no_feature
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Frozen
from lmscope.circuits.holding import Held
from lmscope.circuits.interventions import (
    InterventionOptions,
    LatentRule,
    dense_latents,
    run_edited,
    written_by,
)
from lmscope.circuits.linear_model import Change, run_linear
from lmscope.circuits.means import Baseline
from lmscope.circuits.readings import reading_of
from lmscope.circuits.targets import Start, Target
from lmscope.core.config import Config
from lmscope.core.site import Site

MIB_FRACTIONS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of all features at which circuits are compared (mueller2025mib)."""
CHUNK_BYTES: Final = 1 << 28
"""Rows whose latents take about so much memory are run at once."""
_ROUNDING: Final = 1e-6
"""Share of its size by which a target of a float32 model may differ from run to run."""


class FaithfulnessOptions(Config):
    """In what a set of features is tried."""

    where: Literal["linear", "real"] = "real"
    """`linear`: the frozen model; `real`: the model itself, in which all answers to what is changed."""
    errors: Literal["kept", "removed"] = "kept"
    """What dictionaries leave over. `kept`: it stays what it was on the clean run. `removed`: it is left
    out of m(K) and m(0), where dictionaries stand; m(M) is that of the model as it is in any case."""
    patterns: Literal["free", "frozen"] = "free"
    """Of attention, in the real model."""
    silent: Literal["replaced", "free"] = "replaced"
    """Latents that do not fire on the prompt. `replaced`: they are outside every set but that of all, so
    that means and counterfactual values come in by them too. `free`: they do what the model makes them
    do, in m(0) as well, so that only what fires is tried."""

    @property
    def intervention(self) -> InterventionOptions:
        """The same for `run_edited`."""
        held = Held(patterns=self.patterns == "frozen")
        return InterventionOptions(
            held=held, errors="frozen" if self.errors == "kept" else "removed"
        )


_DEFAULTS: Final = FaithfulnessOptions()


@dataclass(frozen=True)
class Measured:
    """A target under several sets of features.

    Attributes:
        full: m(M), of the model as it is.
        empty: m(0), all features replaced.
        kept: m(K) of each set.
    """

    full: float
    empty: float
    kept: tuple[float, ...]

    @property
    def whole(self) -> float:
        """How far m(M) lies above m(0); 0 where they differ by no more than rounding."""
        whole = self.full - self.empty
        return whole if abs(whole) > _ROUNDING * (abs(self.full) + abs(self.empty)) else 0.0

    def faithfulness(self) -> tuple[float, ...]:
        """What f is of each set: 1 for what does all; NaN where replacing all features changes nothing."""
        whole = self.whole
        return tuple((m - self.empty) / whole if whole else float("nan") for m in self.kept)


def measure(
    frozen: Frozen,
    target: Target,
    sets: Sequence[FeatureSet],
    baseline: Baseline,
    options: FaithfulnessOptions = _DEFAULTS,
) -> Measured:
    """Try sets of features.

    Features in a set answer to what changes below them; all others, latents that do not fire included
    unless they are in the set, are held at the baseline. Embeddings stay those of the prompt.

    Differs: errors are no features; they are kept as on the clean run or left out (marks2025sparse makes
    them nodes).

    Args:
        frozen: The run.
        target: What is read.
        sets: Of features below the target, over the run's active features.
        baseline: What replaces the features outside.
        options: In what they are tried.

    Raises:
        DataError: The target cannot be read in the model, or the baseline does not fit the prompt.
    """
    trial = _Trial(frozen, target, baseline, options)
    empty, *kept = trial.run([trial.nothing, *sets])
    return Measured(trial.unchanged(), empty, tuple(kept))


class _Trial:
    """Runs sets of features in one model."""

    def __init__(
        self, frozen: Frozen, target: Target, baseline: Baseline, options: FaithfulnessOptions
    ) -> None:
        self.frozen, self.target, self.options = frozen, target, options
        self.start: Start = target.start(frozen)
        self.features = active_below(frozen, self.start.stage)
        self.nothing = no_feature(frozen, self.start.stage)
        self.sites = {site: _Replaced(one, baseline) for site, one in self.features.items()}

    def unchanged(self) -> float:
        """The target of the model as it is."""
        if self.options.where == "linear":
            return self.start.value
        reading = reading_of(self.frozen, self.target)
        return float(reading({reading.site: self.frozen.in_model(reading.site)})[0])

    def run(self, sets: Sequence[FeatureSet]) -> list[float]:
        """The target under each set."""
        if self.options.silent == "free":
            sets = [replace(one, silent=True) for one in sets]
        if self.options.where == "linear":
            return [self._linear(one) for one in sets]
        found = list[float]()
        for chunk in self._chunks(sets):
            rules = {site: self._rule(site, chunk) for site in self.features}
            how = self.options.intervention
            found += run_edited(self.frozen, self.target, rules, len(chunk), how).tolist()
        return found

    def _rule(self, site: Site, sets: Sequence[FeatureSet]) -> LatentRule:
        replaced = self.sites[site]

        def rule(live: Tensor) -> Tensor:
            masks = torch.stack([replaced.mask(one.kept[site], one.silent) for one in sets])
            return torch.where(masks, live, replaced.values)

        return rule

    def _linear(self, chosen: FeatureSet) -> float:
        changes, added = dict[Site, Change](), dict[Site, Tensor]()
        removed = self.options.errors == "removed"
        for site, replaced in self.sites.items():
            changes[site] = replaced.change(chosen.kept[site])
            more = replaced.silent_writes
            added[site] = torch.zeros_like(more) if chosen.silent else more
            if removed:
                one = replaced.features
                added[site] = added[site] - one.error * one.stands[:, None]
        run = run_linear(self.frozen, changes, added=added)
        return float(run.value(self.start))

    def _chunks(self, sets: Sequence[FeatureSet]) -> Iterator[Sequence[FeatureSet]]:
        widths = [one.dictionary.config.n_latents for one in self.features.values()]
        row = self.frozen.n_positions * max(widths, default=1) * self.frozen.embed.element_size()
        size = max(1, CHUNK_BYTES // row)
        return (sets[i : i + size] for i in range(0, len(sets), size))


class _Replaced:
    """The features of one site and what replaces them."""

    def __init__(self, features: ActiveFeatures, baseline: Baseline) -> None:
        self.features = features
        values = baseline.latents(features.site, len(features.stands)).to(features.value)
        shape = len(features.stands), features.dictionary.config.n_latents
        self.values: Float[Tensor, "pos latent"] = values.expand(shape) * features.stands[:, None]

    def mask(self, kept: Bool[Tensor, "node"], silent: bool) -> Bool[Tensor, "pos latent"]:
        """True where a latent is in the set."""
        found = torch.full(self.values.shape, silent, device=kept.device)
        found[self.features.position, self.features.latent] = kept
        return found

    def change(self, kept: Bool[Tensor, "node"]) -> Change:
        """The same in the linear model, of active features."""
        mine = self.values[self.features.position, self.features.latent]
        return lambda pre: torch.where(kept, pre, mine)

    @cached_property
    def silent_writes(self) -> Float[Tensor, "pos model"]:
        """What the baseline writes by latents that do not fire on the prompt."""
        is_silent = dense_latents(self.features) == 0
        return written_by(self.features, self.values * is_silent)


def areas(
    fractions: Sequence[float], values: Float[Tensor, "*row fraction"]
) -> Mapping[str, Float[Tensor, "*row"]]:
    """One figure for all sizes, by trapezoids over a linear axis (mueller2025mib).

    Args:
        fractions: Shares of all features, rising.
        values: f at each.

    Returns:
        `cpr`: the area under f, higher is better. `cmd`: that under |1 - f|, 0 is best. `mean`: the
        plain mean of f.
    """
    x = torch.tensor(fractions, dtype=values.dtype)
    return {
        "cpr": torch.trapezoid(values, x),
        "cmd": torch.trapezoid((1 - values).abs(), x),
        "mean": values.mean(-1),
    }
