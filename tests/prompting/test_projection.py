import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import RecipeError
from lmscope.prompting.config import ProjectionConfig
from lmscope.prompting.moments import Moments
from lmscope.prompting.projection import Projection

LAWS = ("normal", "uniform", "rademacher-sparse", "formula2022")
SCALED = LAWS[:3]


def projection(law="normal", storage="dense", d=40, n_prompt=7, d_model=150, **changes):
    values = {"moments": Moments(0.1, 2.0), "seed": 5, "name": "resid_pre@3"} | changes
    moments, alpha = values.pop("moments"), values.pop("alpha", 1.0)
    config = ProjectionConfig(d_subspace=d, law=law, storage=storage, alpha=alpha)
    return Projection(config, n_prompt, d_model, moments, **values)


def candidates(n, d=40, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("law", LAWS)
def test_zeros_add_nothing(law):
    assert not projection(law).apply(torch.zeros(2, 40)).any()


@pytest.mark.parametrize("law", SCALED)
@pytest.mark.parametrize("sigma", [1.0, 0.2])
def test_values_have_alpha_times_the_layers_deviation_whatever_sigma_is(law, sigma):
    made = projection(law, d=100, d_model=600, sigma=sigma, alpha=0.5)
    values = made.apply(sigma * candidates(200, 100))
    assert float(values.std()) == pytest.approx(0.5 * 2.0, rel=0.01)


@pytest.mark.parametrize("law", LAWS)
def test_a_kept_matrix_and_one_drawn_anew_are_the_same_bit_for_bit(law):
    kept, drawn = projection(law, "dense"), projection(law, "blocks")
    z = candidates(3)
    assert kept.is_kept
    assert not drawn.is_kept
    assert torch.equal(kept.matrix(), drawn.matrix())
    assert torch.equal(kept.apply(z), drawn.apply(z))
    assert torch.equal(drawn.apply(z), drawn.apply(z))


@pytest.mark.parametrize("law", LAWS)
@given(st.integers(1, 23), st.integers(1, 70), st.data())
def test_a_candidates_values_are_the_same_in_any_company(law, n, d, data):
    z = candidates(n, d)
    made = projection(law, d=d, d_model=90, moments=Moments(0.1, 0.5))
    chosen = data.draw(st.integers(0, n - 1))
    assert torch.equal(made.apply(z)[chosen], made.apply(z[chosen : chosen + 1])[0])
    assert torch.equal(made.apply(z.flip(0)).flip(0), made.apply(z))


@pytest.mark.parametrize("law", LAWS)
def test_values_equal_a_plain_product_row_by_row(law):
    made, z = projection(law), candidates(4)
    expected = (z.double() @ made.matrix().double().T).view(4, 7, 150)
    torch.testing.assert_close(made.apply(z).double(), expected, rtol=1e-5, atol=1e-5)


def test_numbers_of_double_precision_are_rounded_first():
    made, z = projection(), candidates(2).double() + 1e-12
    assert torch.equal(made.apply(z), made.apply(z.float()))


@pytest.mark.parametrize("law", SCALED)
def test_a_smaller_sigma_makes_the_matrix_as_much_larger(law):
    ones, fifths = projection(law).matrix(), projection(law, sigma=0.2).matrix()
    torch.testing.assert_close(fifths, 5 * ones)


def test_seeds_and_names_give_matrices_that_have_nothing_in_common():
    first = projection().matrix().flatten()
    for other in (projection(seed=6), projection(name="resid_pre@4")):
        both = torch.stack([first, other.matrix().flatten()])
        assert abs(float(both.corrcoef()[0, 1])) < 0.03


def test_blocks_have_nothing_in_common():
    matrix = projection().matrix()
    assert (
        abs(float(torch.stack([matrix[:500], matrix[512:1012]]).flatten(1).corrcoef()[0, 1])) < 0.03
    )


def test_a_sparse_row_has_one_entry_of_one_size_in_each_stretch_of_columns():
    # 6 entries for 40 columns, of the size 2 / sqrt(40) * sqrt(40 / 6); stretches begin at 0 6 13 20 26 33.
    matrix = projection("rademacher-sparse").matrix()
    for first, end in ((0, 6), (6, 13), (13, 20), (20, 26), (26, 33), (33, 40)):
        assert ((matrix[:, first:end] != 0).sum(1) == 1).all()
        assert ((matrix[:, first:end] != 0).sum(0) > 100).all()
    sizes = matrix[matrix != 0].abs()
    torch.testing.assert_close(sizes, torch.full_like(sizes, 2 / math.sqrt(6)))
    assert abs(float(matrix.sign().sum())) < 4 * math.sqrt(len(sizes))


def test_uniform_entries_fill_the_interval_of_their_deviation():
    entries, edge = projection("uniform").matrix(), 2 / math.sqrt(40) * math.sqrt(3)
    assert float(entries.max()) == pytest.approx(edge, rel=1e-3)
    assert float(entries.min()) == pytest.approx(-edge, rel=1e-3)


def test_the_formula_of_2022_gives_its_mean_and_deviation():
    # mean 3 / (8 - 2^2) = 0.75, deviation 2 / sqrt(8 - 2^2) = 1.
    made = projection("formula2022", d=8, moments=Moments(3.0, 2.0), d_model=1000)
    assert made.entry == (0.75, 1.0)
    assert float(made.matrix().mean()) == pytest.approx(0.75, abs=0.02)
    assert float(made.matrix().std()) == pytest.approx(1.0, abs=0.02)


def test_the_formula_of_2022_is_refused_for_a_layer_of_large_values():
    with pytest.raises(RecipeError, match=r"formula2022.*'resid_pre@3' it is 9"):
        projection("formula2022", d=8, moments=Moments(0.0, 3.0))


def test_a_tuned_prompt_is_its_numbers_and_a_seed_for_ever():
    # Other values here mean that prompts which were tuned before can no longer be made from their numbers.
    entries = projection(d=40).matrix()[[0, 600], 0].tolist()
    assert entries == pytest.approx([-0.36964184, -0.34257501], rel=1e-6)
    entries = projection("rademacher-sparse").matrix()[0].nonzero().flatten().tolist()
    assert entries == [4, 12, 19, 25, 32, 37]


def test_a_matrix_is_kept_where_those_of_all_layers_fit():
    # 1050 rows of 40 float32: 168,000 bytes, so 6 fit in a mebibyte (1,048,576) and 7 do not.
    config = ProjectionConfig(d_subspace=40, memory_mib=1)
    moments = Moments(0.0, 1.0)
    for n_beside, kept in ((1, True), (6, True), (7, False)):
        made = Projection(config, 7, 150, moments, seed=0, name="x", n_beside=n_beside)
        assert made.n_bytes == 168_000
        assert made.is_kept == kept


def test_no_candidates_give_no_values():
    assert projection().apply(torch.zeros(0, 40)).shape == (0, 7, 150)


def test_candidates_of_other_numbers_are_refused():
    with pytest.raises(RecipeError, match=r"41 numbers .* 'resid_pre@3' of 40"):
        projection().apply(torch.zeros(1, 41))


def test_gradients_pass_through():
    z = candidates(2).requires_grad_()
    made = projection()
    made.apply(z).sum().backward()
    torch.testing.assert_close(z.grad, made.matrix().sum(0).expand(2, -1), rtol=1e-4, atol=1e-4)
