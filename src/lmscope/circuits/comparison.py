"""Comparison: circuits found in several ways, at matched sizes, over many prompts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from lmscope.circuits.attribution import Attribution, attribute, attribute_from
from lmscope.circuits.config import Ablation, TraceOptions
from lmscope.circuits.faithfulness import (
    MIB_FRACTIONS,
    FaithfulnessOptions,
    Measured,
    areas,
    measure,
)
from lmscope.circuits.feature_sets import (
    FeatureSet,
    every_feature,
    hierarchical_set,
    random_set,
    standard_set,
)
from lmscope.circuits.frozen import Frozen, freeze
from lmscope.circuits.means import Baseline, ZeroBaseline, prompt_baseline
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import Target
from lmscope.core.config import Config
from lmscope.core.errors import DataError, RecipeError
from lmscope.core.rng import stream_seed
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Estimate,
    Resamples,
    ratio,
)

Method = Literal["hierarchical", "standard", "random"]
METHODS: Final[tuple[Method, ...]] = ("hierarchical", "standard", "random")
_THRESHOLDS: Final = tuple(float(t) for t in np.geomspace(1, 1e-4, 17))
_ENDLESS: Final = 1e30
_ALL: Final = TraceOptions(threshold=0.0)


@dataclass(frozen=True)
class Case:
    """One prompt of a comparison.

    Attributes:
        tokens: BOS included where the model begins contexts with one.
        target: What is traced.
        counterfactual: Token ids of a prompt of equal length, for ablation by it.
    """

    tokens: tuple[int, ...]
    target: Target
    counterfactual: tuple[int, ...] | None = None


class ComparisonOptions(Config):
    """How circuits are compared."""

    fractions: tuple[float, ...] = MIB_FRACTIONS
    """Sizes, as shares of the features that fire below the target; a share of 1 is the model itself."""
    ablation: Ablation = "zero"
    """What features outside a circuit become."""
    tried: FaithfulnessOptions = FaithfulnessOptions()
    """In what circuits are tried."""
    completeness: bool = True
    """Whether all but the circuit is tried too."""
    thresholds: tuple[float, ...] = _THRESHOLDS
    """Of hierarchical attribution, as shares of the target, among which circuits are looked for."""
    intervals: BootstrapOptions = BootstrapOptions()
    seed: int = 0
    """Of random circuits and of resamples."""


_DEFAULTS: Final = ComparisonOptions()


class MethodReport(Config):
    """What circuits of one method did, over all prompts.

    Prompts weigh by how much replacing all features changes the target, so that one at which nothing
    hangs on them does not decide.
    """

    method: Method
    faithfulness: tuple[Estimate | None, ...]
    """f of circuits, by size."""
    completeness: tuple[Estimate | None, ...]
    """f of all but circuits; none unless it was asked for."""
    recovered: tuple[Estimate | None, ...]
    """Share of the target that circuits bring from tokens and positions in the linear model, by size."""
    cpr: Estimate | None = None
    """Area under f over sizes; higher is better."""
    cmd: Estimate | None = None
    """Area under |1 - f| over sizes; 0 is best."""
    mean: Estimate | None = None
    """Mean of f over sizes."""


class ComparisonReport(Config):
    """Methods side by side."""

    options: ComparisonOptions
    n_prompts: int
    n_features: float
    """Mean number of features that fire below the target."""
    sizes: tuple[float, ...]
    """Mean number of features in a circuit, by size."""
    methods: tuple[MethodReport, ...]


def compare(
    replacement: Replacement,
    cases: Iterable[Case],
    options: ComparisonOptions = _DEFAULTS,
    *,
    means: Baseline | None = None,
) -> ComparisonReport:
    """Find circuits of each prompt in three ways and try them.

    `hierarchical`: the circuits of gated attribution; `standard`: the features of largest attribution in
    the whole linear model; `random`: drawn evenly. One prompt is held in memory at a time.

    Args:
        replacement: Model and dictionaries.
        cases: Prompts and targets.
        options: Sizes, ablation, and in what circuits are tried.
        means: Of features, for ablation by them.

    Raises:
        DataError: There is no prompt, a counterfactual is missing or of another length, or no feature
            fires below a target.
        RecipeError: Means are asked for and not given, or sizes are no rising shares.
    """
    found = [
        try_case(replacement, case, options, means=means, number=number)
        for number, case in enumerate(cases)
    ]
    return summary(found, options)


class NoFeatureError(DataError):
    """No feature fires below a target, so that it has no circuit."""


class CaseResult(Config):
    """What one prompt adds to a comparison: a number for each size in each column."""

    n_features: int
    sizes: tuple[int, ...]
    columns: dict[str, tuple[float, ...]]


def try_case(
    replacement: Replacement,
    case: Case,
    options: ComparisonOptions = _DEFAULTS,
    *,
    means: Baseline | None = None,
    number: int = 0,
) -> CaseResult:
    """Find circuits of one prompt in three ways and try them; `summary` puts prompts together.

    Args:
        replacement: Model and dictionaries.
        case: Prompt and target.
        options: As of `compare`.
        means: As of `compare`.
        number: Of the prompt, which with the seed draws its random circuits.

    Raises:
        NoFeatureError: No feature fires below the target.
        DataError: The counterfactual is missing or of another length.
        RecipeError: Means are asked for and not given, or sizes are no rising shares.
    """
    _check(options, means)
    frozen = freeze(replacement, case.tokens)
    baseline = _baseline(replacement, case, options.ablation, means, number)
    seed = stream_seed(options.seed, "circuits", number)
    return _prompt(frozen, case.target, baseline, options, seed)


def summary(
    found: Sequence[CaseResult], options: ComparisonOptions = _DEFAULTS
) -> ComparisonReport:
    """What all prompts together say.

    Raises:
        DataError: There is none.
    """
    if not found:
        raise DataError("There is no prompt to compare circuits on: give at least one.")
    sums = ContextSums(len(found), len(options.fractions))
    for number, one in enumerate(found):
        context = torch.full((len(options.fractions),), number)
        columns = {
            name: torch.tensor(values, dtype=torch.float64) for name, values in one.columns.items()
        }
        sums.add(context, torch.arange(len(options.fractions)), columns)
    resamples = Resamples(sums, options.intervals, options.seed)
    sizes = np.mean([one.sizes for one in found], axis=0)
    return ComparisonReport(
        options=options,
        n_prompts=len(found),
        n_features=float(np.mean([one.n_features for one in found])),
        sizes=tuple(sizes.tolist()),
        methods=tuple(_report(method, resamples, options) for method in METHODS),
    )


def _prompt(
    frozen: Frozen, target: Target, baseline: Baseline, options: ComparisonOptions, seed: int
) -> CaseResult:
    full = attribute(frozen, target, _ALL)
    n_features = sum(len(one.kept) for one in full.sites.values())
    if n_features == 0:
        raise NoFeatureError(
            f"No feature fires below the target ({full.start.name}): there is no circuit to try."
        )
    sizes = [max(1, round(share * n_features)) for share in options.fractions]
    swept = [
        attribute(frozen, target, TraceOptions(threshold=t))
        for t in (_ENDLESS, *options.thresholds)
    ]
    circuits: dict[Method, list[FeatureSet]] = {
        "hierarchical": [hierarchical_set(swept, n) for n in sizes],
        "standard": [standard_set(full, n) for n in sizes],
        "random": [random_set(full, n, seed) for n in sizes],
    }
    whole = every_feature(frozen, full.start.stage)
    for sets in circuits.values():
        for place, share in enumerate(options.fractions):
            if share >= 1:
                sets[place] = whole
    columns = _tried(frozen, target, circuits, baseline, options)
    for method, sets in circuits.items():
        columns[f"{method} named"] = _named(full, sets)
    columns["target"] = torch.full((len(sizes),), abs(full.start.value), dtype=torch.float64)
    plain = {name: tuple(values.tolist()) for name, values in columns.items()}
    return CaseResult(n_features=n_features, sizes=tuple(sizes), columns=plain)


def _tried(
    frozen: Frozen,
    target: Target,
    circuits: Mapping[Method, Sequence[FeatureSet]],
    baseline: Baseline,
    options: ComparisonOptions,
) -> dict[str, torch.Tensor]:
    """m(K) - m(0) of circuits, and of all but them, by size; and m(M) - m(0)."""
    named = [(f"{method} kept", list(sets)) for method, sets in circuits.items()]
    if options.completeness:
        rest = circuits.items()
        named += [(f"{method} rest", [one.complement() for one in sets]) for method, sets in rest]
    found = measure(
        frozen, target, [one for _, sets in named for one in sets], baseline, options.tried
    )
    n_sizes = len(options.fractions)
    parts = zip(named, _above(found).split(n_sizes), strict=True)
    columns = {name: part for (name, _), part in parts}
    columns["whole"] = torch.full((n_sizes,), abs(found.whole), dtype=torch.float64)
    return columns


def _named(full: Attribution, sets: Sequence[FeatureSet]) -> torch.Tensor:
    """What tokens and positions bring to the target through circuits, turned so that it is positive."""
    sign = 1.0 if full.start.value >= 0 else -1.0
    found = list[float]()
    for one in sets:
        ledger = attribute_from(
            full.frozen, full.start, lambda site, _a, one=one: one.kept[site]
        ).ledger
        parts = ledger.summary()
        found.append(sign * (parts["tokens"] + parts["positions"]))
    return torch.tensor(found, dtype=torch.float64)


def _above(found: Measured) -> torch.Tensor:
    """m(K) - m(0), turned so that m(M) - m(0) is positive; 0 where that is."""
    sign = (found.whole > 0) - (found.whole < 0)
    return torch.tensor([sign * (m - found.empty) for m in found.kept], dtype=torch.float64)


def _report(method: Method, resamples: Resamples, options: ComparisonOptions) -> MethodReport:
    def by_size(column: str, whole: str) -> list[Float64[np.ndarray, "resample"]]:
        sizes = range(len(options.fractions))
        return [ratio(resamples.total(column, i), resamples.total(whole, i)) for i in sizes]

    def estimates(values: Sequence[NDArray[np.float64]]) -> tuple[Estimate | None, ...]:
        return tuple(resamples.estimate(one) for one in values)

    kept = by_size(f"{method} kept", "whole")
    rest = by_size(f"{method} rest", "whole") if options.completeness else []
    curves = areas(options.fractions, torch.from_numpy(np.stack(kept, axis=-1)))
    return MethodReport(
        method=method,
        faithfulness=estimates(kept),
        completeness=estimates(rest),
        recovered=estimates(by_size(f"{method} named", "target")),
        **{name: resamples.estimate(curve.numpy()) for name, curve in curves.items()},
    )


def _baseline(
    replacement: Replacement, case: Case, ablation: Ablation, means: Baseline | None, number: int
) -> Baseline:
    if ablation == "zero":
        return ZeroBaseline()
    if ablation == "mean":
        assert means is not None
        return means
    if case.counterfactual is None:
        raise DataError(
            f"Prompt {number} has no counterfactual: give one of equal length, or ablate by zero or mean."
        )
    if len(case.counterfactual) != len(case.tokens):
        raise DataError(
            f"Prompt {number} has {len(case.tokens)} tokens and its counterfactual {len(case.counterfactual)}: "
            "positions must answer to each other, so give one of equal length."
        )
    return prompt_baseline(replacement, case.counterfactual)


def _check(options: ComparisonOptions, means: Baseline | None) -> None:
    shares = options.fractions
    rising = all(a < b for a, b in pairwise(shares))
    if len(shares) < 2 or not rising or not 0 < shares[0] < shares[-1] <= 1:
        raise RecipeError(
            f"fractions must be at least two rising shares in (0, 1]; found {list(shares)}."
        )
    if options.ablation == "mean" and means is None:
        raise RecipeError(
            "Ablation by means needs the means: compute them with mean_baseline and give them."
        )
