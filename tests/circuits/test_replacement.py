"""What can be replaced in a model, and what is refused with a sentence."""

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import DirectionTarget, FeatureTarget, LogitTarget
from lmscope.core.errors import ArtifactError, DataError, ModelError, SiteError
from lmscope.core.site import Site
from lmscope.dictionaries.config import BatchTopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature


@pytest.fixture(scope="module")
def llama():
    return miniature("llama")


@pytest.fixture(scope="module")
def frozen(llama, make_mixed, tokens):
    return freeze(Replacement(llama, make_mixed()), tokens)


def test_dictionaries_stand_in_forward_order_and_what_is_missing_is_said(llama, make_mixed):
    found = Replacement(llama, reversed(make_mixed()))
    sites = ["attn_out@0", "mlp_out@0", "mlp_out@1", "resid_post@1", "attn_out@2"]
    assert [str(site) for site in found.dictionaries] == sites
    assert [str(site) for site in found.missing()] == ["attn_out@1", "mlp_out@2"]
    assert "dictionaries at attn_out@0" in repr(found)
    assert repr(Replacement(llama)).endswith("dictionaries at none)")


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_an_encoder_is_refused(name):
    with pytest.raises(ModelError, match="is an encoder, in which each position sees all others"):
        Replacement(miniature(name))


def test_blocks_that_are_not_covered_are_refused():
    with pytest.raises(ModelError, match="has blocks that circuits do not cover"):
        Replacement(miniature("mamba"))


@pytest.mark.parametrize(
    ("reads", "writes", "said"),
    [
        ("mlp_in@0", "mlp_out@1", "one that writes 'mlp_out' reads mlp_out or mlp_norm"),
        (
            "resid_pre@0",
            "attn_out@0",
            "one that writes 'attn_out' reads attn_out of the same layer",
        ),
        ("attn_norm@0", "attn_out@0", "has no place in a circuit"),
        ("mlp_norm@0", "mlp_norm@0", "they write attn_out, mlp_out, resid_pre"),
        ("embed", "embed", "has no place in a circuit"),
    ],
)
def test_a_dictionary_that_stands_elsewhere_is_refused(llama, make_dictionary, reads, writes, said):
    with pytest.raises(SiteError, match=said):
        Replacement(llama, [make_dictionary(reads, writes)])


def test_a_layer_that_the_model_has_not_got_is_refused(llama, make_dictionary):
    with pytest.raises(SiteError, match="its layers are 0 to 2"):
        Replacement(llama, [make_dictionary("attn_out@7", "attn_out@7")])


def test_a_dictionary_of_another_width_is_refused(llama, make_dictionary):
    with pytest.raises(ModelError, match="with 16 coordinates; in 'miniature-llama' it has 32"):
        Replacement(llama, [make_dictionary("attn_out@0", "attn_out@0", width=16)])


def test_two_dictionaries_of_one_site_are_refused(llama, make_dictionary):
    pair = [make_dictionary("mlp_out@1", "mlp_out@1"), make_dictionary("mlp_norm@1", "mlp_out@1")]
    with pytest.raises(ArtifactError, match="Two dictionaries write 'mlp_out@1'"):
        Replacement(llama, pair)


def test_a_batchtopk_dictionary_without_a_threshold_is_refused(llama, make_dictionary, tokens):
    plain = make_dictionary("mlp_out@1", "mlp_out@1")
    config = plain.config.model_copy(update={"sparsity": BatchTopK(k=8)})
    tensors = {**plain.state_dict(), "threshold": torch.tensor(float("nan"))}
    with pytest.raises(Exception, match="threshold"):
        freeze(Replacement(llama, [Dictionary.from_tensors(config, tensors)]), tokens)


def test_a_prompt_without_tokens_is_refused(llama):
    with pytest.raises(DataError, match="There is no token to trace"):
        freeze(Replacement(llama), [])


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_prompt_longer_than_the_context_is_refused(name):
    """Also where positions are rotations, which any length has."""
    model = miniature(name)
    assert freeze(Replacement(model), [7] * 128).n_positions == 128
    with pytest.raises(ModelError, match="has positions for 128 tokens; 129 were given"):
        freeze(Replacement(model), [7] * 129)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (LogitTarget(10_000), "There is no token 10000: the vocabulary has"),
        (LogitTarget(7, against=-1), "There is no token -1"),
        (LogitTarget(7, 9), "There is no position 9: the prompt has 9 tokens, 0 to 8"),
        (FeatureTarget(Site("attn_out", 1), 3, 2), "No dictionary writes 'attn_out@1'"),
        (FeatureTarget(Site("attn_out", 0), 3, 48), "There is no latent 48: the dictionary at"),
        (FeatureTarget(Site("attn_out", 9), 3, 2), "attn_out@9"),
        (DirectionTarget(Site("mlp_in", 0), 3, torch.ones(32)), "'mlp_in@0' was asked for"),
        (
            DirectionTarget(Site("resid_pre", 8), 3, torch.ones(32)),
            "The model has no 'resid_pre@8'",
        ),
    ],
)
def test_a_target_that_is_not_there_is_said(frozen, target, said):
    with pytest.raises(DataError, match=said):
        attribute(frozen, target)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_traced_in_float32(tokens, make_mixed, dtype):
    """Its patterns are its own; all sums are float32's, so its ledger holds as any other."""
    small = miniature("llama")
    half = LanguageModel(small.hf.to(dtype), small.tokenizer, name="half", weights_hash="h")
    frozen = freeze(Replacement(half, make_mixed()), tokens)
    assert frozen.embed.dtype == torch.float32
    assert half.hf.dtype == dtype
    for threshold in (0.0, 0.05):
        found = attribute(frozen, LogitTarget(9, -1, against=3), TraceOptions(threshold=threshold))
        assert found.ledger.eps == torch.finfo(torch.float32).eps
        assert abs(found.ledger.residual) <= found.ledger.tolerance
    real = half(Batch(tokens=torch.tensor([tokens]))).logits[0, -1].float()
    difference = float((frozen.logits(-1) - real).abs().max())
    assert 1e-5 < difference < 0.2  # what the model itself rounds away


def test_half_precision_cannot_be_asked_for():
    with pytest.raises(Exception, match="float32"):
        ReplacementOptions(dtype="bfloat16")
