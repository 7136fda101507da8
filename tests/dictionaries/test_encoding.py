import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmscope.dictionaries import products
from lmscope.dictionaries.coarse import Bfloat16Encoder, Int8Encoder, coarse_encoder
from lmscope.dictionaries.encoding import Encoder
from lmscope.dictionaries.selection import select_above, select_batchtopk, select_topk

COARSE = st.sampled_from(["bf16", "int8"])


def problem(seed, n_tokens=60, d=48, n_latents=600):
    """Activations with a large mean, a few huge coordinates and very uneven rows."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_tokens, d, generator=generator)
    x[:, 0] *= 50
    x = x * torch.rand(n_tokens, 1, generator=generator) * 5
    x = x + 30 * torch.randn(d, generator=generator)
    weight = torch.randn(n_latents, d, generator=generator)
    weight *= torch.rand(n_latents, 1, generator=generator) + 0.2
    bias = torch.randn(n_latents, generator=generator) - weight @ x.mean(0)
    norms = torch.rand(n_latents, generator=generator) + 0.5
    return x, weight, bias, norms


def kept(selected):
    """Places and values, in order."""
    pairs = selected.kept
    rows = zip(pairs.token.tolist(), pairs.latent.tolist(), selected.pre.tolist(), strict=True)
    return {(token, latent): pytest.approx(pre, rel=1e-3, abs=1e-2) for token, latent, pre in rows}


def assert_same_choice(fine, coarse, norms, *, across_tokens=False):
    """Equal places and values; of two scores that float32 cannot tell apart either may be kept."""
    mine, other = kept(fine), kept(coarse)
    assert all(mine[place] == other[place] for place in mine.keys() & other.keys())
    left, right = (
        {p: mine[p] for p in mine if p not in other},
        {p: other[p] for p in other if p not in mine},
    )
    scores = [
        sorted(
            (token, value.expected * float(norms[latent])) for (token, latent), value in one.items()
        )
        for one in (left, right)
    ]
    if across_tokens:
        scores = [sorted((0, score) for _, score in one) for one in scores]
    assert [token for token, _ in scores[0]] == [token for token, _ in scores[1]]
    for (_, a), (_, b) in zip(*scores, strict=True):
        assert a == pytest.approx(b, rel=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1, 4, 20, 300]), COARSE)
@example(6561, 4, "bf16")  # the fourth and fifth score of one token differ by less than rounding
def test_a_coarse_product_changes_no_choice_of_topk(seed, k, precision):
    fine = select_topk(*problem(seed), k)
    coarse = select_topk(*problem(seed), k, precision=precision)
    assert_same_choice(fine, coarse, problem(seed)[3])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 3.0, 1e6]), COARSE)
def test_a_coarse_product_changes_no_choice_of_batchtopk(seed, floor, precision):
    fine = select_batchtopk(*problem(seed), 400, floor=floor)
    coarse = select_batchtopk(*problem(seed), 400, floor=floor, precision=precision)
    assert_same_choice(fine, coarse, problem(seed)[3], across_tokens=True)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_a_coarse_product_finds_all_pairs_above_a_floor(seed):
    x, weight, bias, floor = problem(seed)
    over = x.double() @ weight.double().T + bias.double() - 10 * floor.double()
    for precision in ("fp32", "bf16", "int8"):
        found = select_above(x, weight, bias, 10 * floor, most=10**9, precision=precision)
        mask = torch.zeros_like(over, dtype=torch.bool)
        mask[found.kept.token, found.kept.latent] = True
        # Within the rounding of float32 either answer is right.
        assert torch.equal(mask[over.abs() > 1e-2], (over > 0)[over.abs() > 1e-2])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), COARSE)
def test_the_error_stays_within_its_bound(seed, precision):
    x, weight, bias, _ = problem(seed)
    coarse = coarse_encoder(weight, bias, x, precision)
    scores = coarse.scores(x).double()
    exact = x.double() @ weight.double().T + bias.double()
    assert (
        (scores - exact).abs() <= coarse.error(x).double() + scores.abs() * coarse.rounding
    ).all()


def even_problem(seed=0, n_tokens=64, d=256, n_latents=2048):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_tokens, d, generator=generator) + 3 * torch.randn(d, generator=generator)
    weight = torch.randn(n_latents, d, generator=generator)
    return x, weight, torch.randn(n_latents, generator=generator)


def test_int8_codes_serve_even_rows():
    x, weight, bias = even_problem()
    coarse = coarse_encoder(weight, bias, x, "int8")
    assert isinstance(coarse, Int8Encoder)
    scores = coarse.scores(x)
    off = (scores - (x @ weight.T + bias)).abs()
    # Coarse, and yet finer than a fiftieth of what the scores differ by.
    assert 1e-3 < (off.mean() / scores.std()).item() < 0.02


def test_a_token_with_one_huge_number_is_computed_in_float32():
    """In int8 all its other numbers would be zero, and a latent that reads them would be missed."""
    x, weight, bias = even_problem()
    x[5, 7] = 1e3
    weight[:, 7] *= 0.1
    weight[100] = 4 * x[5]
    weight[100, 7] = 0.0
    coarse = coarse_encoder(weight, bias, x, "int8")
    assert isinstance(coarse, Int8Encoder)
    exact = x[5] @ weight.T + bias
    assert torch.allclose(coarse.scores(x)[5], exact, rtol=1e-4, atol=0.1)
    found = Encoder(weight, bias, x, "int8").largest(x, 3)
    expected = Encoder(weight, bias, x, "fp32").largest(x, 3)
    assert torch.equal(found.columns.sort().values, expected.columns.sort().values)


def test_uneven_weights_or_many_uneven_tokens_are_left_to_bfloat16():
    x, weight, bias = even_problem()
    uneven = weight.clone()
    uneven[3] = torch.eye(len(weight[3]))[9]
    assert isinstance(coarse_encoder(uneven, bias, x, "int8"), Bfloat16Encoder)
    x[:20, 7] = 1e5
    assert isinstance(coarse_encoder(weight, bias, x, "int8"), Bfloat16Encoder)


def test_rows_of_zeros_have_scores_too():
    x, weight, bias = even_problem()
    weight[4] = 0.0
    x[:] = x[0]
    coarse = coarse_encoder(weight, bias, x, "int8")
    assert isinstance(coarse, Int8Encoder)
    exact = x.double() @ weight.double().T + bias
    assert ((coarse.scores(x) - exact).abs() <= coarse.error(x)).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_chunks_change_nothing(precision, monkeypatch):
    x, weight, bias, norms = problem(3)
    whole = select_topk(x, weight, bias, norms, 5, precision=precision)
    batch = select_batchtopk(x, weight, bias, norms, 200, precision=precision)
    monkeypatch.setattr(products, "CHUNK_TOKENS", 7)
    assert kept(select_topk(x, weight, bias, norms, 5, precision=precision)) == kept(whole)
    again = select_batchtopk(x, weight, bias, norms, 200, precision=precision)
    assert kept(again) == kept(batch)


def test_too_many_pairs_above_a_floor_are_not_listed():
    x, weight, bias, _ = problem(4)
    n_above = int((x @ weight.T + bias > 0).sum())
    zeros = torch.zeros(len(weight))
    assert select_above(x, weight, bias, zeros, most=n_above - 1) is None
    assert len(select_above(x, weight, bias, zeros, most=n_above).pre) == n_above


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_no_tokens_keep_nothing(precision):
    x, weight, bias, norms = problem(5)
    assert not len(select_topk(x[:0], weight, bias, norms, 5, precision=precision).pre)
    assert not len(select_batchtopk(x[:0], weight, bias, norms, 0, precision=precision).pre)


def test_other_processes_have_a_say():
    x, weight, bias, norms = problem(6)
    alone = select_topk(x, weight, bias, norms, 5)
    some = select_topk(x, weight, bias, norms, 5, lambda scores: scores > scores.median())
    assert kept(some).keys() < kept(alone).keys()
    assert some.kept.first.shape == (len(x),)
    assert some.kept.token.tolist() == sorted(some.kept.token.tolist())
