"""Frequencies and norms by hand, and the guideline at its edges."""

import pytest
import torch

from lmscope.dictionaries.geometry.statistics import frequencies, histogram, norms
from lmscope.dictionaries.latent_statistics import LatentStatistics


def fired(counts, n_tokens):
    n_fired = torch.tensor(counts)
    return LatentStatistics(
        n_fired=n_fired,
        firing_frequency=n_fired.double() / n_tokens,
        mean_activation=torch.ones(len(counts), dtype=torch.float64),
        max_activation=torch.ones(len(counts)),
    )


def test_shares_by_hand():
    found = frequencies(fired([0, 1, 10_000, 10_001, 50_000], 100_000))
    assert found.n_tokens == 100_000
    assert found.inactive_share == pytest.approx(0.2)
    assert found.ultra_active_share == pytest.approx(0.4)  # more than a tenth, not a tenth
    assert found.inactive_is_fine is False
    assert found.ultra_active_is_fine is False
    assert sum(found.histogram.counts) == 4


def test_few_tokens_excuse_inactive_latents_but_do_not_condemn_them():
    assert frequencies(fired([0, 1, 2], 1000)).inactive_is_fine is None
    assert frequencies(fired([1, 1, 2], 1000)).inactive_is_fine is True
    assert frequencies(fired([0, 0], 1000)).n_tokens == 0


def test_decoder_norms_count_where_they_differ_and_encoder_norms_where_they_are_1():
    decoder, encoder = (
        torch.tensor([[3.0, 4.0], [0.0, 2.0]]),
        torch.tensor([[6.0, 8.0], [0.0, 1.0]]),
    )
    raw = norms(decoder, encoder)
    assert (raw.rows, raw.mean, raw.n_zero) == ("decoder", 3.5, 0)
    assert raw.quantiles["0.5"] == 3.5
    folded = norms(torch.tensor([[0.6, 0.8], [0.0, 0.0]]), encoder)
    assert (folded.rows, folded.mean) == ("encoder", 5.5)


def test_a_row_of_zeros_is_counted_but_has_no_place_in_the_histogram():
    found = norms(torch.tensor([[2.0], [0.0], [4.0]]), torch.ones(3, 1))
    assert found.n_zero == 1
    assert sum(found.histogram.counts) == 2


def test_a_histogram_by_hand():
    found = histogram(torch.tensor([-0.3, 0.0, 0.2, 0.6]).double(), 0.25)
    assert found.edges == (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75)
    assert found.counts == (1, 0, 2, 0, 1)
    assert histogram(torch.empty(0), 0.25).counts == (0,)
