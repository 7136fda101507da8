"""Whether features fire, and what they would need: the same answer as the dictionary's own choice."""

import pytest
import torch

from lmscope.circuits.firing_building import firing
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import FeatureTarget
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, JumpReLU, ReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.miniature import miniature

SITE = Site("mlp_out", 1)
KINDS = {
    "relu": ReLU(),
    "topk": TopK(k=4),
    "plain topk": TopK(k=4, weight_by_decoder_norm=False),
    "batchtopk": BatchTopK(k=4),
    "jumprelu": JumpReLU(),
}


@pytest.fixture(scope="module")
def model():
    return miniature("llama")


@pytest.fixture(scope="module", params=KINDS)
def frozen(request, model):
    config = DictionaryConfig(
        reads=(str(SITE),),
        writes=(str(SITE),),
        d_read=32,
        d_write=32,
        n_latents=24,
        sparsity=KINDS[request.param],
        normalisation="none",
    )
    dictionary, draw = Dictionary(config), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
        if dictionary.threshold is not None:
            size = dictionary.threshold.shape
            dictionary.threshold.copy_(torch.rand(size, generator=draw) * 0.6 + 0.2)
    return freeze(Replacement(model, [dictionary]), model.batch("one two").tokens[0])


def test_a_feature_fires_where_its_dictionary_says_so_and_only_above_its_threshold(frozen):
    _, branch = frozen.branch(SITE)
    active = set(
        zip(branch.features.position.tolist(), branch.features.latent.tolist(), strict=True)
    )
    silent = 0
    for position in range(1, frozen.n_positions):
        for latent in range(24):
            state = firing(frozen, FeatureTarget(SITE, position, latent))
            assert state.fires == ((position, latent) in active)
            assert state.fires == (state.pre_activation > state.threshold)
            assert state.missing == state.threshold - state.pre_activation
            assert state.stands
            silent += not state.fires
    assert active
    assert silent


def test_a_pre_activation_just_above_the_threshold_would_fire(frozen):
    """Raised by what is missing and a little, the dictionary itself lets the feature fire."""
    stage, branch = frozen.branch(SITE)
    dictionary = branch.features.dictionary
    x = branch.read_value(frozen.streams[stage])
    for position, latent in ((2, 0), (3, 7), (4, 11), (5, 23)):
        state = firing(frozen, FeatureTarget(SITE, position, latent))
        if state.fires:
            continue
        for more, fires in ((1e-3, True), (-1e-3, False)):
            raised = Dictionary.from_tensors(dictionary.config, dict(dictionary.state_dict()))
            raised.b_enc.data[latent] += state.missing + more
            assert bool(raised.encode(x)[position, latent] > 0) == fires


def test_latents_that_stand_higher_are_counted_where_latents_compete(frozen):
    kind = frozen.replacement.dictionaries[SITE].config.sparsity.kind
    found = [firing(frozen, FeatureTarget(SITE, 3, latent)) for latent in range(24)]
    if kind == "topk":
        assert sorted(one.n_ahead for one in found) == list(range(24))
        assert all(one.n_ahead < 4 for one in found if one.fires)
    else:
        assert {one.n_ahead for one in found} == {None}


def test_nothing_fires_where_no_dictionary_stands(frozen):
    found = [firing(frozen, FeatureTarget(SITE, 0, latent)) for latent in range(24)]
    assert not any(one.fires or one.stands for one in found)


def test_a_latent_that_is_not_there_is_refused(frozen):
    with pytest.raises(DataError, match="no latent 24"):
        firing(frozen, FeatureTarget(SITE, 2, 24))
