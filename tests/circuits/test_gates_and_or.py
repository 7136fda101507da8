"""AND and OR gates in a real model: what attribution says of them, and what it cannot (ACDC's toys).

A token holds two bits; attention copies them; one neuron counts what is on, one what is on beyond the
first. AND is the second, OR the first less the second.
"""

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import DirectionTarget, FeatureTarget
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary

# Coordinates: each bit on and off as the token has it, the copies, the outputs of both gates.
A, NOT_A, B, NOT_B = range(4)
COPIES, AND, OR, HALF = 4, 8, 9, 10
BITS = [(0, 0), (0, 1), (1, 0), (1, 1)]
COPIED, GATES = Site("attn_out", 0), Site("mlp_out", 0)
HAIR = 1e-6  # one bit alone stays below 0 whatever rounding does
CLOSE = 1e-5
ANY, BEYOND = 0, 1


@pytest.fixture(scope="module")
def model(make_blank_gpt2, mirror):
    model = make_blank_gpt2(HALF, 1, hidden=2)
    body, unit = model.hf.transformer, mirror(torch.eye(HALF))
    for token, (a, b) in enumerate(BITS):
        body.wte.weight.data[token] = unit[A if a else NOT_A] + unit[B if b else NOT_B]
    block, eps = body.h[0], body.ln_f.eps
    block.ln_1.weight.data.fill_((2 / HALF + eps) ** 0.5)
    block.ln_2.weight.data.fill_((4 / HALF + eps) ** 0.5)
    values = torch.zeros(2 * HALF, 2 * HALF)
    for bit in range(4):
        values[bit, bit] = 1
        block.attn.c_proj.weight.data[bit] = unit[COPIES + bit]
    block.attn.c_attn.weight.data[:, 4 * HALF :] = values
    neurons = block.mlp
    neurons.c_fc.weight.data[COPIES + A] = 1
    neurons.c_fc.weight.data[COPIES + B] = 1
    neurons.c_fc.bias.data[BEYOND] = -1 - HAIR
    neurons.c_proj.weight.data[ANY] = unit[OR]
    neurons.c_proj.weight.data[BEYOND] = unit[AND] - unit[OR]
    return model


def dictionary(reads, writes, **tensors):
    config = DictionaryConfig(
        reads=(reads,),
        writes=(writes,),
        d_read=2 * HALF,
        d_write=2 * HALF,
        n_latents=len(tensors["W_enc"]),
        sparsity=ReLU(),
        normalisation="none",
    )
    return Dictionary.from_tensors(config, {**Dictionary(config).state_dict(), **tensors})


@pytest.fixture(scope="module", params=["transcoder", "gates"])
def run(request, model, mirror, everywhere):
    """Run on a pair of bits, its neurons as latents of a transcoder or through their own gates."""
    unit = mirror(torch.eye(HALF))
    copies = unit[COPIES : COPIES + 4]
    found = [
        dictionary(
            "attn_out@0",
            "attn_out@0",
            W_enc=torch.eye(4, 2 * HALF).roll(COPIES, 1),
            W_dec=copies,
        )
    ]
    if request.param == "transcoder":
        mlp = model.weights.mlp(0)
        tensors = {"W_enc": mlp.W_in.T.detach().clone(), "b_enc": mlp.b_in.detach().clone()}
        found.append(
            dictionary("mlp_in@0", "mlp_out@0", W_dec=mlp.W_out.detach().clone(), **tensors)
        )
    options = ReplacementOptions(dtype="float64")
    replacement = Replacement(model, found, options, exclusion=everywhere)
    return lambda a, b: freeze(replacement, [BITS.index((a, b))])


def gate(coordinate):
    vector = torch.zeros(2 * HALF, dtype=torch.float64)
    vector[coordinate] = 1
    return DirectionTarget(Site("resid_post", 0), 0, vector)


def shares(frozen, target, **options):
    """What each copied bit adds, what constants add, and what was cut, rounded."""
    found = attribute(frozen, target, TraceOptions(**{"threshold": 0.0, **options}))
    one = found.sites[COPIED]
    bits = dict.fromkeys((A, B), 0.0)
    for latent, value in zip(one.features.latent.tolist(), one.attribution.tolist(), strict=True):
        bits[latent] = round(value, 4) + 0.0
    parts = found.ledger.summary()
    assert parts["errors"] == pytest.approx(0, abs=CLOSE)
    return bits[A], bits[B], round(parts["biases"], 4) + 0.0, round(parts["cut"], 4) + 0.0


@pytest.mark.parametrize("bits", BITS)
def test_the_model_computes_both_gates(run, bits):
    frozen = run(*bits)
    assert gate(AND).start(frozen).value == pytest.approx(float(all(bits)), abs=CLOSE)
    assert gate(OR).start(frozen).value == pytest.approx(float(any(bits)), abs=CLOSE)


def test_each_input_of_an_and_gate_has_all_of_it(run):
    """Either one taken away takes 1 away; together they are 2, and the constant takes 1 off."""
    assert shares(run(1, 1), gate(AND)) == (1, 1, -1, 0)


@pytest.mark.parametrize("bits", [(0, 0), (0, 1), (1, 0)])
def test_an_and_gate_that_is_closed_shows_nothing(run, bits):
    assert shares(run(*bits), gate(AND)) == (0, 0, 0, 0)


def test_the_only_input_of_an_or_gate_has_all_of_it(run):
    assert shares(run(1, 0), gate(OR)) == (1, 0, 0, 0)
    assert shares(run(0, 1), gate(OR)) == (0, 1, 0, 0)


def test_inputs_of_an_or_gate_that_stand_in_for_each_other_have_nothing(run):
    """Neither one taken away changes anything; the ledger says that a constant holds the gate open."""
    assert shares(run(1, 1), gate(OR)) == (0, 0, 1, 0)


def test_the_published_rule_shows_inputs_that_stand_in_for_each_other(run, request):
    """What takes the second one back lowers the target, so it is cut, and both inputs show."""
    if "gates" in request.node.callspec.params.values():
        pytest.skip("neurons without a transcoder are no features that could be cut")
    assert shares(run(1, 1), gate(OR), rule="signed") == (1, 1, 0, -1)


def test_why_an_and_gate_did_not_open(run, request):
    if "gates" in request.node.callspec.params.values():
        pytest.skip("neurons without a transcoder are no features")
    closed = run(1, 0)
    target = FeatureTarget(GATES, 0, BEYOND)
    assert target.start(closed).value == pytest.approx(0, abs=CLOSE)
    assert shares(closed, target) == (1, 0, -1, 0)
    assert shares(run(0, 0), target) == (0, 0, -1, 0)
