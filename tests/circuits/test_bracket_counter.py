"""A counter of open brackets, compiled by hand: uniform attention takes the mean of +1 and -1.

Coordinates: one for each token, then the depth of round and of square brackets; mirrored for layer norms.
"""

import random

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.edges import flow_edges
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import FeatureTarget, LogitTarget
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary

ALPHABET = "()[]a"
ROUND, SQUARE, HALF = 5, 6, 7
STEP = {"(": (ROUND, 1), ")": (ROUND, -1), "[": (SQUARE, 1), "]": (SQUARE, -1)}
CLOSING = {ROUND: ")", SQUARE: "]"}
SITE = Site("attn_out", 0)
CLOSE = 1e-6
ALL = TraceOptions(threshold=0.0)


@pytest.fixture(scope="module")
def replacement(make_blank_gpt2, mirror, everywhere):
    model = make_blank_gpt2(HALF, 1)
    body, unit = model.hf.transformer, mirror(torch.eye(HALF))
    body.wte.weight.data[: len(ALPHABET)] = unit[: len(ALPHABET)]
    block = body.h[0]
    block.ln_1.weight.data.fill_((1 / HALF + body.ln_f.eps) ** 0.5)
    body.ln_f.weight.data.fill_(1.0)
    values = block.attn.c_attn.weight.data[
        :, 4 * HALF :
    ]  # queries and keys stay 0: attention is uniform
    for token, character in enumerate(ALPHABET):
        if character in STEP:
            kind, step = STEP[character]
            values[token, kind] = step
    for kind, closing in CLOSING.items():
        block.attn.c_proj.weight.data[kind] = unit[kind]
        model.hf.lm_head.weight.data[ALPHABET.index(closing), kind] = 1
    config = DictionaryConfig(
        reads=(str(SITE),),
        writes=(str(SITE),),
        d_read=2 * HALF,
        d_write=2 * HALF,
        n_latents=HALF,
        sparsity=ReLU(),
        normalisation="none",
    )
    tensors = {"W_enc": torch.eye(HALF, 2 * HALF), "W_dec": unit}
    counter = Dictionary.from_tensors(config, {**Dictionary(config).state_dict(), **tensors})
    return Replacement(model, [counter], ReplacementOptions(dtype="float64"), exclusion=everywhere)


def written(seed, length=24):
    """A random text whose brackets close in order, some still open at its end."""
    draw, text, open_ = random.Random(seed), "", []
    while len(text) < length:
        kind = draw.choice("([a)")
        if kind in "([":
            open_.append(kind)
        elif kind == ")":
            if not open_:
                continue
            kind = {"(": ")", "[": "]"}[open_.pop()]
        text += kind
    return text


def depths(text, kind):
    found, depth = [], 0
    for character in text:
        depth += STEP[character][1] if STEP.get(character, (None,))[0] == kind else 0
        found.append(depth)
    return found


def run(replacement, text):
    return freeze(replacement, [ALPHABET.index(character) for character in text])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [ROUND, SQUARE], ids=["round", "square"])
def test_a_feature_fires_inside_brackets_of_its_kind_and_holds_their_depth(replacement, kind, seed):
    text = written(seed)
    features = run(replacement, text).branch(SITE)[1].features
    found = [0.0] * len(text)
    for place, latent, value in zip(
        features.position, features.latent, features.value, strict=True
    ):
        if latent == kind:
            found[place] = float(value) * (int(place) + 1)
    assert found == pytest.approx(depths(text, kind), abs=1e-5)
    assert features.error.abs().max() < CLOSE


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [ROUND, SQUARE], ids=["round", "square"])
def test_every_bracket_counts_once_and_other_tokens_do_not(replacement, kind, seed):
    """Also where the feature does not fire, and never from a token that comes later."""
    text = written(seed)
    frozen = run(replacement, text)
    for place in (0, 7, 15, len(text) - 1):
        found = attribute(frozen, FeatureTarget(SITE, place, kind), ALL)
        expected = [
            step[1] if step[0] == kind and i <= place else 0.0
            for i, step in enumerate(STEP.get(character, (None, 0)) for character in text)
        ]
        counted = (found.ledger.tokens * (place + 1)).tolist()
        assert counted == pytest.approx(expected, abs=1e-5)
        assert found.ledger.total == pytest.approx(
            depths(text, kind)[place] / (place + 1), abs=CLOSE
        )


def test_the_closing_bracket_is_predicted_by_the_brackets_that_are_open(replacement):
    text = "(a[a]a(a"
    frozen = run(replacement, text)
    found = attribute(frozen, LogitTarget(ALPHABET.index(")")), ALL)
    assert found.start.value > 0.1
    edges = flow_edges(found)
    features = found.sites[SITE].features
    shown = {(int(features.position[n]), int(features.latent[n])) for n in edges.node[edges.source]}
    assert shown == {(len(text) - 1, ROUND)}
    tokens = (found.ledger.tokens / found.start.value).tolist()
    assert tokens == pytest.approx([0.5, 0, 0, 0, 0, 0, 0.5, 0], abs=1e-5)


def test_a_closed_bracket_takes_back_what_its_partner_added(replacement):
    frozen = run(replacement, "[(aa)a")
    found = attribute(frozen, FeatureTarget(SITE, -1, ROUND), ALL)
    tokens = found.ledger.tokens * 6
    assert tokens.tolist() == pytest.approx([0, 1, 0, 0, -1, 0], abs=1e-5)
    assert found.start.value == pytest.approx(0, abs=CLOSE)
