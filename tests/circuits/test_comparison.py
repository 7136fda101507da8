"""Comparison of circuits found in several ways over prompts."""

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.comparison import METHODS, Case, ComparisonOptions, compare
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.faithfulness import FaithfulnessOptions, measure
from lmscope.circuits.feature_sets import standard_set
from lmscope.circuits.frozen import freeze
from lmscope.circuits.means import ZeroBaseline, mean_baseline
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import FeatureTarget, LogitTarget
from lmscope.core.errors import DataError, RecipeError
from lmscope.core.site import Site
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.models.miniature import miniature

TARGET = LogitTarget(9, -1, against=3)
SHARES = (0.02, 0.1, 0.5, 1.0)
LINEAR = FaithfulnessOptions(where="linear")
FEW = BootstrapOptions(n_resamples=200)


@pytest.fixture(scope="module")
def replacement(make_mixed):
    return Replacement(
        miniature("llama"), make_mixed(stream=False), ReplacementOptions(dtype="float64")
    )


@pytest.fixture(scope="module")
def prompts():
    draw = torch.Generator().manual_seed(5)
    return [(1, *torch.randint(6, 90, (6,), generator=draw).tolist()) for _ in range(3)]


@pytest.fixture(scope="module")
def cases(prompts):
    return [Case(p, TARGET, prompts[i - 1]) for i, p in enumerate(prompts)]


def run(replacement, cases, means=None, **options):
    chosen = ComparisonOptions(
        fractions=SHARES, intervals=FEW, thresholds=(0.1, 0.01, 0.001), **options
    )
    return compare(replacement, cases, chosen, means=means)


@pytest.mark.parametrize("where", ["linear", "real"])
@pytest.mark.parametrize("ablation", ["zero", "mean", "counterfactual"])
def test_every_way_of_trying_gives_a_report(replacement, prompts, cases, ablation, where):
    found = run(
        replacement,
        cases,
        mean_baseline(replacement, prompts),
        ablation=ablation,
        tried=FaithfulnessOptions(where=where),
    )
    assert found.n_prompts == 3
    assert [one.method for one in found.methods] == list(METHODS)
    assert found.sizes[-1] == pytest.approx(found.n_features)
    assert found.sizes[1] == pytest.approx(0.1 * found.n_features, abs=0.5)
    for one in found.methods:
        last, nothing = one.faithfulness[-1], one.completeness[-1]
        assert last.value == pytest.approx(1, abs=2e-3)
        assert nothing.value == pytest.approx(0, abs=2e-3)
        assert one.cpr.low <= one.cpr.value <= one.cpr.high
        assert len(one.faithfulness) == len(one.recovered) == 4
    restored = type(found).from_mapping(found.to_mapping())
    assert restored == found


def test_one_prompts_figures_are_those_of_its_sets(replacement, cases):
    found = run(replacement, cases[:1], tried=LINEAR)
    frozen = freeze(replacement, cases[0].tokens)
    full = attribute(frozen, TARGET, TraceOptions(threshold=0.0))
    n = sum(len(one.kept) for one in full.sites.values())
    assert found.n_features == n
    chosen = standard_set(full, round(0.1 * n))
    expected = measure(
        frozen, TARGET, [chosen, chosen.complement()], ZeroBaseline(), LINEAR
    ).faithfulness()
    standard = found.methods[METHODS.index("standard")]
    assert standard.faithfulness[1].value == pytest.approx(expected[0])
    assert standard.completeness[1].value == pytest.approx(expected[1])
    assert standard.faithfulness[1].low is None  # one prompt has no interval
    whole = full.ledger.summary()
    named = (whole["tokens"] + whole["positions"]) / full.start.value
    assert standard.recovered[-1].value == pytest.approx(named)


def test_prompts_weigh_by_what_hangs_on_their_features(replacement, cases):
    alone = [run(replacement, [case], tried=LINEAR) for case in cases]
    together = run(replacement, cases, tried=LINEAR).methods[1].faithfulness[1].value
    shares = [one.methods[1].faithfulness[1].value for one in alone]
    weights = []
    for case in cases:
        found = measure(freeze(replacement, case.tokens), TARGET, [], ZeroBaseline(), LINEAR)
        weights.append(abs(found.full - found.empty))
    expected = sum(w * s for w, s in zip(weights, shares, strict=True)) / sum(weights)
    assert together == pytest.approx(expected)


def test_without_features_below_others_both_attributions_agree(make_dictionary, cases):
    """And the features that add most beat random ones."""
    dictionary = make_dictionary("mlp_out@2", "mlp_out@2", seed=3)
    single = Replacement(miniature("llama"), [dictionary], ReplacementOptions(dtype="float64"))
    found = run(single, cases, tried=LINEAR)
    hierarchical, standard, random = found.methods
    assert hierarchical.faithfulness == standard.faithfulness
    assert standard.cmd.value != random.cmd.value


def test_completeness_is_left_out_when_not_asked_for(replacement, cases):
    found = run(replacement, cases[:2], tried=LINEAR, completeness=False)
    assert all(one.completeness == () for one in found.methods)


def test_the_same_seed_gives_the_same_report(replacement, cases):
    first, again = (run(replacement, cases[:2], tried=LINEAR) for _ in range(2))
    other = run(replacement, cases[:2], tried=LINEAR, seed=1)
    assert first == again
    assert other.methods[2].faithfulness != first.methods[2].faithfulness


def test_what_cannot_be_compared_is_refused(replacement, cases, prompts):
    def refused(error, match, cases=cases, **options):
        with pytest.raises(error, match=match):
            run(replacement, cases, **options)

    refused(DataError, "no prompt to compare circuits on", cases=[])
    refused(RecipeError, "means needs the means: compute them with mean_baseline", ablation="mean")
    refused(
        DataError,
        "Prompt 0 has no counterfactual: give one of equal length, or ablate by zero or mean",
        cases=[Case(prompts[0], TARGET)],
        ablation="counterfactual",
    )
    refused(
        DataError,
        "Prompt 0 has 7 tokens and its counterfactual 3",
        cases=[Case(prompts[0], TARGET, (1, 8, 9))],
        ablation="counterfactual",
    )
    below_all = FeatureTarget(Site("attn_out", 0), -1, 3)
    refused(DataError, "No feature fires below the target", cases=[Case(prompts[0], below_all)])
    for shares in ((0.5,), (0.5, 0.1), (0.0, 1.0), (0.5, 2.0)):
        with pytest.raises(RecipeError, match="at least two rising shares"):
            compare(replacement, cases, ComparisonOptions(fractions=shares))
