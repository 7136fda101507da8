import pytest
import torch

from lmscope.core.errors import ModelError
from lmscope.models.miniature import miniature


def test_gpt2_stores_queries_keys_and_values_side_by_side():
    model = miniature("gpt2")  # width 32, 4 heads of 8: outputs 0-31 queries, 32-63 keys, ...
    stored = model.hf.base_model.h[0].attn.c_attn  # type: ignore[index, union-attr]
    weights = model.weights.attention(0)
    assert torch.equal(weights.W_Q[1], stored.weight[:, 8:16])
    assert torch.equal(weights.W_K[0], stored.weight[:, 32:40])
    assert torch.equal(weights.W_V[3], stored.weight[:, 88:96])
    assert weights.b_V is not None
    assert torch.equal(weights.b_V[3], stored.bias[88:96])


def test_gpt_neox_stores_each_head_s_query_key_and_value_together():
    model = miniature("gpt_neox")  # head h holds outputs 24h to 24h + 23: 8 of each kind
    stored = model.hf.base_model.layers[0].attention.query_key_value  # type: ignore[index, union-attr]
    weights = model.weights.attention(0)
    assert torch.equal(weights.W_Q[1], stored.weight[24:32].T)
    assert torch.equal(weights.W_K[0], stored.weight[8:16].T)
    assert weights.b_V is not None
    assert torch.equal(weights.b_V[2], stored.bias[64:72])


def test_writing_into_a_view_writes_into_the_model():
    model = miniature("gpt_neox")
    before = model.weights.attention(1).W_K[2].clone()
    model.weights.attention(1).W_K[2].mul_(2)
    assert torch.equal(model.weights.attention(1).W_K[2], before * 2)


def test_query_heads_share_key_heads_in_order():
    weights = miniature("llama").weights.attention(0)  # 4 heads on 2
    assert [weights.kv_head(h) for h in range(4)] == [0, 0, 1, 1]


def test_gemma_says_its_gain_scale_window_and_caps():
    model = miniature("gemma2")
    stored = model.hf.base_model.layers[0].input_layernorm.weight  # type: ignore[index, union-attr]
    norm = model.weights.norm("attn_norm", 0)
    assert torch.equal(norm.gain, 1 + stored)
    assert norm.style.kind == "rms"
    assert norm.eps == model.hf.config.rms_norm_eps
    first, second = model.weights.attention(0), model.weights.attention(1)
    assert first.scale == pytest.approx(24**-0.5)
    assert first.softcap == 3.0
    assert (first.window, second.window) == (4, None)
    assert model.weights.logit_softcap == 8.0
    assert model.weights.embed_scale == pytest.approx(32**0.5)


def test_what_a_family_has_not_got_is_an_error():
    mamba, bert = miniature("mamba").weights, miniature("bert").weights
    with pytest.raises(ModelError, match="no attention"):
        mamba.attention(0)
    with pytest.raises(ModelError, match="no feed-forward layer"):
        mamba.mlp(0)
    with pytest.raises(
        ModelError, match=r"no norm at 'final'. Norms: embed, resid_mid, resid_post"
    ):
        bert.norm("final")
