"""Faithfulness: sets of features tried in the linear and in the real model."""

import math

import pytest
import torch

from lmscope.circuits.attribution import attribute, attribute_from
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.faithfulness import MIB_FRACTIONS, FaithfulnessOptions, areas, measure
from lmscope.circuits.feature_sets import (
    FeatureNode,
    chosen_features,
    every_feature,
    hierarchical_set,
    kept_by,
    largest,
    no_feature,
    random_set,
    standard_set,
)
from lmscope.circuits.frozen import freeze
from lmscope.circuits.means import ZeroBaseline, mean_baseline, prompt_baseline
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import FeatureTarget, LogitTarget
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.miniature import miniature

TARGET = LogitTarget(9, -1, against=3)
ALL = TraceOptions(threshold=0.0)
LINEAR, REAL = FaithfulnessOptions(where="linear"), FaithfulnessOptions()
ZERO = ZeroBaseline()
MLP = Site("mlp_out", 1)


def build(model, dictionaries, tokens):
    return freeze(Replacement(model, dictionaries, ReplacementOptions(dtype="float64")), tokens)


@pytest.fixture(scope="module", params=["llama", "gpt_neox", "gemma2"])
def held(request, tokens, make_mixed):
    return build(miniature(request.param), make_mixed(), tokens)


@pytest.fixture(scope="module")
def llama(tokens, make_mixed):
    return build(miniature("llama"), make_mixed(), tokens)


@pytest.fixture(scope="module")
def single(tokens, make_dictionary):
    """One dictionary only, so that no feature lies below another."""
    return build(miniature("llama"), [make_dictionary("mlp_out@1", "mlp_out@1", seed=3)], tokens)


@pytest.fixture(scope="module")
def other(tokens):
    return [1, *reversed(tokens[1:])]


def baselines(frozen, other):
    one = prompt_baseline(frozen.replacement, other)
    return {"zero": ZERO, "mean": mean_baseline(frozen.replacement, [other]), "prompt": one}


@pytest.mark.parametrize("target", [TARGET, FeatureTarget(Site("attn_out", 2), -1, 5)])
def test_zero_in_the_linear_model_is_what_attribution_predicts(held, target):
    """The target less what is cut, for circuits and for sets of any shape."""
    full = attribute(held, target, ALL)
    circuit = attribute(held, target, TraceOptions(threshold=0.05))
    for chosen in (kept_by(circuit), random_set(full, 60, 1), random_set(full, 5, 2)):
        cut = attribute_from(held, full.start, lambda site, _a, c=chosen: c.kept[site]).ledger.cut
        none = attribute_from(held, full.start, lambda _s, a: torch.zeros_like(a).bool()).ledger.cut
        found = measure(held, target, [chosen], ZERO, LINEAR)
        assert found.full == full.start.value
        assert found.kept[0] == pytest.approx(full.start.value - cut, abs=1e-9)
        assert found.faithfulness()[0] == pytest.approx(1 - cut / none, abs=1e-7)


@pytest.mark.parametrize("where", ["linear", "real"])
@pytest.mark.parametrize("name", ["zero", "mean", "prompt"])
def test_all_features_do_all_and_none_do_nothing(held, other, name, where):
    stage = TARGET.start(held).stage
    sets = [every_feature(held, stage), no_feature(held, stage)]
    options = FaithfulnessOptions(where=where)
    found = measure(held, TARGET, sets, baselines(held, other)[name], options)
    assert abs(found.full - found.empty) > 1e-3
    assert found.faithfulness() == pytest.approx((1.0, 0.0), abs=2e-3)


def test_latents_that_do_not_fire_get_the_baseline_too(single, other):
    """With all firing features kept, what the mean adds by silent ones is left."""
    stage = TARGET.start(single).stage
    baseline = baselines(single, other)["mean"]
    every = every_feature(single, stage)
    firing = type(every)(every.kept, silent=False)
    found = measure(single, TARGET, [firing, every], baseline, LINEAR)
    assert abs(found.kept[0] - found.kept[1]) > 1e-3
    assert measure(single, TARGET, [firing], ZERO, LINEAR).faithfulness()[0] == pytest.approx(1)


@pytest.mark.parametrize("where", ["linear", "real"])
def test_latents_that_do_not_fire_can_be_left_free(single, other, where):
    """Then what fires is all there is to try, and nothing is left to the last step."""
    stage = TARGET.start(single).stage
    baseline = baselines(single, other)["prompt"]
    every = every_feature(single, stage)
    firing = type(every)(every.kept, silent=False)
    free = FaithfulnessOptions(where=where, silent="free")
    found = measure(single, TARGET, [firing, firing.complement()], baseline, free)
    assert found.faithfulness() == pytest.approx((1, 0), abs=1e-4)
    strict = measure(single, TARGET, [firing], baseline, FaithfulnessOptions(where=where))
    assert abs(strict.faithfulness()[0] - 1) > 0.01
    assert abs(found.empty - strict.empty) > 1e-3


def test_a_set_and_its_complement_do_all_where_no_feature_feeds_another(single, other):
    full = attribute(single, TARGET, ALL)
    chosen = random_set(full, 40, 3)
    for baseline in baselines(single, other).values():
        found = measure(single, TARGET, [chosen, chosen.complement()], baseline, LINEAR)
        assert sum(found.faithfulness()) == pytest.approx(1, abs=1e-9)
        assert abs(found.faithfulness()[0]) > 0.02


def test_ablating_all_by_another_prompt_gives_that_prompts_target(tokens, other, make_dictionary):
    """A dictionary of the last stream that leaves nothing over; both prompts end alike in no other way."""
    exact = make_dictionary("resid_post@2", "resid_post@2", n=64)
    with torch.no_grad():
        both = torch.cat([torch.eye(32), -torch.eye(32)])
        exact.W_enc.copy_(both)
        exact.W_dec.copy_(both)
        exact.b_enc.zero_()
        exact.b_dec.zero_()
    model = miniature("llama")
    frozen = build(model, [exact], tokens)
    found = measure(frozen, TARGET, [], prompt_baseline(frozen.replacement, other), REAL)
    logits = model(Batch(tokens=torch.tensor([tokens, other]))).logits[:, -1]
    expected = logits[:, 9] - logits[:, 3]
    assert abs(expected[0] - expected[1]) > 0.1
    assert [found.full, found.empty] == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_real_model_is_the_hand_written_forward(single, tokens):
    """Only a few features of one layer written, its error kept; by a hook on the Hugging Face model."""
    model = single.replacement.model
    dictionary = single.replacement.dictionaries[MLP]
    full = attribute(single, TARGET, ALL)
    chosen = random_set(full, 50, 4)
    features = full.sites[MLP].features
    mask = torch.zeros(len(tokens), dictionary.config.n_latents, dtype=torch.bool)
    mask[features.position, features.latent] = chosen.kept[MLP]

    def only(_module, _args, out):
        wide = out[0].double()
        latents = dictionary.encode(wide)
        error = wide - dictionary.decode(latents)
        made = dictionary.decode(torch.where(mask, latents, 0.0)) + error
        made[0] = wide[0]
        return made[None].float()

    handle = model.hf.get_submodule("model.layers.1.mlp").register_forward_hook(only)
    try:
        logits = model.hf(input_ids=torch.tensor([tokens])).logits[0, -1]
    finally:
        handle.remove()
    found = measure(single, TARGET, [chosen], ZERO, REAL)
    assert found.kept[0] == pytest.approx(float(logits[9] - logits[3]), abs=1e-5)
    assert abs(found.kept[0] - found.full) > 0.05


def test_errors_that_are_removed_take_their_attribution_away(held):
    """Where dictionaries stand; m(M) stays that of the model as it is."""
    full = attribute(held, TARGET, ALL)
    lost = sum(
        float((error * full.sites[site].features.stands).sum())
        for site, error in full.ledger.errors.items()
    )
    options = FaithfulnessOptions(where="linear", errors="removed")
    every = every_feature(held, full.start.stage)
    found = measure(held, TARGET, [every], ZERO, options)
    assert found.full == full.start.value
    assert abs(lost) > 1e-3
    assert found.full - found.kept[0] == pytest.approx(lost, abs=1e-9)


def test_without_errors_the_real_model_differs_and_without_patterns_too(llama):
    full = attribute(llama, TARGET, ALL)
    chosen = [standard_set(full, 60)]
    values = [
        measure(llama, TARGET, chosen, ZERO, FaithfulnessOptions(errors=errors, patterns=patterns))
        for errors in ("kept", "removed")
        for patterns in ("free", "frozen")
    ]
    kept = [one.kept[0] for one in values]
    assert all(abs(a - b) > 1e-3 for i, a in enumerate(kept) for b in kept[:i])
    assert all(one.full == pytest.approx(values[0].full, abs=1e-5) for one in values)


def test_many_sets_at_once_are_as_each_alone(llama, monkeypatch):
    full = attribute(llama, TARGET, ALL)
    sets = [random_set(full, n, n) for n in (5, 20, 80)]
    together = measure(llama, TARGET, sets, ZERO)
    monkeypatch.setattr("lmscope.circuits.faithfulness.CHUNK_BYTES", 1)
    alone = measure(llama, TARGET, sets, ZERO)
    assert together.kept == pytest.approx(alone.kept, abs=1e-5)


def test_nothing_to_bring_about_is_not_a_number(single, tokens):
    """Where no feature lies below the target, and where the baseline is the prompt itself."""
    same = prompt_baseline(single.replacement, tokens)
    for target in (FeatureTarget(MLP, -1, 5), TARGET):
        none = no_feature(single, target.start(single).stage)
        for options in (LINEAR, REAL):
            (found,) = measure(single, target, [none], same, options).faithfulness()
            assert math.isnan(found)


def test_areas_are_those_of_trapezoids():
    """f = 0, 1, 1 at 0, 0.5, 1: a triangle of 0.25 and a square of 0.5."""
    found = areas((0.0, 0.5, 1.0), torch.tensor([[0.0, 1.0, 1.0], [2.0, 2.0, 2.0]]))
    assert found["cpr"].tolist() == [0.75, 2.0]
    assert found["cmd"].tolist() == [0.25, 1.0]
    assert found["mean"].tolist() == pytest.approx([2 / 3, 2.0])
    perfect = areas(MIB_FRACTIONS, torch.ones(10))
    assert float(perfect["cpr"]) == pytest.approx(0.999)
    assert float(perfect["cmd"]) == 0


def test_sets_are_of_the_size_that_was_asked_for(llama):
    full = attribute(llama, TARGET, ALL)
    swept = [attribute(llama, TARGET, TraceOptions(threshold=t)) for t in (1e9, 0.3, 0.03, 0.003)]
    for n in (1, 7, swept[2].n_kept, 200):
        for chosen in (hierarchical_set(swept, n), standard_set(full, n), random_set(full, n, 0)):
            assert len(chosen) == n


@pytest.mark.parametrize("rule", ["abs", "signed"])
def test_a_hierarchical_set_is_the_circuit_of_its_size(llama, rule):
    """And below its size the largest direct contributions; also where large ones are cut by their sign."""
    swept = [
        attribute(llama, TARGET, TraceOptions(threshold=t, rule=rule))
        for t in (1e9, 0.3, 0.03, 0.003)
    ]
    for found in swept[1:]:
        chosen = hierarchical_set(swept, found.n_kept)
        assert all(torch.equal(chosen.kept[site], one.kept) for site, one in found.sites.items())
    one = hierarchical_set(swept, 1)
    direct = {site: part.attribution.abs() for site, part in swept[0].sites.items()}
    assert one.nodes(llama) == largest(direct, 1).nodes(llama)


def test_the_standard_set_has_the_largest_attributions(llama):
    full = attribute(llama, TARGET, ALL)
    chosen = standard_set(full, 30)
    inside = [one.attribution.abs()[chosen.kept[s]] for s, one in full.sites.items()]
    outside = [one.attribution.abs()[~chosen.kept[s]] for s, one in full.sites.items()]
    assert torch.cat(inside).min() >= torch.cat(outside).max()


def test_random_sets_answer_to_their_seed(llama):
    full = attribute(llama, TARGET, ALL)
    first, again, another = (random_set(full, 20, seed).nodes(llama) for seed in (1, 1, 2))
    assert first == again != another


def test_nodes_make_the_set_that_they_are_of(llama):
    full = attribute(llama, TARGET, ALL)
    chosen = random_set(full, 12, 5)
    made = chosen_features(llama, full.start.stage, chosen.nodes(llama))
    assert all(torch.equal(made.kept[site], kept) for site, kept in chosen.kept.items())
    assert not made.silent
    assert made.complement().silent


def test_nodes_that_can_be_in_no_circuit_are_refused(llama):
    target = FeatureTarget(MLP, 6, 11)
    stage = target.start(llama).stage
    full = attribute(llama, TARGET, ALL)
    above = FeatureNode(MLP, *first_place(full.sites[MLP].features))
    with pytest.raises(DataError, match="lies not below the target, so it can be in no circuit"):
        chosen_features(llama, stage, [above])
    features = full.sites[Site("mlp_out", 0)].features
    firing = set(features.latent[features.position == 3].tolist())
    silent = next(i for i in range(48) if i not in firing)
    with pytest.raises(DataError, match="does not fire on this prompt"):
        chosen_features(llama, stage, [FeatureNode(Site("mlp_out", 0), 3, silent)])
    swept = [attribute(llama, TARGET, TraceOptions(threshold=0.01))]
    with pytest.raises(DataError, match=r"keeps as few as 1 features .*: add a higher one"):
        hierarchical_set(swept, 1)


def first_place(features):
    return int(features.position[0]), int(features.latent[0])
