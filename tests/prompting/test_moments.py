import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.prompting.moments import clipped_moments, embedding_moments


def everywhere(hidden):
    return torch.ones(hidden.shape[:2], dtype=torch.bool)


def test_moments_of_embeddings_are_those_of_all_entries():
    # Mean of 1, 2, 3, 4 is 2.5; squared distances 2.25, 0.25, 0.25, 2.25 have the mean 1.25.
    assert embedding_moments(torch.tensor([[1.0, 2.0], [3.0, 4.0]])) == (2.5, 1.25**0.5)


def test_one_outlier_is_pulled_in_round_by_round():
    # 99 zeros and one 100: mean 1, variance 100 - 1 = 99. The outlier becomes 1 + 3 * sqrt(99) = 30.8; then the mean
    # is 0.308 and the std 30.8 * sqrt(0.0099) = 3.07, so it becomes 9.5: each round takes it to 0.3085 of what it was.
    hidden = torch.zeros(1, 100, 1)
    hidden[0, 7, 0] = 100.0
    outlier = 100 * (0.01 + 3 * 0.0099**0.5) ** 5
    mean, std = clipped_moments(hidden, everywhere(hidden))
    assert mean == pytest.approx(outlier / 100)
    assert std == pytest.approx(outlier * 0.0099**0.5)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 30))
def test_clipped_moments_equal_a_plain_loop(seed, n, length):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, length, 3, generator=generator) ** 3
    values = hidden.double().numpy().ravel()
    for _ in range(5):
        values = np.clip(values, values.mean() - 3 * values.std(), values.mean() + 3 * values.std())
    mean, std = clipped_moments(hidden, everywhere(hidden))
    assert (mean, std) == pytest.approx((values.mean(), values.std()), rel=1e-5, abs=1e-6)


def test_padding_and_prompt_count_only_where_the_reference_is_followed():
    hidden = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[False, True, True, True, False, False]] * 2)
    changed = hidden.clone()
    changed[~mask] += 1e3
    assert clipped_moments(changed, mask) == clipped_moments(hidden, mask)
    assert clipped_moments(changed, mask, paper_faithful=True).std > 100
    assert clipped_moments(hidden, mask, paper_faithful=True) == clipped_moments(
        hidden, everywhere(hidden)
    )


@given(st.floats(0.01, 100), st.floats(-10, 10))
def test_moments_follow_scale_and_shift(scale, shift):
    hidden = torch.randn(1, 50, 8, generator=torch.Generator().manual_seed(1)).double()
    mean, std = clipped_moments(hidden, everywhere(hidden))
    moved = clipped_moments(hidden * scale + shift, everywhere(hidden))
    assert moved == pytest.approx((mean * scale + shift, std * scale))


def test_a_layer_that_cannot_be_measured_is_refused():
    hidden = torch.ones(1, 3, 2)
    with pytest.raises(DataError, match="No position"):
        clipped_moments(hidden, torch.zeros(1, 3, dtype=torch.bool))
    with pytest.raises(DataError, match="standard deviation of 0"):
        clipped_moments(hidden, everywhere(hidden))
    with pytest.raises(DataError, match="nan"):
        clipped_moments(hidden * torch.nan, everywhere(hidden))
