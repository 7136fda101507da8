import pytest
import torch

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.latent_statistics import LatentStatistics, LatentTally
from lmscope.dictionaries.sparsity import SparseLatents, sparse


def _dense(n_tokens=500, n_latents=12, seed=0):
    draws = torch.Generator().manual_seed(seed)
    rate = torch.linspace(0, 1, n_latents)
    fires = torch.rand(n_tokens, n_latents, generator=draws) < rate
    return torch.rand(n_tokens, n_latents, generator=draws).add(0.1) * fires


def _tally(dense, size=64):
    tally = LatentTally(dense.shape[1])
    for part in dense.split(size):
        tally.add(sparse(part))
    return tally


def test_streamed_figures_equal_those_of_the_whole():
    dense = _dense()
    statistics = _tally(dense).statistics()
    fired = (dense > 0).sum(0)
    assert torch.equal(statistics.n_fired, fired)
    assert torch.equal(statistics.firing_frequency, fired.double() / 500)
    expected = dense.double().sum(0) / fired.clamp(min=1)
    assert torch.allclose(statistics.mean_activation, expected)
    assert torch.equal(statistics.max_activation, dense.amax(0))
    assert fired[0] == 0
    assert statistics.mean_activation[0] == 0


def test_free_places_of_a_sparse_token_do_not_fire():
    # Two tokens of k = 2: the second has one latent only; its free place points at latent 0.
    latents = SparseLatents(torch.tensor([[1, 2], [1, 0]]), torch.tensor([[3.0, 4.0], [5.0, 0.0]]))
    tally = LatentTally(4)
    assert tally.add(latents).tolist() == [2, 1]
    assert tally.statistics().n_fired.tolist() == [0, 2, 1, 0]
    assert tally.statistics().mean_activation.tolist() == [0, 4, 4, 0]


def test_l0_quantiles_and_histogram_follow_the_counts():
    # L0 of 100 tokens: one each of 0 .. 99 (latent i fires on the tokens above i).
    dense = torch.ones(100, 100).tril(-1)
    tally = _tally(dense)
    assert tally.l0_quantiles() == {
        "0.01": 0, "0.05": 4, "0.25": 24, "0.5": 49, "0.75": 74, "0.95": 94, "0.99": 98,
    }  # fmt: skip
    histogram = tally.l0_histogram(max_bins=40)  # 100 values in bins 3 wide: 34 bins, the last of 1
    assert histogram.counts == (3,) * 33 + (1,)
    assert histogram.edges[:3] == (0, 3, 6)
    assert len(histogram.edges) == 35


def test_frequency_histogram_counts_every_living_latent_once():
    # 1000 tokens; latents fire on 0, 1, 10, 100 and 1000 of them: log10 = -, -3, -2, -1, 0.
    dense = torch.zeros(1000, 5)
    for latent, n in enumerate((0, 1, 10, 100, 1000)):
        dense[:n, latent] = 1.0
    histogram = _tally(dense).frequency_histogram(bins_per_decade=1)
    assert histogram.edges == (-3, -2, -1, 0)
    assert histogram.counts == (1, 1, 2)


def test_statistics_survive_the_disk(tmp_path):
    statistics = _tally(_dense()).statistics()
    statistics.save(tmp_path / "latents.safetensors")
    loaded = LatentStatistics.load(tmp_path / "latents.safetensors")
    assert torch.equal(loaded.mean_activation, statistics.mean_activation)
    assert torch.equal(loaded.n_fired, statistics.n_fired)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "latents.safetensors"
    with pytest.raises(ArtifactError, match="no latent statistics at"):
        LatentStatistics.load(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(ArtifactError, match="holds no latent statistics"):
        LatentStatistics.load(path)
