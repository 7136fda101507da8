import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.dictionaries.baselines import (
    LinearBaseline,
    Moments,
    RandomDictionary,
    fit_baselines,
)
from lmscope.dictionaries.config import DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.exclusion import Exclusion

READ, WRITE = Site("mlp_in", 1), Site("mlp_out", 1)


def _config(reads=READ, writes=WRITE, d_read=6, d_write=5, n_latents=20, k=3):
    return DictionaryConfig(
        reads=(str(reads),),
        writes=(str(writes),),
        d_read=d_read,
        d_write=d_write,
        n_latents=n_latents,
        sparsity=TopK(k=k),
    )


def _draw(n, width, seed, offset=0.0):
    draws = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=draws)
    return torch.randn(n, width, generator=draws) @ mix + offset


def _moments(x, y, size=7):
    moments = Moments(x.shape[1], y.shape[1])
    for start in range(0, len(x), size):
        moments.add(x[start : start + size], y[start : start + size])
    return moments


def _explained(y, guess):
    return float(1 - (y - guess).square().sum() / (y - y.mean(0)).square().sum())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.floats(-1000, 1000))
def test_streamed_moments_equal_those_of_the_whole(seed, offset):
    x, y = _draw(40, 4, seed, offset), _draw(40, 3, seed + 1)
    moments = _moments(x, y)
    both = torch.cat([x, y], dim=1).double().T.cov(correction=0)
    assert torch.allclose(moments.covariance(), both[:4, :4], rtol=1e-9)
    assert torch.allclose(moments.cross_covariance(), both[:4, 4:], rtol=1e-7, atol=1e-9)
    assert torch.allclose(moments.mean_x(), x.double().mean(0))
    assert torch.allclose(moments.mean_y(), y.double().mean(0))


@pytest.mark.parametrize("k", [1, 3, 6])
def test_pca_explains_the_share_of_the_largest_eigenvalues(k):
    x = _draw(200, 6, 0, offset=50.0)
    pca = LinearBaseline(_moments(x, x), k, is_transcoder=False)
    eigenvalues = torch.linalg.eigvalsh(x.double().T.cov())
    share = float(eigenvalues[-k:].sum() / eigenvalues.sum())
    assert _explained(x, pca(x)) == pytest.approx(share, abs=1e-5)
    assert pca.n_active == k


def test_pca_equals_a_truncated_singular_value_decomposition():
    x = _draw(100, 6, 1, offset=-3.0)
    u, s, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    expected = x.mean(0) + (u[:, :2] * s[:2]) @ v[:2]
    assert torch.allclose(LinearBaseline(_moments(x, x), 2, False)(x), expected, atol=1e-4)


def test_regression_of_full_rank_is_least_squares():
    x, y = _draw(300, 6, 2, offset=4.0), _draw(300, 5, 3, offset=-2.0)
    y = y + x @ _draw(6, 5, 4)
    design = torch.cat([x, torch.ones(300, 1)], dim=1)
    expected = design @ torch.linalg.lstsq(design, y).solution
    assert torch.allclose(LinearBaseline(_moments(x, y), 5, True)(x), expected, atol=2e-3)


def test_regression_of_one_rank_finds_a_planted_map_of_one_rank():
    x = _draw(300, 6, 5)
    y = x @ torch.outer(torch.arange(6.0), torch.arange(5.0)) + 7
    assert torch.allclose(LinearBaseline(_moments(x, y), 1, True)(x), y, atol=1e-2)


def test_regression_onto_the_same_site_is_pca():
    x = _draw(200, 6, 6)
    pca, regression = (LinearBaseline(_moments(x, x), 2, kind)(x) for kind in (False, True))
    assert torch.allclose(pca, regression, atol=1e-4)


def test_more_components_than_coordinates_are_all_of_them():
    x = _draw(50, 6, 7)
    pca = LinearBaseline(_moments(x, x), 99, False)
    assert pca.n_active == 6
    assert torch.allclose(pca(x), x, atol=1e-4)


def test_a_random_dictionary_keeps_the_k_latents_that_point_most_along_the_input():
    x = _draw(30, 6, 8, offset=2.0)
    config = _config(READ, READ, 6, 6)
    random = RandomDictionary(config, _moments(x, x), k=3, seed=0)
    assert torch.allclose(random.decoder.norm(dim=-1), torch.ones(20))
    assert torch.equal(random.encoder, random.decoder)
    for token, got in zip(x, random(x), strict=True):
        scores = random.decoder @ (token - x.mean(0))
        best = scores.argsort(descending=True)[:3]
        expected = x.mean(0) + sum(max(float(scores[i]), 0.0) * random.decoder[i] for i in best)
        assert torch.allclose(got, expected, atol=1e-4)


def test_no_other_gain_suits_the_random_dictionary_better():
    x = _draw(100, 6, 9, offset=5.0)
    random = RandomDictionary(_config(READ, READ, 6, 6), _moments(x, x), k=3, seed=0)
    random.fit_gain(x, x)
    best = _explained(x, random(x))
    gain = float(random.gain)
    assert gain != 1
    for other in (0.0, 0.99 * gain, 1.01 * gain):
        random.gain.fill_(other)
        assert _explained(x, random(x)) < best


def test_baselines_use_as_many_numbers_as_the_dictionary_has_active():
    x = _draw(64, 6, 10)
    y = _draw(64, 5, 11)
    dictionary = Dictionary(_config()).requires_grad_(False)
    torch.nn.init.normal_(dictionary.W_enc)
    torch.nn.init.normal_(dictionary.W_dec)
    dictionary.b_enc.fill_(100.0)  # every pre-activation is positive: exactly k = 3 fire
    exclusion = Exclusion({READ: 1e6, WRITE: 1e6})
    baselines = fit_baselines(dictionary, [{READ: x, WRITE: y}], exclusion=exclusion)
    assert baselines.l0 == 3
    assert baselines.pca.n_active == baselines.random.n_active == 3
    assert torch.allclose(baselines.mean, y.mean(0), atol=1e-5)
    assert baselines.n_tokens == 64


def test_fitting_stops_at_the_asked_number_of_tokens_and_skips_outliers():
    x, y = torch.ones(10, 6), torch.ones(10, 5)
    x[3] *= 100
    exclusion = Exclusion({READ: 6**0.5, WRITE: 5**0.5})
    drawn = []

    def batches():
        for i in range(5):
            drawn.append(i)
            yield {READ: x, WRITE: y}

    dictionary = Dictionary(_config()).requires_grad_(False)
    baselines = fit_baselines(dictionary, batches(), exclusion=exclusion, n_tokens=18)
    assert baselines.n_tokens == 18
    assert drawn == [0, 1]
    assert torch.allclose(baselines.pca.mean_x, torch.ones(6))


def test_no_training_activations_are_refused():
    with pytest.raises(DataError, match="need training activations"):
        fit_baselines(Dictionary(_config()), [], exclusion=Exclusion({READ: 1.0, WRITE: 1.0}))
