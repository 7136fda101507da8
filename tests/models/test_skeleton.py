import pytest
import torch

from lmscope.core.errors import ModelError
from lmscope.core.site import Site
from lmscope.models.catalog import CATALOG, HubSource
from lmscope.models.miniature import miniature
from lmscope.models.published import PUBLISHED
from lmscope.models.skeleton import at_hand, block_weights, forward_flops, skeleton, weight_bytes

N_PARAMETERS = {
    "gpt2": 124_439_808,
    "llama-3.1-8b": 8_030_261_248,
    "mamba-130m": 129_135_360,
    "pythia-160m": 162_322_944,
    "smollm2-135m": 134_515_008,
    "smollm2-135m-instruct-q4": 134_515_008,
}
"""As the models' own pages and safetensors headers give them."""


@pytest.fixture(autouse=True)
def _nothing_at_hand(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.fixture
def folder(tmp_path):
    model = miniature("llama")
    model.hf.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_shape_has_the_parameters_of_the_model_and_no_weights(name):
    model = skeleton(name)
    assert sum(p.numel() for p in model.hf.parameters()) == N_PARAMETERS[name]
    assert model.device.type == "meta"
    assert model.width("resid_post@3") == model.d_model


def test_every_hub_model_of_the_catalog_has_a_shape():
    assert {name for name, entry in CATALOG.items() if isinstance(entry.source, HubSource)} <= set(
        PUBLISHED
    )


def test_a_skeleton_has_the_sites_and_widths_of_the_model_that_is_loaded(folder):
    whole, bare = miniature("llama"), skeleton(str(folder))
    assert bare.sites() == whole.sites()
    for site in ("resid_post@1", "mlp_hidden@0", "k@2", "logits"):
        assert bare.width(site) == whole.width(site)
    assert (bare.bos_id, bare.special_ids) == (whole.bos_id, whole.special_ids)
    assert weight_bytes(bare) == weight_bytes(whole)


def test_the_dtype_may_be_another_than_the_stored_one():
    assert skeleton("gpt2").dtype == torch.float32
    assert weight_bytes(skeleton("gpt2", dtype="bfloat16")) == 2 * N_PARAMETERS["gpt2"]


def test_a_model_that_is_not_here_and_not_published_is_refused():
    with pytest.raises(
        ModelError, match=r"'owner/absent' is not known here.*a plan fetches nothing"
    ):
        skeleton("owner/absent")
    with pytest.raises(ModelError, match="There is no model folder"):
        skeleton("./absent")
    assert at_hand("gpt2") is None


def test_the_flops_of_a_forward_pass_are_those_of_its_matrices_and_attention():
    """Miniature llama: one layer is q 32x32, k and v 32x16 each at 2 of 4 heads, o 32x32, and three
    matrices of the feed-forward layer; a pass to layer 1 runs two of them."""
    model = miniature("llama")
    one_layer = sum(weight.numel() for weight in block_weights(model, 1))
    assert one_layer == sum(weight.numel() for weight in block_weights(model)) // 3
    attention = 2 * 4 * 16 * 32  # two layers, 4 operations, 32 / 2 tokens seen, 32 wide
    assert forward_flops(model, Site("mlp_out", 1), 32) == 2 * 2 * one_layer + attention
    assert forward_flops(model, Site("embed"), 32) == 0
    deepest = forward_flops(model, Site("final"), 32)
    assert forward_flops(model, Site("logits"), 32) == deepest + 2 * model.d_model * model.d_vocab
