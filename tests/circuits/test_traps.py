"""Mistakes that are easily made in tracing, each as a sum that comes out wrong when it is made.

That the published rule at 0 is not the full attribution, and that the sum misses its target without any one
constant, is tested with the identities.
"""

from dataclasses import replace

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.edges import flow_edges
from lmscope.circuits.frozen import freeze
from lmscope.circuits.ledger import LedgerError
from lmscope.circuits.linear_model import run_linear
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.scores import ScoreTarget, score_pairs
from lmscope.circuits.targets import DirectionTarget, FeatureTarget, LogitTarget
from lmscope.core.site import Site
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, JumpReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.exclusion import Exclusion
from lmscope.models.miniature import miniature

ALL = TraceOptions(threshold=0.0)
LOGIT = LogitTarget(9, -1, against=3)
WIDE = ReplacementOptions(dtype="float64")


@pytest.fixture(scope="module")
def gpt2():
    return miniature("gpt2")


@pytest.fixture(scope="module")
def of(gpt2, tokens):
    """Run the model with dictionaries on the prompt."""
    return lambda *found, **options: freeze(Replacement(gpt2, found, WIDE, **options), tokens)


@pytest.fixture(scope="module")
def held(of, make_mixed):
    return of(*make_mixed())


def scaled(dictionary, scale_in=1.7, scale_out=0.6, **config):
    """As after training: in training units, with what the configuration allows besides."""
    tensors = {**dictionary.state_dict(), "scale_in": torch.tensor(scale_in)}
    tensors["scale_out"] = torch.tensor(scale_out)
    changed = dictionary.config.model_copy(update={"normalisation": "mean_norm", **config})
    return Dictionary.from_tensors(changed, tensors)


# 1. Norms.


@pytest.mark.parametrize("family_name", ["gpt2", "llama"])
def test_through_a_norm_that_is_not_frozen_all_parts_sum_to_nothing(family_name, tokens):
    """A norm does not change when its input grows, so gradient times input is 0 there (Euler)."""
    frozen = freeze(Replacement(miniature(family_name), [], WIDE), tokens)
    start = LOGIT.start(frozen)
    norm, model = frozen.norm, frozen.replacement.model
    x = frozen.streams[-1].clone().requires_grad_()
    weights = model.weights.norm("final")
    kept = x - x.mean(-1, keepdim=True) if norm.centred else x
    free = kept * torch.rsqrt(kept.pow(2).mean(-1, keepdim=True) + weights.eps) * norm.gain
    direction = model.weights.W_U.double()
    logit = free[-1] @ (direction[:, 9] - direction[:, 3])
    (gradient,) = torch.autograd.grad(logit, x)
    assert abs(float(logit.detach())) > 0.5
    assert abs(float((gradient * x).detach().sum())) < 1e-4
    frozen_sum = float((start.read[0] * frozen.streams[-1]).sum())
    assert frozen_sum == pytest.approx(float(logit.detach()), abs=1e-9)


def test_with_the_scale_of_another_prompt_the_parts_miss_the_target(held):
    start = LOGIT.start(held)
    ledger = attribute(held, LOGIT, ALL).ledger
    other = replace(held, norm=replace(held.norm, scale=held.norm.scale * 1.01))
    with pytest.raises(LedgerError):
        replace(attribute(other, LOGIT, ALL).ledger, target=start.value).check()
    ledger.check()


# 3. Thresholds.


@pytest.mark.parametrize(
    ("rule", "constant", "reads", "writes", "low", "high"),
    [
        # The second feature takes 0.9 of the first one's 1 away, until it is cut.
        ("abs", 0.0, 1.0, -0.9, 0.5, 0.95),
        # It adds 0.5, and less the more of the first one there is.
        ("signed", 1.5, -1.0, 1.0, 0.3, 0.7),
    ],
)
def test_features_kept_at_a_higher_threshold_need_not_be_kept_at_a_lower_one(
    frozen_by_hand, rule, constant, reads, writes, low, high
):
    """So thresholds are swept, never bisected."""
    unit = torch.eye(3, dtype=torch.float64)
    first = (unit[:1], torch.zeros(1).double(), unit[1:2], None)
    second = (unit[1:2] * reads, torch.tensor([constant]).double(), unit[2:3] * writes, None)
    frozen = frozen_by_hand(unit[:1], [first, second])
    target = DirectionTarget(Site("resid_post", 1), 0, unit[1] + unit[2])

    def kept(threshold):
        options = TraceOptions(threshold=threshold, relative=False, rule=rule)
        found = attribute(frozen, target, options)
        return [bool(one.kept) for one in found.sites.values()]

    assert kept(low) == [False, True]
    assert kept(high) == [True, False]


# 4. Scores.


def test_gradients_of_both_sides_of_a_score_count_it_twice(held):
    found = score_pairs(held, 2, 1, 8, 4)
    query = float(found.query_totals()[:-1].sum())
    key = float(found.key_totals()[:-1].sum())
    constants = float(found.pairs[-1].sum() + found.pairs[:, -1].sum())
    assert query + key == pytest.approx(2 * found.value - constants, abs=1e-10)
    assert abs(query + key - found.value) > 0.02
    traced = attribute(held, ScoreTarget(2, 1, 8, 4, "both"), ALL).ledger
    assert traced.total == pytest.approx(found.value, abs=1e-10)


def test_query_and_key_do_not_change_places(held):
    """Tracing the query meets what stands at the query's position and below, not at the key's alone."""
    for side, place in (("query", 8), ("key", 4)):
        start = ScoreTarget(2, 1, 8, 4, side).start(held)
        assert start.read[0].abs().sum(-1).nonzero().squeeze(-1).tolist() == [place]
    swapped = score_pairs(held, 2, 1, 8, 8)
    assert swapped.value != pytest.approx(score_pairs(held, 2, 1, 8, 4).value, abs=1e-3)


# 5. Feed-forward layers.


@pytest.mark.parametrize("activation", ["gelu_new", "gelu", "silu", "relu"])
def test_gates_are_complete_where_gradient_times_input_is_not(activation, tokens):
    model = miniature("gpt2", activation_function=activation)
    frozen = freeze(Replacement(model, [], WIDE), tokens)
    _, branch = frozen.branch(Site("mlp_out", 1))
    x, mlp = frozen.streams[3], model.weights.mlp(1)
    into, bias = mlp.W_in.double(), mlp.b_in.double()
    pre = (branch.norm(x) @ into + bias).detach().requires_grad_()
    hidden = model.hf.transformer.h[1].mlp.act(pre)
    real = hidden @ mlp.W_out.double() + mlp.b_out.double()
    torch.testing.assert_close(branch.linear(x), real, atol=1e-9, rtol=0)
    (gradient,) = torch.autograd.grad(hidden.sum(), pre)
    by_gradient = (gradient * pre) @ mlp.W_out.double() + mlp.b_out.double()
    missed = float((by_gradient - real).abs().max().detach())
    assert missed < 1e-9 if activation == "relu" else missed > 0.02


# 6, 7. Positions and constants.


def test_without_position_embeddings_the_sum_misses_the_target(held):
    ledger = attribute(held, LOGIT, ALL).ledger
    assert ledger.positions.abs().sum() > 0.1
    with pytest.raises(LedgerError):
        replace(ledger, positions=torch.zeros_like(ledger.positions)).check()


def test_without_constants_the_sum_misses_the_target(held):
    ledger = attribute(held, LOGIT, ALL).ledger
    with pytest.raises(LedgerError):
        replace(ledger, biases={}).check()


# 8. Transcoders with a linear path.


def test_what_the_linear_path_of_a_transcoder_writes_is_no_error(of, make_dictionary):
    transcoder = make_dictionary("mlp_norm@0", "mlp_out@0", skip=True, seed=2)
    with torch.no_grad():
        transcoder.b_enc.fill_(-1e3)  # nothing fires: the linear path and the constant write all
    frozen = of(transcoder)
    _, branch = frozen.branch(Site("mlp_out", 0))
    x = frozen.streams[1]
    assert len(branch.features) == 0
    skipped = branch.norm.normalised(x) @ transcoder.W_skip.double().T
    expected = branch.linear(x) - skipped - transcoder.b_dec.double()
    stands = branch.features.stands > 0
    torch.testing.assert_close(branch.features.error[stands], expected[stands], atol=1e-10, rtol=0)
    assert skipped.abs().max() > 0.5
    ledger = attribute(frozen, LOGIT, ALL).ledger
    assert ledger.total == pytest.approx(ledger.target, abs=1e-10)


# 9. Active sets.


def chosen(dictionary, values):
    return {tuple(place) for place in (dictionary.encode(values) > 0).nonzero().tolist()}


@pytest.mark.parametrize("sparsity", [TopK(k=8), JumpReLU()], ids=["topk", "jumprelu"])
def test_latents_that_fire_are_held_when_what_they_read_changes(of, make_dictionary, sparsity):
    """The dictionary itself would choose others; the linear model answers in straight lines."""
    sae = make_dictionary("mlp_out@1", "mlp_out@1", sparsity=sparsity, seed=3)
    frozen, site = of(sae), Site("mlp_out", 1)
    _, branch = frozen.branch(site)
    runs = [run_linear(frozen, embed=frozen.embed * size) for size in (1.0, 2.0, 3.0)]
    first, second, third = (run.activations[site] for run in runs)
    torch.testing.assert_close(second - first, third - second, atol=1e-10, rtol=0)
    assert (third - first).abs().max() > 0.1
    reads = [branch.read_value(run.streams[3]) for run in runs]
    dictionary = branch.features.dictionary
    assert chosen(dictionary, reads[0]) != chosen(dictionary, reads[2])
    assert (third < 0).any() or isinstance(sparsity, JumpReLU)


# 10. Units of dictionaries.


KINDS = [
    ("attn_out@0", "attn_out@0", {}),
    ("mlp_out@1", "mlp_out@1", {"apply_b_dec_to_input": True}),
    ("mlp_norm@1", "mlp_out@1", {"skip": True}),
    ("resid_post@0", "resid_post@0", {"apply_b_dec_to_input": True}),
]


@pytest.mark.parametrize(("reads", "writes", "more"), KINDS)
def test_norms_of_decoder_rows_change_activations_and_nothing_that_is_written(
    of, make_dictionary, reads, writes, more
):
    skip = more.get("skip", False)
    config = {k: v for k, v in more.items() if k != "skip"}
    trained = scaled(make_dictionary(reads, writes, skip=skip, seed=6), **config)
    upper = make_dictionary("attn_out@2", "attn_out@2", seed=8)
    target = FeatureTarget(Site("attn_out", 2), -1, 5)
    before, after = (
        attribute(of(one, upper), target, TraceOptions(threshold=0.01))
        for one in (trained, trained.fold())
    )
    site = Site.parse(writes)
    mine, folded = before.sites[site], after.sites[site]
    assert (mine.features.latent == folded.features.latent).all()
    assert (mine.features.value - folded.features.value).abs().max() > 0.1
    written = [one.features.value[:, None] * one.features.decoder_rows for one in (mine, folded)]
    torch.testing.assert_close(*written, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mine.attribution, folded.attribution, atol=1e-5, rtol=1e-4)
    assert (mine.kept == folded.kept).all()
    flows = [flow_edges(one) for one in (before, after)]
    torch.testing.assert_close(flows[0].flow, flows[1].flow, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("reads", "writes", "more"), KINDS)
def test_in_training_units_everything_sums_as_well(of, make_dictionary, reads, writes, more):
    config = {k: v for k, v in more.items() if k != "skip"}
    dictionary = scaled(
        make_dictionary(reads, writes, skip=more.get("skip", False), seed=6), **config
    )
    frozen = of(dictionary)
    _, branch = frozen.branch(Site.parse(writes))
    node = int(branch.features.value.argmax())
    place, latent = int(branch.features.position[node]), int(branch.features.latent[node])
    found = attribute(frozen, FeatureTarget(Site.parse(writes), place, latent), ALL)
    assert found.start.value == pytest.approx(float(branch.features.value[node]), abs=1e-10)
    assert found.ledger.total == pytest.approx(found.start.value, abs=1e-10)
    ledger = attribute(frozen, LOGIT, ALL).ledger
    assert ledger.total == pytest.approx(ledger.target, abs=1e-10)


def test_a_batchtopk_dictionary_fires_by_its_threshold(of, make_dictionary):
    plain = make_dictionary("attn_out@0", "attn_out@0", seed=6)
    config = plain.config.model_copy(update={"sparsity": BatchTopK(k=8)})
    tensors = {**plain.state_dict(), "threshold": torch.tensor(0.4)}
    sae = Dictionary.from_tensors(config, tensors)
    frozen = of(sae)
    features = frozen.branch(Site("attn_out", 0))[1].features
    norms = features.dictionary.W_dec[features.latent].norm(dim=1)
    assert 0 < len(features) < len(of(plain).branch(Site("attn_out", 0))[1].features)
    assert (features.value * norms > 0.4).all()
    ledger = attribute(frozen, LOGIT, ALL).ledger
    assert ledger.total == pytest.approx(ledger.target, abs=1e-10)


# 11. What gains and centring are part of.


def test_a_transcoder_reads_before_or_behind_the_gain_as_its_site_says(of, gpt2, make_dictionary):
    """Weights for the one are moved to the other by the gain; taken as they are they are another circuit."""
    behind = make_dictionary("mlp_in@1", "mlp_out@1", seed=6)
    norm = gpt2.weights.norm("mlp_norm", 1)
    config = behind.config.model_copy(update={"reads": ("mlp_norm@1",)})
    tensors = dict(behind.state_dict())
    before = Dictionary.from_tensors(config, tensors)
    tensors["b_enc"] = tensors["b_enc"] + tensors["W_enc"] @ norm.bias.detach()
    tensors["W_enc"] = tensors["W_enc"] * norm.gain.detach()
    moved = Dictionary.from_tensors(config, tensors)
    first, second, wrong = (attribute(of(one), LOGIT, ALL) for one in (behind, moved, before))
    site = Site("mlp_out", 1)
    torch.testing.assert_close(
        first.sites[site].attribution, second.sites[site].attribution, atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(first.ledger.tokens, second.ledger.tokens, atol=1e-5, rtol=1e-4)
    assert not torch.equal(first.sites[site].features.latent, wrong.sites[site].features.latent)


def test_a_dictionary_may_read_a_stream_that_is_not_centred(of, make_dictionary):
    """Centring is the next norm's; what a dictionary of the stream reads and writes keeps its mean."""
    sae = make_dictionary("resid_mid@1", "resid_mid@1", seed=5)
    frozen = of(sae)
    stage, branch = frozen.branch(Site("resid_mid", 1))
    assert frozen.streams[stage].mean(-1).abs().max() > 0.05
    assert branch.read_value(frozen.streams[stage]) is frozen.streams[stage]
    features = branch.features
    made = torch.zeros_like(features.error).index_add(
        0, features.position, features.value[:, None] * features.decoder_rows
    )
    made = made + features.stands[:, None] * features.decoder_bias
    torch.testing.assert_close(made + features.error, frozen.streams[stage], atol=1e-10, rtol=0)


# 12. Positions that do not count.


def test_where_a_dictionary_does_not_stand_all_goes_to_the_error(of, make_dictionary):
    sae = make_dictionary("mlp_out@0", "mlp_out@0", seed=6)
    frozen = of(sae)
    _, branch = frozen.branch(Site("mlp_out", 0))
    features = branch.features
    assert features.stands.tolist() == [0.0] + [1.0] * 8  # the first token, which is BOS
    assert int(features.position.min()) == 1
    torch.testing.assert_close(features.error[0], branch.linear(frozen.streams[1])[0])
    found = attribute(frozen, LogitTarget(9, 0), ALL)
    assert found.sites[Site("mlp_out", 0)].attribution.abs().sum() == 0
    assert found.ledger.total == pytest.approx(found.start.value, abs=1e-10)
    assert not any(
        key.name == "b_dec mlp_out" and value for key, value in found.ledger.biases.items()
    )


def test_positions_of_outlying_norm_go_to_the_error_at_that_site_only(of, make_dictionary):
    first, second = (make_dictionary(f"mlp_out@{n}", f"mlp_out@{n}", seed=6) for n in (0, 1))
    plain = of(first, second)
    x = plain.branch(Site("mlp_out", 0))[1].linear(plain.streams[1]).norm(dim=-1)[1:]
    level = float(x.sort().values[-2:].mean())
    medians = {Site("mlp_out", 0): level, Site("mlp_out", 1): 1e9}
    frozen = of(first, second, exclusion=Exclusion(medians, ratio=1.0))
    features = [frozen.branch(Site("mlp_out", n))[1].features for n in (0, 1)]
    out = 1 + int(x.argmax())
    assert features[0].stands.nonzero().squeeze(-1).tolist() == [n for n in range(1, 9) if n != out]
    assert features[1].stands.sum() == 8
    assert not (features[0].position == out).any()
    ledger = attribute(frozen, LOGIT, ALL).ledger
    assert ledger.total == pytest.approx(ledger.target, abs=1e-10)


def test_the_dictionary_that_was_given_is_left_alone(of, make_dictionary):
    """It is copied into the number format of the linear model; the caller's stays as it was."""
    sae = make_dictionary("mlp_out@0", "mlp_out@0", seed=6)
    weights = sae.W_enc.clone()
    frozen = of(sae)
    used = frozen.branch(Site("mlp_out", 0))[1].features.dictionary
    assert isinstance(used.config, DictionaryConfig)
    assert used.config == sae.config
    assert used.W_enc.dtype == torch.float64
    assert sae.W_enc.dtype == torch.float32
    assert torch.equal(sae.W_enc, weights)
