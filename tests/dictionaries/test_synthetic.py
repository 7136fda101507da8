import pytest
import torch

from lmscope.core.rng import generator
from lmscope.dictionaries.synthetic import mean_max_cosine, plant


@pytest.mark.parametrize("zipf", [0.0, 1.0])
def test_features_have_norm_one_and_fire_as_often_as_asked(zipf):
    planted = plant(40, 16, 2.5, generator(0, "plant"), zipf=zipf)
    torch.testing.assert_close(planted.features.norm(dim=1), torch.ones(40))
    assert planted.probability.sum().item() == pytest.approx(2.5, rel=1e-5)
    first, second = planted.probability[:2].tolist()
    assert first / second == pytest.approx(2.0**zipf)


def test_samples_are_sums_of_few_features():
    planted = plant(16, 16, 2.0, generator(1, "plant"))
    x = planted.sample(4000, generator(1, "sample"))
    # As many features as coordinates: strengths follow by solving, and lie in 0 or [0.5, 1.5].
    strength = torch.linalg.solve(planted.features.double().T, x.double().T).T
    fires = strength > 0.25
    assert fires.sum(1).double().mean().item() == pytest.approx(2.0, abs=0.1)
    assert strength[~fires].abs().max() < 1e-3
    assert 0.499 < strength[fires].min() < strength[fires].max() < 1.501


def test_equal_streams_give_equal_samples():
    one, two = (plant(5, 4, 1.0, generator(3, "p")).sample(9, generator(3, "s")) for _ in range(2))
    assert torch.equal(one, two)


def test_mean_max_cosine_by_hand():
    # The first feature is found exactly (at another length), the second at 45 degrees.
    truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    W = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    assert mean_max_cosine(W, truth) == pytest.approx((1 + 0.5**0.5) / 2)
