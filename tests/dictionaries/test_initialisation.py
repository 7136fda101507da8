from dataclasses import dataclass, field
from math import sqrt

import pytest
import torch

from lmscope.core.errors import DataError, RecipeError
from lmscope.core.rng import generator
from lmscope.dictionaries.config import Initialisation, TopK
from lmscope.dictionaries.initialisation import initialise


@dataclass
class Statistics:
    mean_norm: float = 10.0
    mean: torch.Tensor = field(default_factory=lambda: torch.arange(6.0))


def start(config, *, read=None, write=None, seed=0, **options):
    stream = generator(seed, "test")
    return initialise(
        config, Initialisation(**options), read or Statistics(), write or Statistics(), stream
    )


@pytest.mark.parametrize(
    # expansion 48 / 6 = 8: the paper's sqrt(2 / 8) is 0.5, at expansion 2 it is 1.
    ("n_latents", "choice", "norm"),
    [(48, "paper", 0.5), (12, "paper", 1.0), (12, "script", 0.5), (12, 0.1, 0.1)],
)
def test_decoder_rows_have_the_norm_that_was_asked_for(make_config, n_latents, choice, norm):
    dictionary = start(make_config(TopK(k=2), n_latents=n_latents), decoder_norm=choice)
    torch.testing.assert_close(dictionary.W_dec.norm(dim=1), torch.full((n_latents,), norm))


def test_the_encoder_of_an_sae_starts_as_its_decoder(make_config):
    sae = start(make_config(TopK(k=2)))
    assert torch.equal(sae.W_enc, sae.W_dec)
    assert not torch.equal(
        *[
            getattr(start(make_config(TopK(k=2)), encoder="independent"), w)
            for w in ("W_enc", "W_dec")
        ]
    )


def test_the_mean_input_excites_no_latent_at_the_start(make_config):
    for config in (make_config(TopK(k=2)), make_config(TopK(k=2), apply_b_dec_to_input=True)):
        pre = start(config).pre_activations(Statistics().mean)
        torch.testing.assert_close(pre, torch.zeros_like(pre), atol=1e-5, rtol=0)
    assert not start(make_config(TopK(k=2)), b_enc="zero").b_enc.any()
    assert not start(make_config(TopK(k=2), apply_b_dec_to_input=True)).b_enc.any()


def test_the_encoder_of_a_transcoder_is_drawn_alone(make_config):
    transcoder = start(make_config(TopK(k=2), d_write=6))
    assert not torch.equal(transcoder.W_enc, transcoder.W_dec)
    assert torch.equal(
        *[
            getattr(start(make_config(TopK(k=2), d_write=6), encoder="decoder"), w)
            for w in ("W_enc", "W_dec")
        ]
    )
    with pytest.raises(RecipeError, match="encoder = 'independent'"):
        start(make_config(TopK(k=2), d_write=5), write=Statistics(), encoder="decoder")


def test_scales_give_a_mean_activation_the_norm_of_its_width(make_config):
    config = make_config(TopK(k=2), d_write=4)
    dictionary = start(config, read=Statistics(3.0), write=Statistics(5.0, torch.zeros(4)))
    assert dictionary.scale_in.item() == pytest.approx(sqrt(6) / 3)
    assert dictionary.scale_out.item() == pytest.approx(sqrt(4) / 5)
    raw = start(make_config(TopK(k=2), normalisation="none"))
    assert raw.scale_in == raw.scale_out == 1


def test_b_dec_starts_at_the_mean_unless_asked_for_zero(make_config):
    assert not start(make_config(TopK(k=2)), b_dec="zero").b_dec.any()
    dictionary = start(make_config(TopK(k=2)))
    # With no latent firing the reconstruction is the raw mean.
    torch.testing.assert_close(dictionary.decode(torch.zeros(1, 20))[0], torch.arange(6.0))


def test_equal_seeds_give_equal_weights(make_config):
    one, two, other = (start(make_config(TopK(k=2)), seed=s) for s in (1, 1, 2))
    assert torch.equal(one.W_dec, two.W_dec)
    assert not torch.equal(one.W_dec, other.W_dec)


@pytest.mark.parametrize("norm", [0.0, float("nan"), float("inf")])
def test_activations_without_a_norm_are_refused(make_config, norm):
    with pytest.raises(DataError, match=r"'resid_post@3' have a mean norm of"):
        start(make_config(TopK(k=2)), read=Statistics(norm))
