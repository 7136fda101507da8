"""Effects on the next token: measured ones against plain passes, direct ones against the last layer."""

import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError, ModelError
from lmscope.core.site import Site
from lmscope.dictionaries.config import TopK
from lmscope.dictionaries.logit_effects import direct_logits, logit_effect
from lmscope.dictionaries.steering import Steering, activate
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.models.registry import known_families


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return miniature("llama", num_hidden_layers=5)


@pytest.fixture
def sae(make_dictionary):
    return make_dictionary(TopK(k=4), d_read=32, n_latents=40, dtype=torch.float32)


def test_an_effect_is_a_clean_and_an_edited_pass(model, sae) -> None:
    batch = model.batch("The quick")
    steering = Steering(model, sae, [activate(7, 5.0)])
    found = logit_effect(model, batch, steering)
    with model.edit(steering.edits(batch)):
        edited = model(batch).logits[0, -1].log_softmax(-1)
    np.testing.assert_array_equal(found.edited, edited.numpy())
    np.testing.assert_array_equal(found.clean, model(batch).logits[0, -1].log_softmax(-1).numpy())
    assert found.position == batch.shape[1] - 1
    p, q = np.exp(found.clean), np.exp(found.edited)
    assert found.kl == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-3)
    assert found.kl > 0.01


def test_raised_tokens_gain_most_probability_and_lowered_ones_lose_most(model, sae) -> None:
    found = logit_effect(model, model.batch("The quick"), Steering(model, sae, [activate(7, 5.0)]))
    gain = np.exp(found.edited) - np.exp(found.clean)
    raised, lowered = found.raised(3), found.raised(3, lowered=True)
    assert [one.token for one in raised] == np.argsort(-gain)[:3].tolist()
    assert [one.token for one in lowered] == np.argsort(gain)[:3].tolist()
    assert raised[0].edited - raised[0].clean == pytest.approx(float(gain.max()), rel=1e-4)
    assert raised[0].log_ratio > 0 > lowered[0].log_ratio


def test_a_position_before_the_last_can_be_asked(model, sae) -> None:
    batch, steering = model.batch("The quick"), Steering(model, sae, [activate(7, 5.0)])
    assert logit_effect(model, batch, steering, 0).kl == 0  # the first position stays clean
    assert logit_effect(model, batch, steering, 3).kl > 0
    with pytest.raises(DataError, match="no position 99"):
        logit_effect(model, batch, steering, 99)


def test_several_rows_are_refused(model, sae) -> None:
    with pytest.raises(DataError, match="one row at a time; 2 were given"):
        logit_effect(model, model.batch(["a", "b"]), Steering(model, sae, [activate(7, 5.0)]))


@pytest.mark.parametrize("family", sorted(n for n, f in known_families().items() if f.causal))
def test_the_direct_effect_is_the_derivative_with_the_norm_held(family: str) -> None:
    model = miniature(family)
    batch = model.batch("The quick")
    last = Site("resid_post", model.n_layers - 1)
    x = model.read(batch, [last])[last][0, -1].double()
    d = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    found = direct_logits(model, last, d, x.float())
    norm = model.weights.norm("final")
    centre = norm.style.kind == "layer"
    scale = 1 / ((x - x.mean() * centre).pow(2).mean() + norm.eps).sqrt()
    for i in range(2):  # logit by logit, by the definition
        moved = (d[i].double() - d[i].double().mean() * centre) * scale * norm.gain.double()
        expected = torch.stack([moved @ column for column in model.weights.W_U.double().T])
        torch.testing.assert_close(found[i].double(), expected, rtol=1e-4, atol=1e-5)


def test_a_direction_across_the_residual_value_has_the_direct_effect_in_a_real_pass() -> None:
    # At the last layer nothing stands between: a small vector orthogonal to the value leaves an RMS
    # norm's size as it is to first order, so the logits move by the direct effect alone.
    model = miniature("llama")
    batch, last = model.batch("The quick"), Site("resid_post", 2)
    x = model.read(batch, [last])[last][0, -1]
    d = torch.randn(32, generator=torch.Generator().manual_seed(0))
    d = (d - (d @ x) / (x @ x) * x) * 1e-2 * x.norm() / d.norm()
    clean = model(batch).logits[0, -1]
    with model.edit({last: lambda value, at: value + d}):
        moved = model(batch).logits[0, -1] - clean
    expected = direct_logits(model, last, d[None], x)[0]
    torch.testing.assert_close(moved, expected, rtol=0.02, atol=float(expected.abs().max()) * 0.01)


def test_a_site_off_the_residual_stream_has_no_direct_path(model) -> None:
    with pytest.raises(ModelError, match="no direct path to the logits"):
        direct_logits(model, Site("mlp_hidden", 1), torch.ones(1, 32), torch.ones(32))
