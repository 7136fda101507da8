"""Every identity that exact attribution promises, over all causal families with attention."""

from dataclasses import replace

import pytest
import torch

from lmscope.circuits.attribution import attribute, attribute_from, sweep
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.ledger import LedgerError
from lmscope.circuits.linear_model import run_linear
from lmscope.circuits.targets import DirectionTarget, FeatureTarget, LogitTarget
from lmscope.core.site import Site
from lmscope.models.batch import Batch

CLOSE = 1e-10
TARGETS = (
    LogitTarget(7),
    LogitTarget(9, 5, against=3),
    LogitTarget(11, 4, demeaned=True),
    FeatureTarget(Site("attn_out", 2), -1, 5),
    FeatureTarget(Site("mlp_out", 1), 6, 11),
    FeatureTarget(Site("resid_post", 1), 7, 2),
    FeatureTarget(Site("mlp_out", 0), 3, 40),
    DirectionTarget(Site("resid_mid", 2), -1, torch.linspace(-1, 1, 32)),
    DirectionTarget(Site("final"), 2, torch.linspace(-1, 1, 32)),
)
ALL = TraceOptions(threshold=0.0)


def targets(frozen):
    parallel = frozen.replacement.model.family.arrangement == "parallel"
    return [
        t for t in TARGETS if not (parallel and getattr(t, "site", None) == Site("resid_mid", 2))
    ]


def every(_site, attribution):
    return torch.ones_like(attribution, dtype=torch.bool)


def none(_site, attribution):
    return torch.zeros_like(attribution, dtype=torch.bool)


def test_the_linear_model_gives_the_logits_of_the_model(frozen, model, tokens):
    real = model(Batch(tokens=torch.tensor([tokens]))).logits[0].double()
    cap = model.weights.logit_softcap
    for position in range(len(tokens)):
        logits = frozen.logits(position)
        shown = logits if cap is None else cap * torch.tanh(logits / cap)
        torch.testing.assert_close(shown, real[position], atol=5e-5, rtol=0)


def test_run_forwards_it_gives_the_same_streams_and_activations(frozen):
    run = run_linear(frozen)
    for mine, other in zip(run.streams, frozen.streams, strict=True):
        torch.testing.assert_close(mine, other, atol=CLOSE, rtol=0)
    for _, branch in frozen.branches():
        if branch.features is not None:
            found = run.activations[branch.site]
            torch.testing.assert_close(found, branch.features.value, atol=CLOSE, rtol=0)


def test_a_target_is_what_the_linear_model_says(frozen):
    run = run_linear(frozen)
    for target in targets(frozen):
        start = target.start(frozen)
        assert float(run.value(start)) == pytest.approx(start.value, abs=CLOSE)


def test_tokens_positions_errors_and_all_constants_sum_to_the_target(frozen):
    for target in targets(frozen):
        ledger = attribute(frozen, target, ALL).ledger
        assert ledger.cut == 0
        assert ledger.total == pytest.approx(ledger.target, abs=CLOSE)


@pytest.mark.parametrize("rule", ["abs", "signed"])
@pytest.mark.parametrize("threshold", [0.0, 0.03, 2.0])
def test_the_ledger_holds_at_any_threshold_under_both_rules(frozen, rule, threshold):
    for target in targets(frozen):
        found = attribute(frozen, target, TraceOptions(threshold=threshold, rule=rule))
        assert found.ledger.total == pytest.approx(found.ledger.target, abs=CLOSE)


def test_total_attribution_equals_automatic_differentiation(frozen):
    for target in targets(frozen):
        found = attribute(frozen, target, ALL)
        added = {site: torch.zeros_like(one.attribution) for site, one in found.sites.items()}
        leaves = [t.requires_grad_() for t in added.values()]
        embed = frozen.embed.clone().requires_grad_()
        changes = {site: lambda pre, t=t: pre + t for site, t in added.items()}
        value = run_linear(frozen, changes, embed=embed).value(found.start)
        # A target that reads one site only leaves the others without a gradient.
        gradients = torch.autograd.grad(value, [*leaves, embed], allow_unused=True)
        for site, gradient in zip(added, gradients, strict=False):
            one = found.sites[site]
            expected = torch.zeros_like(one.gradient) if gradient is None else gradient
            torch.testing.assert_close(one.gradient, expected, atol=CLOSE, rtol=1e-9)
            torch.testing.assert_close(
                one.attribution, expected * one.features.value, atol=CLOSE, rtol=1e-9
            )
        torch.testing.assert_close(
            found.ledger.tokens, (gradients[-1] * frozen.embed).sum(-1), atol=CLOSE, rtol=1e-9
        )


def test_silencing_a_feature_in_the_linear_model_takes_its_attribution_away(frozen):
    found = attribute(frozen, LogitTarget(7), ALL)
    whole = float(run_linear(frozen).value(found.start))
    for site, one in found.sites.items():
        for node in range(0, len(one.attribution), max(1, len(one.attribution) // 5)):

            def silence(pre, node=node):
                return torch.cat([pre[:node], pre.new_zeros(1), pre[node + 1 :]])

            changed = float(run_linear(frozen, {site: silence}).value(found.start))
            assert whole - changed == pytest.approx(float(one.attribution[node]), abs=CLOSE)


@pytest.mark.parametrize("rule", ["abs", "signed"])
@pytest.mark.parametrize("threshold", [0.03, 0.2])
def test_the_pass_equals_the_recursion_over_direct_contributions(frozen, rule, threshold):
    target = LogitTarget(9, -1, against=3)
    options = TraceOptions(threshold=threshold, rule=rule)
    found = attribute(frozen, target, options)
    sites = list(found.sites)
    attribution = {s: one.attribution.clone() for s, one in direct(frozen, found.start).items()}
    n_kept = 0
    for site in reversed(sites):
        features = found.sites[site].features
        for node, share in enumerate(attribution[site].tolist()):
            level = threshold * abs(found.start.value)
            if not (share > level if rule == "signed" else abs(share) >= level):
                continue
            n_kept += 1
            below = FeatureTarget(site, int(features.position[node]), int(features.latent[node]))
            unit = share / float(features.value[node])
            for other, one in direct(frozen, below.start(frozen)).items():
                attribution[other] += unit * one.attribution
    assert n_kept == found.n_kept
    for site in sites:
        torch.testing.assert_close(
            found.sites[site].attribution, attribution[site], atol=1e-9, rtol=1e-9
        )


def direct(frozen, start):
    return attribute_from(frozen, start, none).sites


def test_direct_contributions_and_constants_sum_to_each_pre_activation(frozen):
    for target in targets(frozen):
        found = attribute_from(frozen, target.start(frozen), none)
        assert found.ledger.total == pytest.approx(found.start.value, abs=CLOSE)
        assert found.n_kept == 0


def test_published_rule_at_zero_is_not_the_full_attribution(frozen):
    """What lowers the target is cut by the signed rule even at 0."""
    full = attribute(frozen, LogitTarget(7), ALL)
    signed = attribute(frozen, LogitTarget(7), TraceOptions(threshold=0.0, rule="signed"))
    assert full.n_kept == sum(len(one.attribution) for one in full.sites.values())
    assert 0 < signed.n_kept < full.n_kept
    assert signed.ledger.recovered != pytest.approx(full.ledger.recovered)


def test_a_sweep_equals_each_threshold_alone(frozen):
    thresholds = [0.3, 0.01, 0.1]
    swept = sweep(frozen, LogitTarget(7), thresholds)
    for threshold, one in zip(thresholds, swept, strict=True):
        alone = attribute(frozen, LogitTarget(7), TraceOptions(threshold=threshold))
        assert one.ledger.summary() == alone.ledger.summary()


def test_a_sum_that_misses_its_target_is_refused(frozen):
    ledger = attribute(frozen, LogitTarget(7)).ledger
    ledger.check()
    with pytest.raises(LedgerError, match="which rounding does not explain"):
        replace(ledger, target=ledger.target + 1e-6).check()


def test_each_constant_of_the_model_counts(frozen):
    """Leaving any one out breaks the sum by what it adds."""
    ledger = attribute(frozen, LogitTarget(7), ALL).ledger
    large = {key: value for key, value in ledger.biases.items() if abs(value) > 1e-6}
    assert large
    for key in large:
        without = {k: v for k, v in ledger.biases.items() if k != key}
        with pytest.raises(LedgerError):
            replace(ledger, biases=without).check()
