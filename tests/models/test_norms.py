import pytest
import torch
from torch import nn

from lmscope.models.norms import LAYER_NORM, RMS_NORM, RMS_NORM_FROM_ONE


def layer_norm() -> nn.LayerNorm:
    norm = nn.LayerNorm(4)
    nn.init.normal_(norm.weight, 1.0, 0.3)
    nn.init.normal_(norm.bias)
    return norm.requires_grad_(False)


def test_rms_divides_by_the_root_mean_square():
    # root mean square of (1, -1, 7, 7) is sqrt(100 / 4) = 5
    norm = nn.RMSNorm(4, eps=0.0)
    norm.eps = 0.0
    value = RMS_NORM.normalise(norm, torch.tensor([[1.0, -1.0, 7.0, 7.0]]))
    torch.testing.assert_close(value, torch.tensor([[0.2, -0.2, 1.4, 1.4]]))


def test_layer_norm_takes_the_mean_away_first():
    # (1, 3, 5, 7): mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
    value = LAYER_NORM.normalise(layer_norm(), torch.tensor([[1.0, 3.0, 5.0, 7.0]]))
    expected = torch.tensor([[-3.0, -1.0, 1.0, 3.0]]) / 5**0.5
    torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)


def test_gemma_gains_start_from_one():
    norm = nn.RMSNorm(4)
    nn.init.zeros_(norm.weight)
    assert torch.equal(RMS_NORM_FROM_ONE.gain(norm), torch.ones(4))
    assert torch.equal(RMS_NORM.gain(norm), torch.zeros(4))


def test_replacing_some_values_leaves_the_others_bit_for_bit():
    norm, x = layer_norm(), torch.randn(3, 4)
    output, old = norm(x), LAYER_NORM.normalise(norm, x)
    new = old.clone()
    new[1] = 9.0
    replaced = LAYER_NORM.replace(norm, output, old, new)
    assert torch.equal(replaced[[0, 2]], output[[0, 2]])
    torch.testing.assert_close(replaced[1], 9.0 * norm.weight + norm.bias)


def test_an_unchanged_value_still_carries_the_gradient():
    norm, x = layer_norm(), torch.randn(3, 4)
    output, old = norm(x), LAYER_NORM.normalise(norm, x)
    steer = torch.zeros(4, requires_grad=True)
    LAYER_NORM.replace(norm, output, old, old + steer).sum().backward()
    assert steer.grad is not None
    torch.testing.assert_close(steer.grad, 3 * norm.weight)


def test_a_module_without_eps_is_no_norm():
    with pytest.raises(AttributeError, match="Linear has no eps"):
        RMS_NORM.eps(nn.Linear(2, 2))
