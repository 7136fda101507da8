"""Ledgers in float32: on a larger model sums hold to a few units of rounding, and equal those of float64."""

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.frozen import freeze
from lmscope.circuits.ledger import ROUNDINGS
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.scores import ScoreTarget, score_pairs
from lmscope.circuits.targets import FeatureTarget, LogitTarget
from lmscope.core.site import Site
from lmscope.models.miniature import miniature

N_LAYERS, WIDTH, N_LATENTS = 6, 128, 1024
TARGETS = (
    LogitTarget(9, -1, against=3),
    LogitTarget(7, 12),
    FeatureTarget(Site("mlp_out", 4), -1, 17),
    ScoreTarget(5, 1, 23, 9),
)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def replacement(request, make_dictionary):
    """Transcoders and attention SAEs at every layer, about half of all latents active."""
    sizes = {
        "llama": {"num_hidden_layers": N_LAYERS, "hidden_size": WIDTH, "intermediate_size": 256}
    }
    sizes["gpt2"] = {"n_layer": N_LAYERS, "n_embd": WIDTH, "n_inner": 256}
    model = miniature(request.param, **sizes[request.param])
    places = [("attn_out", "attn_out"), ("mlp_norm", "mlp_out")]
    dictionaries = [
        make_dictionary(f"{reads}@{n}", f"{writes}@{n}", seed=n, width=WIDTH, n=N_LATENTS)
        for n in range(N_LAYERS)
        for reads, writes in places
    ]
    return lambda dtype: Replacement(model, dictionaries, ReplacementOptions(dtype=dtype))


@pytest.fixture(scope="module")
def runs(replacement):
    draw = torch.Generator().manual_seed(3)
    tokens = [1, *torch.randint(6, 90, (23,), generator=draw).tolist()]
    return {dtype: freeze(replacement(dtype), tokens) for dtype in ("float32", "float64")}


@pytest.mark.parametrize("target", TARGETS, ids=["difference", "logit", "feature", "score"])
def test_the_sum_holds_to_a_few_units_of_rounding(runs, target):
    for threshold in (0.0, 1e-3, 0.05):
        ledger = attribute(runs["float32"], target, TraceOptions(threshold=threshold)).ledger
        assert ledger.eps == torch.finfo(torch.float32).eps
        assert abs(ledger.residual) <= ROUNDINGS * ledger.eps * (ledger.sizes + abs(ledger.target))
        assert abs(ledger.residual) < 1e-6 * ledger.sizes


def test_many_features_are_at_work(runs):
    found = attribute(runs["float32"], TARGETS[0], TraceOptions(threshold=0.0))
    assert found.n_kept > 100_000


@pytest.mark.parametrize("target", TARGETS, ids=["difference", "logit", "feature", "score"])
def test_attributions_equal_those_of_float64(runs, target):
    narrow, wide = (attribute(runs[dtype], target, TraceOptions(threshold=0.0)) for dtype in runs)
    scale = max(float(one.attribution.abs().max()) for one in wide.sites.values())
    for site, one in wide.sites.items():
        other = narrow.sites[site]
        dense = [torch.zeros(24, N_LATENTS, dtype=torch.float64) for _ in range(2)]
        for values, found in zip(dense, (one, other), strict=True):
            places = (found.features.position, found.features.latent)
            values[places] = found.attribution.double()
        torch.testing.assert_close(dense[0], dense[1], atol=2e-4 * scale, rtol=0)


def test_pairs_of_a_score_sum_to_it(runs):
    found = score_pairs(runs["float32"], 5, 1, 23, 9)
    assert float(found.pairs.double().sum()) == pytest.approx(found.value, abs=1e-4)
    assert found.value == pytest.approx(score_pairs(runs["float64"], 5, 1, 23, 9).value, abs=1e-3)


def test_a_constant_that_matters_is_not_within_the_tolerance(runs):
    """The tolerance is no cover: it is far below the target and below what constants add."""
    ledger = attribute(runs["float32"], TARGETS[0], TraceOptions(threshold=0.0)).ledger
    assert ledger.tolerance < 0.05 * max(abs(value) for value in ledger.biases.values())
