import math

import pytest
import torch
from torch import nn

from lmscope.core.errors import ModelError
from lmscope.models.attention import NAME, AttentionSwitch, open_attention, watch
from lmscope.models.miniature import miniature


def test_scores_pattern_and_z_by_hand():
    # One head of width 1: q = 1, keys (0, ln 3), so the pattern is (1/4, 3/4); values (4, 8)
    # mix to 1 + 6 = 7.
    query = torch.ones(1, 1, 1, 1)
    key = torch.tensor([0.0, math.log(3)]).reshape(1, 1, 2, 1)
    value = torch.tensor([4.0, 8.0]).reshape(1, 1, 2, 1)
    z, pattern = open_attention(nn.Identity(), query, key, value, None, scaling=1.0)
    torch.testing.assert_close(pattern.flatten(), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(z.flatten(), torch.tensor([7.0]))


def test_each_pair_of_heads_shares_one_of_keys_and_values():
    query, key = torch.zeros(1, 4, 1, 2), torch.zeros(1, 2, 3, 2)
    value = torch.arange(2.0).reshape(1, 2, 1, 1).expand(1, 2, 3, 2)
    z, _ = open_attention(nn.Identity(), query, key, value, None)
    assert z[0, 0, :, 0].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_softcapped_scores_stay_below_the_cap():
    query = torch.full((1, 1, 1, 1), 1000.0)
    seen: list[torch.Tensor] = []
    module = nn.Identity()
    remove = watch(module, "scores", lambda x: seen.append(x) or x)
    open_attention(module, query, torch.ones(1, 1, 2, 1), torch.ones(1, 1, 2, 1), None, softcap=5.0)
    remove()
    torch.testing.assert_close(seen[0], torch.full((1, 1, 1, 2), 5.0))
    open_attention(module, query, torch.ones(1, 1, 2, 1), torch.ones(1, 1, 2, 1), None)
    assert len(seen) == 1  # removed


def test_attention_sinks_are_refused():
    x = torch.ones(1, 1, 2, 1)
    with pytest.raises(ModelError, match="Attention sinks"):
        open_attention(nn.Identity(), x, x, x, None, s_aux=torch.zeros(1))


def test_the_switch_turns_back_after_the_last_user():
    hf = miniature("llama").hf
    usual, switch = hf.config._attn_implementation, AttentionSwitch(hf)
    first, second = switch.take(), switch.take()
    assert hf.config._attn_implementation == NAME
    first()
    assert hf.config._attn_implementation == NAME
    second()
    assert hf.config._attn_implementation == usual != NAME
