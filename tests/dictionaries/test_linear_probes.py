import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError
from lmscope.dictionaries.linear_probes import LinearProbes, probe_f1


def planted(n=2000, width=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, width, generator=draw) + 3
    return x, np.column_stack(
        [(x[:, 0] > 3.5).numpy(), (torch.rand(n, generator=draw) < 0.2).numpy()]
    )


def test_a_direction_is_found_and_noise_is_not():
    x, labels = planted()
    probes = LinearProbes.fit(x[:1000], labels[:1000])
    scores = probes.scores(x)
    f1 = probe_f1(scores[:1000], labels[:1000], scores[1000:], labels[1000:])
    assert f1[0] > 0.97
    assert f1[1] < 0.4  # always yes has 1/3
    direction = probes.weight[:, 0]
    assert abs(direction[0]) > 10 * direction[1:].abs().max()


def test_weights_are_those_of_least_squares():
    x, labels = planted(200)
    probes = LinearProbes.fit(x, labels, ridge=0.0)
    design = np.column_stack([x.double().numpy(), np.ones(200)])
    expected = np.linalg.lstsq(design, labels.astype(float), rcond=None)[0]
    np.testing.assert_allclose(probes.weight.numpy(), expected[:-1], atol=1e-5)
    np.testing.assert_allclose(probes.bias.numpy(), expected[-1], atol=1e-5)


def test_a_direction_without_variance_does_no_harm():
    x, labels = planted(200)
    probes = LinearProbes.fit(torch.cat([x, torch.ones(200, 1)], 1), labels)
    assert torch.isfinite(probes.scores(torch.cat([x, torch.ones(200, 1)], 1))).all()


def test_the_threshold_is_the_best_one_by_trying_all():
    draw = torch.Generator().manual_seed(1)
    scores = torch.randn(30, 3, generator=draw).round(decimals=1)  # with ties
    labels = (torch.rand(30, 3, generator=draw) < 0.4).numpy()
    found = probe_f1(scores, labels, scores, labels)
    for i in range(3):
        tried = []
        for cut in [*scores[:, i].tolist(), -10.0]:
            says = (scores[:, i] > cut).numpy()
            tried.append(2 * (says & labels[:, i]).sum() / (says.sum() + labels[:, i].sum()))
        assert found[i] == pytest.approx(max(tried))


def test_nothing_cannot_be_fitted():
    with pytest.raises(DataError, match="at least one token"):
        LinearProbes.fit(torch.ones(0, 2), np.ones((0, 1), dtype=bool))
