import pytest
import torch

from lmscope.core.errors import DataError, RecipeError
from lmscope.dictionaries import thresholds
from lmscope.dictionaries.config import BatchTopK, JumpReLU, ReLU, TopK
from lmscope.dictionaries.thresholds import calibrate_threshold


@pytest.mark.parametrize("rows_at_once", [7, 1024])
@pytest.mark.parametrize("sparsity", [TopK(k=3), BatchTopK(k=3)], ids=lambda s: s.kind)
def test_the_threshold_is_the_nk_th_largest_folded_value(
    make_dictionary, monkeypatch, rows_at_once, sparsity
):
    monkeypatch.setattr(thresholds, "_ROWS_AT_ONCE", rows_at_once)
    dictionary = make_dictionary(sparsity, d_write=4)
    x = torch.randn(100, 6, dtype=torch.float64)
    found = calibrate_threshold(dictionary, x)
    values = sorted(dictionary.fold().pre_activations(x).clamp(min=0).flatten().tolist())
    assert found.threshold.tolist() == pytest.approx([values[-300]] * 20, rel=1e-12)
    assert isinstance(found.config.sparsity, JumpReLU)
    # All but the threshold itself lie above it; rounding may put it there too.
    assert (found.encode(x) > 0).sum() in (299, 300)


def test_the_gate_in_training_units_is_the_papers(make_dictionary):
    # gate = pre * ||W_dec|| > threshold * scale_out, pre and W_dec in training units.
    dictionary = make_dictionary(TopK(k=3), d_write=4)
    x = torch.randn(100, 6, dtype=torch.float64)
    found = calibrate_threshold(dictionary, x)
    score = dictionary.pre_activations(x) * dictionary.W_dec.norm(dim=1)
    gate = score > found.threshold * dictionary.scale_out * (1 + 1e-12)
    assert torch.equal(found.encode(x) > 0, gate)


def test_an_l0_can_be_asked_of_any_dictionary(make_dictionary):
    x = torch.randn(200, 6, dtype=torch.float64)
    found = calibrate_threshold(make_dictionary(ReLU()), x, l0=2.5)
    assert (found.encode(x) > 0).sum() in (499, 500)


def test_too_few_positive_values_all_fire(make_dictionary):
    dictionary = make_dictionary(ReLU())
    x = torch.randn(20, 6, dtype=torch.float64)
    found = calibrate_threshold(dictionary, x, l0=20.0)
    torch.testing.assert_close(found(x), dictionary(x))


def test_wrong_requests_are_refused(make_dictionary):
    x = torch.randn(5, 6, dtype=torch.float64)
    with pytest.raises(RecipeError, match="relu dictionary has no k"):
        calibrate_threshold(make_dictionary(ReLU()), x)
    with pytest.raises(RecipeError, match=r"l0 = 21\.0 cannot"):
        calibrate_threshold(make_dictionary(ReLU()), x, l0=21.0)
    with pytest.raises(DataError, match="no token"):
        calibrate_threshold(make_dictionary(TopK(k=2)), x[:0])
