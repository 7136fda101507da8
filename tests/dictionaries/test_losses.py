import pytest
import torch

from lmscope.dictionaries.config import JumpReLU, ReLU
from lmscope.dictionaries.losses import (
    auxiliary_error,
    l0_penalty,
    l1_penalty,
    reconstruction_error,
    summed_error_unit,
)


def test_reconstruction_errors_by_hand():
    # Errors (1, 2) and (0, 4): squares sum to 5 and 16. Targets (3, 0), (-3, 0) have mean 0 and
    # norm 3: batch_norm gives (5 / 2 + 16 / 2) / 3 = 3.5.
    target = torch.tensor([[3.0, 0.0], [-3.0, 0.0]])
    output = target + torch.tensor([[1.0, 2.0], [0.0, 4.0]])
    assert reconstruction_error(output, target, "sum") == 21
    assert reconstruction_error(output, target, "mean") == 10.5
    assert reconstruction_error(output, target, "batch_norm").item() == pytest.approx(3.5)


@pytest.mark.parametrize("kind", ["sum", "mean", "batch_norm"])
def test_a_coefficient_means_the_same_under_each_reduction(kind):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(4000, 64, generator=generator)
    output = target + torch.randn(4000, 64, generator=generator)
    summed = reconstruction_error(output, target, "sum")
    ratio = (reconstruction_error(output, target, kind) / summed).item()
    assert ratio == pytest.approx(summed_error_unit(kind, 64), rel=0.02)


def test_l1_counts_each_latent_by_its_decoder_norm():
    latents, norms = torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([10.0, 1.0])
    assert l1_penalty(latents, norms, ReLU()) == 15  # 10 + 2 + 3
    assert l1_penalty(latents, norms, ReLU(weight_by_decoder_norm=False)) == 6


def test_l0_counts_latents_that_fire():
    pre, threshold = torch.tensor([[1.0, 0.2], [0.6, 0.7]]), torch.tensor([0.5, 0.5])
    assert l0_penalty(pre, threshold, 0.1, JumpReLU()) == 3
    # L0 is 1.5 a token; with target 3 each of two tokens pays (0.5 - 1)^2.
    assert l0_penalty(pre, threshold, 0.1, JumpReLU(target_l0=3.0)) == 0.5


def test_the_l0_penalty_pushes_thresholds_up_when_too_many_fire():
    pre = torch.tensor([[0.52], [0.48]])
    for target, sign in ((None, -1), (0.1, -1), (5.0, 1)):
        threshold = torch.tensor([0.5], requires_grad=True)
        l0_penalty(pre, threshold, 0.1, JumpReLU(target_l0=target)).backward()
        assert torch.sign(threshold.grad).item() == sign


def test_auxiliary_error_equals_a_loop_and_reaches_the_encoder_of_the_dead_only():
    generator = torch.Generator().manual_seed(1)
    x, residual = (torch.randn(5, w, generator=generator) for w in (4, 3))
    W_enc, b_enc, W_dec = (
        torch.randn(s, generator=generator).requires_grad_() for s in ((8, 4), (8,), (8, 3))
    )
    dead = torch.tensor([True, False, True, True, False, False, True, False])
    error = auxiliary_error(x, residual, (W_enc, b_enc), W_dec, dead, 2, "sum")
    expected = 0.0
    for row, left in zip(x, residual, strict=True):
        pre = {i: (W_enc[i] @ row + b_enc[i]).item() for i in range(8) if dead[i]}
        chosen = sorted(pre, key=lambda i: -pre[i])[:2]
        output = sum(max(pre[i], 0.0) * W_dec[i] for i in chosen)
        expected += (output - left).square().sum().item()
    assert error.item() == pytest.approx(expected, rel=1e-5)
    error.backward()
    for parameter in (W_enc, b_enc, W_dec):
        reached = parameter.grad.reshape(8, -1).abs().sum(1) > 0
        assert reached[dead].sum() >= 3
        assert not reached[~dead].any()
