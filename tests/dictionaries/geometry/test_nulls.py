"""Random rows have the moments that their kind promises."""

import torch

from lmscope.core.rng import generator
from lmscope.dictionaries.geometry.nulls import moments, null_rows

WIDTH = 6


def leaning():
    """Rows with a mean direction and two coordinates that hardly vary."""
    noise = torch.randn(4000, WIDTH, generator=generator(0, "rows"))
    return noise * torch.tensor([3.0, 1.0, 1.0, 1.0, 0.1, 0.1]) + torch.eye(WIDTH)[1] * 2


def test_rows_of_both_kinds_have_norm_1_and_come_again():
    for kind in ("isotropic", "moments"):
        rows = null_rows(leaning(), kind, 7, generator(1, kind))
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(7))
        assert rows.equal(null_rows(leaning(), kind, 7, generator(1, kind)))


def test_moments_are_those_of_unit_rows():
    # Unit rows (1, 0) and (0.6, 0.8): mean (0.8, 0.4), half differences (0.2, -0.4), whatever the norms.
    found = moments(torch.tensor([[5.0, 0.0], [3.0, 4.0]]))
    expected = torch.tensor([[0.04, -0.08], [-0.08, 0.16]], dtype=torch.float64)
    torch.testing.assert_close(found.mean, torch.tensor([0.8, 0.4]).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(found.covariance, expected, atol=1e-7, rtol=0)


def test_isotropic_rows_lean_nowhere_and_the_others_lean_as_the_dictionary():
    rows = leaning()
    true = moments(rows)
    isotropic = moments(null_rows(rows, "isotropic", 20_000, generator(2)))
    identity = torch.eye(WIDTH).double() / WIDTH
    torch.testing.assert_close(isotropic.covariance, identity, atol=0.01, rtol=0)
    assert isotropic.mean.norm() < 0.02
    matched = moments(null_rows(rows, "moments", 20_000, generator(3)))
    # Rows are brought to norm 1 after drawing, so the moments are near the dictionary's, not equal.
    assert (matched.mean - true.mean).norm() < 0.15 * true.mean.norm()
    assert (matched.covariance - true.covariance).norm() < 0.25 * true.covariance.norm()
    assert (isotropic.covariance - true.covariance).norm() > 0.4 * true.covariance.norm()


def test_rows_in_a_subspace_have_a_null_in_the_same_subspace():
    rows = torch.randn(50, 2, generator=generator(4)) @ torch.eye(2, WIDTH)
    assert null_rows(rows, "moments", 9, generator(5))[:, 2:].abs().max() < 1e-5
