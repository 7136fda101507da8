"""Interventions: the model with all parts held is the linear model, and with none it is itself."""

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.edges import feature_rows
from lmscope.circuits.feature_sets import FeatureNode, active_below
from lmscope.circuits.frozen import freeze
from lmscope.circuits.holding import ALL_HELD, Held
from lmscope.circuits.interventions import (
    FeatureChange,
    InterventionOptions,
    dense_latents,
    direct_effect,
    edited_logits,
    intervene,
    replaced,
    run_edited,
    silenced,
)
from lmscope.circuits.linear_model import run_linear
from lmscope.circuits.means import prompt_baseline
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.scores import ScoreTarget
from lmscope.circuits.targets import DirectionTarget, FeatureTarget, LogitTarget
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.miniature import miniature

LINEAR = InterventionOptions(held=ALL_HELD, errors="frozen")
LOGIT, FEATURE = LogitTarget(9, -1, against=3), FeatureTarget(Site("attn_out", 2), -1, 5)
KINDS = {"gpt2": "half_rule", "llama": "half_rule", "qwen2": "leaf", "gpt_neox": "leaf"}
ALL = TraceOptions(threshold=0.0)


@pytest.fixture(scope="module")
def held(family, model, tokens, make_mixed):
    """One prompt of each family, what has no transcoder made linear in each way by turns."""
    options = ReplacementOptions(mlp=KINDS.get(family, "gates"), dtype="float64")
    return freeze(Replacement(model, make_mixed(), options), tokens)


@pytest.fixture(scope="module")
def llama(tokens, make_mixed):
    return freeze(
        Replacement(
            miniature("llama"), make_mixed(stream=False), ReplacementOptions(dtype="float64")
        ),
        tokens,
    )


def some_nodes(frozen, target):
    """The feature of each site below a target that adds or takes away most."""
    nodes = []
    for site, one in attribute(frozen, target, ALL).sites.items():
        place = int(one.attribution.abs().argmax())
        features = one.features
        nodes.append(FeatureNode(site, int(features.position[place]), int(features.latent[place])))
    return nodes


def silent_node(frozen, site, position):
    latents = dense_latents(frozen.branch(site)[1].features)[position]
    return FeatureNode(site, position, int((latents == 0).nonzero()[0]))


@pytest.mark.parametrize("target", [LOGIT, FEATURE], ids=["logit", "feature"])
def test_the_model_with_all_held_is_the_linear_model(held, target):
    for node in some_nodes(held, target):
        found = intervene(held, target, [FeatureChange(node, "scale", 30.0)], LINEAR)
        assert abs(found.predicted) > 1e-4
        assert found.change == pytest.approx(found.predicted, abs=2e-5, rel=1e-4)


def test_features_that_do_not_fire_write_too_when_they_are_set(held):
    node = silent_node(held, Site("mlp_out", 1), 8)
    change = FeatureChange(node, "set", 5.0)
    found = intervene(held, LOGIT, [change], LINEAR)
    assert abs(found.predicted) > 1e-3
    assert found.change == pytest.approx(found.predicted, abs=2e-5, rel=1e-4)


def test_several_changes_at_once_are_predicted_together(held):
    changes = [FeatureChange(node, "add", 3.0) for node in some_nodes(held, LOGIT)]
    found = intervene(held, LOGIT, changes, LINEAR)
    assert found.change == pytest.approx(found.predicted, abs=2e-5, rel=1e-4)


def test_each_part_that_is_let_go_makes_a_difference(held):
    changes = [FeatureChange(node, "add", 3.0) for node in some_nodes(held, LOGIT)]
    whole = intervene(held, LOGIT, changes, LINEAR).change
    for part in Held.model_fields:
        if part == "gates" and held.replacement.options.mlp == "leaf":
            continue
        options = InterventionOptions(
            held=ALL_HELD.model_copy(update={part: False}), errors="frozen"
        )
        assert abs(intervene(held, LOGIT, changes, options).change - whole) > 1e-4, part


@pytest.mark.parametrize(
    "target",
    [
        LOGIT,
        FEATURE,
        LogitTarget(11, 4, demeaned=True),
        DirectionTarget(Site("final"), 2, torch.linspace(-1, 1, 32)),
        DirectionTarget(Site("resid_post", 1), -1, torch.linspace(-1, 1, 32)),
        ScoreTarget(2, 3, -1, 4),
    ],
    ids=["difference", "feature", "demeaned", "final", "stream", "score"],
)
def test_a_target_reads_the_same_in_the_model(held, target):
    found = run_edited(held, target, {}, 2)
    expected = torch.full((2,), target.start(held).value, dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)


def test_all_logits_of_a_changed_model_are_those_that_are_read_one_by_one(llama):
    site = Site("mlp_out", 1)
    rules = {site: lambda live: live * torch.tensor([1.0, 0.0]).to(live)[:, None, None]}
    together = edited_logits(llama, rules, 2)
    for token in (9, 3):
        alone = run_edited(llama, LogitTarget(token, -1), rules, 2)
        assert torch.allclose(together[:, token].double(), alone.double(), atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-4)
    clean = llama.replacement.model(Batch(tokens=llama.tokens[None])).logits[0, -1]
    assert torch.allclose(together[0], clean, atol=1e-5)


def test_silencing_is_predicted_to_take_the_attribution_away(llama):
    found = attribute(llama, LOGIT, ALL)
    for site, one in found.sites.items():
        features = one.features
        node = FeatureNode(site, int(features.position[2]), int(features.latent[2]))
        predicted = intervene(llama, LOGIT, [silenced(node)]).predicted
        assert predicted == pytest.approx(-float(one.attribution[2]), abs=1e-10)


def test_doubling_a_feature_changes_another_by_the_edge_between_them(held):
    """Through nothing but layers without a dictionary: in the linear model and in the model held."""
    site = Site("attn_out", 2)
    upper = held.branch(site)[1].features
    target = FeatureTarget(site, int(upper.position[-1]), int(upper.latent[-1]))
    (_, rows), *_ = feature_rows(held, site, torch.tensor([len(upper) - 1]))
    for below, edges in rows.sites.items():
        features = held.branch(below)[1].features
        place = int(edges[0].abs().argmax())
        node = FeatureNode(below, int(features.position[place]), int(features.latent[place]))
        found = direct_effect(held, target, [FeatureChange(node, "scale", 2.0)], ALL_HELD)
        assert found.predicted == pytest.approx(float(edges[0, place]), abs=1e-10)
        assert found.change == pytest.approx(found.predicted, abs=2e-5)


def test_the_frozen_model_has_no_second_derivative(held):
    """In activations of any two sites together, and in embeddings."""
    start = LOGIT.start(held)
    sites = list(active_below(held, start.stage))

    def value(steps):
        changes = {site: lambda pre, i=i: pre + steps[i] for i, site in enumerate(sites)}
        return run_linear(held, changes, embed=held.embed + steps[-1]).value(start)

    steps = torch.zeros(len(sites) + 1, dtype=torch.float64)
    assert torch.autograd.functional.jacobian(value, steps).abs().min() > 1e-6
    assert torch.autograd.functional.hessian(value, steps).abs().max() < 1e-12


def test_the_model_itself_is_not_linear(llama):
    node = some_nodes(llama, LOGIT)[0]
    up, down = (
        intervene(llama, LOGIT, [FeatureChange(node, "add", step)]).change for step in (4.0, -4.0)
    )
    assert abs(up + down) > 1e-3


def test_a_change_to_what_it_is_changes_nothing(llama):
    node = some_nodes(llama, LOGIT)[1]
    for errors in ("live", "frozen", "removed"):
        options = InterventionOptions(errors=errors)
        assert intervene(
            llama, LOGIT, [FeatureChange(node, "scale", 1.0)], options
        ).change == pytest.approx(0, abs=1e-6)


def by_hand(frozen, tokens, hooks):
    """Logit difference of the Hugging Face model with hooks on its modules."""
    hf = frozen.replacement.model.hf
    handles = [hf.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        logits = hf(input_ids=torch.tensor([tokens])).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    return float(logits[9] - logits[3])


def test_a_live_change_adds_the_decoder_row_and_no_more(llama, tokens):
    node = FeatureNode(
        Site("mlp_out", 1), 6, int(llama.branch(Site("mlp_out", 1))[1].features.latent[0])
    )
    dictionary = llama.replacement.dictionaries[node.site]

    def add(_module, _args, out):
        now = dictionary.encode(out)[0, 6, node.latent]
        out[0, 6] += ((7.0 - now) * dictionary.W_dec[node.latent]).float()
        return out

    found = intervene(llama, LOGIT, [FeatureChange(node, "set", 7.0)])
    assert found.after == pytest.approx(
        by_hand(llama, tokens, {"model.layers.1.mlp": add}), abs=1e-5
    )
    assert found.before == pytest.approx(by_hand(llama, tokens, {}), abs=1e-5)
    assert abs(found.change) > 0.01


@pytest.mark.parametrize("errors", ["frozen", "removed"])
def test_errors_are_what_they_were_or_nothing(tokens, make_dictionary, errors):
    """A change at layer 0 passes a dictionary at layer 1, whose own error does not answer to it."""
    lower = make_dictionary("mlp_out@0", "mlp_out@0", seed=1)
    upper = make_dictionary("mlp_out@1", "mlp_out@1", seed=2)
    frozen = freeze(
        Replacement(miniature("llama"), [lower, upper], ReplacementOptions(dtype="float64")), tokens
    )
    node = some_nodes(frozen, LOGIT)[0]
    reading = {"clean": {}}

    def spliced(name, dictionary, change):
        def hook(_module, _args, out):
            latents = dictionary.double().encode(out.double())
            error = out.double() - dictionary.decode(latents)
            if not reading.get("changed"):
                reading["clean"][name] = error
                return out
            if change:
                latents[0, node.position, node.latent] += 4.0
            kept = reading["clean"][name] if errors == "frozen" else torch.zeros_like(error)
            made = dictionary.decode(latents) + kept
            made[0, 0] = out[0, 0].double()  # no dictionary stands at the first position
            return made.float()

        return hook

    hooks = {
        "model.layers.0.mlp": spliced("0", lower, True),
        "model.layers.1.mlp": spliced("1", upper, False),
    }
    by_hand(frozen, tokens, hooks)
    reading["changed"] = True
    options = InterventionOptions(errors=errors)
    found = intervene(frozen, LOGIT, [FeatureChange(node, "add", 4.0)], options)
    assert found.after == pytest.approx(by_hand(frozen, tokens, hooks), abs=1e-5)


@pytest.mark.parametrize("errors", ["live", "frozen", "removed"])
def test_where_no_dictionary_stands_nothing_is_written(llama, errors):
    """A rule that would fill all latents at the first position."""

    def fill(live):
        new = live.clone()
        new[1, 0] = 50.0
        return new

    options = InterventionOptions(errors=errors)
    before, after = run_edited(llama, LOGIT, {Site("mlp_out", 0): fill}, 2, options).tolist()
    assert after == pytest.approx(before, abs=1e-5)


def test_frozen_patterns_do_not_answer(llama):
    """What attention sees at position 3 changes; where it looks does not."""
    node = silent_node(llama, Site("mlp_out", 0), 3)
    change = FeatureChange(node, "set", 20.0)
    frozen = InterventionOptions(held=Held(patterns=True))
    still, free = intervene(llama, LOGIT, [change], frozen), intervene(llama, LOGIT, [change])
    assert abs(intervene(llama, ScoreTarget(2, 1, -1, 3), [change]).change) > 0.01
    assert abs(still.change - free.change) > 0.01
    model, batch = llama.replacement.model, Batch(tokens=llama.tokens[None])
    patterns = model.read(batch, ["pattern@*"])
    row = llama.replacement.dictionaries[node.site].W_dec[node.latent].float()

    def add(x, _at):
        x[0, 3] += 20 * row
        return x

    edits = {site: lambda _x, _at, p=value: p for site, value in patterns.items()}
    with model.edit({**edits, node.site: add}):
        logits = model(batch).logits[0, -1]
    assert still.after == pytest.approx(float(logits[9] - logits[3]), abs=1e-5)


def test_a_feature_gets_its_value_on_another_prompt(llama, tokens):
    other = prompt_baseline(llama.replacement, [1, *reversed(tokens[1:])])
    node = some_nodes(llama, LOGIT)[2]
    expected = float(other.values[node.site][node.position, node.latent])
    assert replaced(llama, node, other) == FeatureChange(node, "set", expected)


def test_the_text_of_a_node_reads_back(llama):
    for node in some_nodes(llama, LOGIT):
        assert FeatureNode.parse(str(node)) == node
    with pytest.raises(DataError, match=r"'token@3' names no feature: write site/latent@position"):
        FeatureNode.parse("token@3")


def test_what_cannot_be_changed_is_refused(llama):
    good = some_nodes(llama, LOGIT)[0]

    def refused(match, *changes, target=LOGIT):
        with pytest.raises(DataError, match=match):
            intervene(llama, target, changes)

    refused("nothing to change")
    refused("changed twice", silenced(good), silenced(good._replace(position=good.position - 9)))
    refused("no latent 99", silenced(good._replace(latent=99)))
    refused("no position 40", silenced(good._replace(position=40)))
    refused("No dictionary stands at position 0", silenced(good._replace(position=0)))
    refused("No dictionary writes 'attn_out@1'", silenced(good._replace(site=Site("attn_out", 1))))
    refused("Nothing in this circuit writes", silenced(good._replace(site=Site("resid_mid", 1))))
    refused(
        "lies not below the target",
        silenced(silent_node(llama, Site("attn_out", 2), 3)),
        target=FeatureTarget(Site("mlp_out", 1), 6, 11),
    )
    refused(
        "does not fire on this prompt, so scaling",
        FeatureChange(silent_node(llama, Site("mlp_out", 1), 5), "scale", 2.0),
    )
    with pytest.raises(DataError, match="can be traced but not read in the model"):
        run_edited(llama, _OwnTarget(), {}, 1)


class _OwnTarget:
    def start(self, frozen):
        return LOGIT.start(frozen)


def test_a_result_becomes_plain_values(llama):
    node = some_nodes(llama, LOGIT)[0]
    found = intervene(llama, LOGIT, [silenced(node)])
    values = found.to_mapping()
    assert values["changes"] == [{"node": str(node), "kind": "set", "value": 0.0}]
    assert values["change"] == values["after"] - values["before"]
    assert values["same_sign"] == (values["change"] * values["predicted"] > 0)
