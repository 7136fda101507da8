import pytest
import torch

from lmscope.activations.calibration import (
    calibration_from_state,
    calibration_state,
    site_statistics,
)
from lmscope.core.errors import DataError
from lmscope.core.site import Site

SITE = Site("resid_post", 14)


def test_outliers_are_counted_and_left_out_of_both_means():
    """Norms 5, 5, 10, 10, 100 (median 10: all are inliers), then one of 101 (above 10 medians)."""
    rows = torch.tensor([[3.0, 4.0], [5.0, 0.0], [0.0, 10.0], [6.0, 8.0], [100.0, 0.0]])
    found = site_statistics(SITE, [rows])
    assert (found.median_norm, found.mean_norm, found.n_outliers) == (10.0, 26.0, 0)
    rows[4, 0] = 101.0
    found = site_statistics(SITE, [rows[:2], rows[2:]])
    assert (found.median_norm, found.mean_norm) == (10.0, 7.5)
    assert (found.n_tokens, found.n_outliers) == (4, 1)
    assert found.mean.tolist() == [3.5, 5.5]


def test_parts_do_not_matter():
    rows = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    whole, cut = site_statistics(SITE, [rows]), site_statistics(SITE, list(rows.split(7)))
    assert whole.median_norm == cut.median_norm
    assert whole.mean_norm == pytest.approx(cut.mean_norm, rel=1e-12)
    torch.testing.assert_close(whole.mean, cut.mean)


def test_values_that_are_not_finite_or_not_there_are_errors():
    with pytest.raises(DataError, match="'resid_post@14' for its calibration are not finite"):
        site_statistics(SITE, [torch.tensor([[1.0, float("inf")]])])
    with pytest.raises(DataError, match="are none: use more text"):
        site_statistics(SITE, [torch.zeros(0, 3)])


def test_state_keeps_everything():
    found = {SITE: site_statistics(SITE, [torch.ones(4, 2)])}
    again = calibration_from_state(calibration_state(found))
    assert again.keys() == found.keys()
    assert torch.equal(again[SITE].mean, found[SITE].mean)
    assert {k: v for k, v in vars(again[SITE]).items() if k != "mean"} == {
        k: v for k, v in vars(found[SITE]).items() if k != "mean"
    }
