"""An induction head built by hand in a real model: what its circuit must be (elhage2021framework).

Coordinates: tokens, positions, the token before, what comes next; mirrored for the layer norms.
"""

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.edges import flow_edges
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.scores import ScoreTarget, score_pairs
from lmscope.circuits.targets import FeatureTarget, LogitTarget
from lmscope.circuits.writers import Writer
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary

N_TOKENS, LENGTH, BETA = 6, 9, 20.0
SEQUENCE = [0, 1, 2, 3, 4, 1, 5, 2, 1]
TOKEN, PLACE, BEFORE, NEXT = 0, N_TOKENS, N_TOKENS + LENGTH, 2 * N_TOKENS + LENGTH
HALF = 3 * N_TOKENS + LENGTH
PREVIOUS, INDUCTION = Site("attn_out", 0), Site("attn_out", 1)
LAST = LENGTH - 1
CLOSE = 1e-6  # patterns are the model's own, in float32


@pytest.fixture(scope="module")
def model(make_blank_gpt2, mirror):
    model = make_blank_gpt2(HALF, 2)
    body = model.hf.transformer
    unit = mirror(torch.eye(HALF))
    body.wte.weight.data[:N_TOKENS] = unit[TOKEN : TOKEN + N_TOKENS]
    body.wpe.weight.data[:LENGTH] = unit[PLACE : PLACE + LENGTH]
    eps = body.ln_f.eps
    # Layer norms see 2, 3 and 3.5 squared units in each half: their gains undo them.
    for norm, squared in ((body.h[0].ln_1, 2.0), (body.h[1].ln_1, 3.0), (body.ln_f, 3.5)):
        norm.weight.data.fill_((squared / HALF + eps) ** 0.5)
    query, key, value, out = (torch.zeros(2, 2 * HALF, 2 * HALF) for _ in range(4))
    scale = (2 * HALF) ** 0.5
    for place in range(1, LENGTH):
        query[0, PLACE + place, place - 1] = BETA * scale
    for place in range(LENGTH):
        key[0, PLACE + place, place] = 1
    for token in range(N_TOKENS):
        value[0, TOKEN + token, token] = 1
        out[0, token] = unit[BEFORE + token]
        query[1, TOKEN + token, token] = BETA * scale
        key[1, BEFORE + token, token] = 1
        value[1, TOKEN + token, token] = 1
        out[1, token] = unit[NEXT + token]
        model.hf.lm_head.weight.data[token, NEXT + token] = 1
    for layer, block in enumerate(body.h):
        block.attn.c_attn.weight.data[:] = torch.cat([query[layer], key[layer], value[layer]], 1)
        block.attn.c_proj.weight.data[:] = out[layer]
    return model


def identity(site, mirror):
    """One latent for each coordinate of the first half, which writes both halves."""
    config = DictionaryConfig(
        reads=(str(site),),
        writes=(str(site),),
        d_read=2 * HALF,
        d_write=2 * HALF,
        n_latents=HALF,
        sparsity=ReLU(),
        normalisation="none",
    )
    unit = torch.eye(HALF)
    return Dictionary.from_tensors(
        config,
        {
            **Dictionary(config).state_dict(),
            "W_enc": torch.eye(HALF, 2 * HALF),
            "W_dec": mirror(unit),
        },
    )


@pytest.fixture(scope="module")
def frozen(model, mirror, everywhere):
    dictionaries = [identity(PREVIOUS, mirror), identity(INDUCTION, mirror)]
    options = ReplacementOptions(dtype="float64")
    return freeze(Replacement(model, dictionaries, options, exclusion=everywhere), SEQUENCE)


def value_of(one, position, latent):
    features = one.features
    place = ((features.position == position) & (features.latent == latent)).nonzero()
    return float(one.attribution[place.item()]) if len(place) else 0.0


def test_identities_leave_no_errors(frozen):
    for site in (PREVIOUS, INDUCTION):
        assert frozen.branch(site)[1].features.error.abs().max() < 1e-12


def test_the_last_position_attends_to_what_came_after_the_same_token(frozen):
    pattern = frozen.branch(INDUCTION)[1].linear.pattern[0, LAST]
    assert pattern[[2, 6]].tolist() == pytest.approx([0.5, 0.5], abs=CLOSE)


def test_it_predicts_both_tokens_that_followed(frozen):
    logits = frozen.logits(LAST)[:N_TOKENS].tolist()
    assert logits == pytest.approx([0, 0, 0.5, 0, 0, 0.5], abs=CLOSE)


def test_the_score_is_one_pair_of_a_token_and_the_token_before(frozen):
    found = score_pairs(frozen, 1, 0, LAST, 2)
    assert found.value == pytest.approx(BETA, abs=1e-4)
    query, key, value = found.top(1)[0]
    assert (query, key) == (Writer("token"), Writer("feature", PREVIOUS, BEFORE + 1))
    assert value == pytest.approx(BETA, abs=1e-4)
    rest = found.pairs.clone()
    rest[found.queries.index(query), found.keys.index(key)] = 0
    assert rest.abs().max() < 1e-4  # 20 against 1e-5: what attention leaks in float32


def test_traced_by_its_key_the_score_comes_from_the_token_one_before(frozen):
    found = attribute(frozen, ScoreTarget(1, 0, LAST, 2, "key"))
    assert value_of(found.sites[PREVIOUS], 2, BEFORE + 1) == pytest.approx(BETA, abs=1e-4)
    tokens = found.ledger.tokens
    assert float(tokens[1]) == pytest.approx(BETA, abs=1e-4)
    assert float(tokens.sum() - tokens[1]) == pytest.approx(0, abs=1e-4)


def test_the_feature_of_the_token_before_comes_from_that_token(frozen):
    found = attribute(frozen, FeatureTarget(PREVIOUS, 2, BEFORE + 1))
    assert found.start.value == pytest.approx(1, abs=CLOSE)
    assert float(found.ledger.tokens[1]) == pytest.approx(0.99999999, abs=CLOSE)


@pytest.mark.parametrize(("token", "place"), [(2, 2), (5, 6)])
def test_each_logit_comes_from_its_token_through_the_second_head(frozen, token, place):
    found = attribute(frozen, LogitTarget(token), TraceOptions(threshold=0.1))
    assert found.n_kept == 1
    assert value_of(found.sites[INDUCTION], LAST, NEXT + token) == pytest.approx(0.5, abs=CLOSE)
    assert float(found.ledger.tokens[place]) == pytest.approx(0.5, abs=CLOSE)
    assert found.ledger.recovered == pytest.approx(1, abs=1e-5)
    edges = flow_edges(found)
    assert edges.goal.tolist() == [-1]
    assert edges.flow.tolist() == pytest.approx([0.5], abs=CLOSE)
    assert float(edges.tokens[0, place]) == pytest.approx(0.5, abs=CLOSE)


def test_a_contrast_is_what_the_token_before_decides(frozen):
    """Positions 2 and 3 differ in nothing else that the head reads."""
    found = score_pairs(frozen, 1, 0, LAST, 2, against=3)
    assert found.log_ratio == pytest.approx(BETA, abs=1e-4)
    first, second = sorted(found.top(2), key=lambda one: -one[2])
    assert first[1] == Writer("feature", PREVIOUS, BEFORE + 1)
    assert second[2] == pytest.approx(0, abs=1e-4)
