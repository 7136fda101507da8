import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import SiteError
from lmscope.core.site import Site
from lmscope.models.exclusion import Exclusion

PAD, BOS = 0, 1
SITE = Site("resid_post", 3)


def test_padding_on_the_right_the_first_position_and_special_ids_are_left_out():
    tokens = torch.tensor([[BOS, 5, 6, BOS, 7], [8, 9, BOS, PAD, PAD]])
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    kept = Exclusion().keep_tokens(tokens, mask, {PAD, BOS})
    assert kept.int().tolist() == [[0, 1, 1, 0, 1], [0, 1, 0, 0, 0]]


def test_with_padding_on_the_left_the_first_text_position_is_left_out():
    tokens = torch.tensor([[PAD, PAD, 8, 9, 4]])
    mask = torch.tensor([[False, False, True, True, True]])
    kept = Exclusion().keep_tokens(tokens, mask, {PAD, BOS})
    assert kept.int().tolist() == [[0, 0, 0, 1, 1]]


def test_without_a_mask_all_is_text():
    kept = Exclusion().keep_tokens(torch.tensor([[5, 5, BOS]], dtype=torch.int32), None, [BOS])
    assert kept.int().tolist() == [[0, 1, 0]]


def test_a_row_of_padding_keeps_nothing():
    mask = torch.zeros(1, 3, dtype=torch.bool)
    assert not Exclusion().keep_tokens(torch.tensor([[5, 6, 7]]), mask, []).any()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(0, 4), st.integers(0, 4))
def test_padding_never_changes_which_text_counts(row: list[int], left: int, right: int):
    alone = Exclusion().keep_tokens(torch.tensor([row]), None, {2, 3})
    padded = torch.tensor([[PAD] * left + row + [PAD] * right])
    mask = torch.zeros_like(padded, dtype=torch.bool)
    mask[:, left : left + len(row)] = True
    kept = Exclusion().keep_tokens(padded, mask, {2, 3})
    assert torch.equal(kept[:, left : left + len(row)], alone)
    assert kept.sum() == alone.sum()


def test_a_norm_of_ten_medians_is_in_and_more_is_out():
    exclusion = Exclusion({SITE: 2.0})
    # norms 20 (ten medians), 20.1, 5 (3-4-5), NaN
    x = torch.tensor([[20.0, 0.0], [20.1, 0.0], [3.0, 4.0], [float("nan"), 0.0]])
    assert exclusion.inlier(SITE, x).tolist() == [True, False, True, False]
    assert exclusion.inlier(SITE, x.reshape(2, 2, 2)).shape == (2, 2)
    assert Exclusion({SITE: 2.0}, ratio=2.0).inlier(SITE, x).tolist() == [False] * 2 + [False] * 2


def test_a_site_without_a_median_is_an_error():
    with pytest.raises(
        SiteError, match=r"'resid_post@4' was not measured\. Measured: resid_post@3"
    ):
        Exclusion({SITE: 2.0}).inlier(Site("resid_post", 4), torch.zeros(1, 2))
