"""Best partners and blocks of cosines, against the whole matrix."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.dictionaries.geometry.cosines import best_in, best_partners, cosine_blocks, unit_rows


def draw(n, width, seed):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 10), st.integers(0, 5))
def test_any_block_size_gives_what_the_whole_matrix_gives(n_a, n_b, block_rows, seed):
    a, b = draw(n_a, 4, seed), draw(n_b, 4, seed + 100)
    whole = torch.cosine_similarity(a[:, None], b[None], dim=2)
    of_a, of_b = best_partners(a, b, block_rows)
    torch.testing.assert_close(of_a.cosine, whole.max(1).values)
    torch.testing.assert_close(of_b.cosine, whole.max(0).values)
    assert of_a.partner.equal(whole.argmax(1))
    assert of_b.partner.equal(whole.argmax(0))
    assert best_in(a, b, block_rows).partner.equal(of_a.partner)


def test_a_best_partner_by_hand():
    # a0 lies on b1; a1 is opposite to b1 and at right angles to b0.
    a, b = torch.tensor([[0.0, 2.0], [0.0, -3.0]]), torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    of_a, of_b = best_partners(a, b)
    assert of_a.cosine.tolist() == [1.0, 0.0]
    assert of_a.partner.tolist() == [1, 0]
    assert of_b.cosine.tolist() == [0.0, 1.0]
    assert of_b.partner.tolist() == [0, 0]


def test_of_equally_near_partners_the_first_stays_whatever_the_blocks():
    a, b = torch.ones(1, 3), torch.ones(7, 3)
    assert [best_in(a, b, n).partner.item() for n in (1, 2, 7)] == [0, 0, 0]


def test_no_block_is_larger_than_asked():
    sizes = [tuple(block.cosine.shape) for block in cosine_blocks(draw(10, 3, 0), draw(5, 3, 1), 4)]
    assert max(max(size) for size in sizes) == 4
    assert sum(height * width for height, width in sizes) == 50


def test_a_row_of_zeros_is_at_right_angles_to_everything():
    assert best_in(torch.zeros(1, 2), torch.eye(2)).cosine.item() == 0
    assert unit_rows(torch.tensor([[3.0, 4.0]], dtype=torch.bfloat16)).tolist() == [
        pytest.approx([0.6, 0.8])
    ]


def test_what_cannot_be_compared_is_named():
    with pytest.raises(DataError, match="Rows of 3 and of 4 coordinates"):
        best_in(draw(2, 3, 0), draw(2, 4, 0))
    with pytest.raises(DataError, match="no latent to compare"):
        best_in(draw(2, 3, 0), torch.empty(0, 3))
    with pytest.raises(DataError, match="Row 1 of the weights holds NaN"):
        best_in(torch.tensor([[1.0], [torch.nan]]), torch.ones(1, 1))
