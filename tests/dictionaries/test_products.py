import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.dictionaries.pairs import Kept, by_latent, dot_pairs, keep_pairs, sum_pairs
from lmscope.dictionaries.products import (
    decode_rows,
    linear,
    sparse_autoencode,
    step_buffer_bytes,
)
from lmscope.dictionaries.selection import select_batchtopk, select_topk
from lmscope.dictionaries.sparsity import batchtopk, topk


def weights(seed, n_tokens, d_read, d_write, n_latents, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n_tokens, d_read), (n_latents, d_read), (n_latents,), (n_latents, d_write)]
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]


def dense(kind, x, W_enc, b_enc, W_dec, k):
    """What everyone writes first: every product dense, gradients by autograd."""
    pre = x @ W_enc.T + b_enc
    norms = W_dec.detach().norm(dim=1)
    return (topk if kind == "topk" else batchtopk)(pre, norms, k) @ W_dec


def fast(kind, x, W_enc, b_enc, W_dec, k):
    encoder = x, W_enc, b_enc, W_dec.detach().norm(dim=1)
    if kind == "topk":
        selected = select_topk(*encoder, k)
    else:
        selected = select_batchtopk(*encoder, len(x) * k)
    return sparse_autoencode(x, W_enc, b_enc, W_dec, selected)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["topk", "batchtopk"]),
    st.integers(0, 2**31),
    st.integers(0, 7),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 9),
    st.data(),
)
def test_outputs_and_gradients_equal_dense_autograd(kind, seed, n, d_read, d_write, f, data):
    k = data.draw(st.integers(1, f))
    inputs = weights(seed, n, d_read, d_write, f)
    again = [t.detach().clone().requires_grad_() for t in inputs]
    incoming = torch.randn(n, d_write, dtype=torch.float64)
    expected, found = dense(kind, *inputs, k), fast(kind, *again, k).output
    torch.testing.assert_close(found, expected)
    expected.backward(incoming)
    found.backward(incoming)
    for one, other in zip(inputs, again, strict=True):
        torch.testing.assert_close(other.grad, one.grad)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_gradients_pass_gradcheck(kind):
    inputs = weights(3, 4, 3, 2, 6)
    # Small changes do not alter the selection, so finite differences see the exact gradient.
    assert torch.autograd.gradcheck(lambda *t: fast(kind, *t, 2).output, inputs, eps=1e-7)
    assert torch.autograd.gradcheck(
        lambda *t: fast(kind, *t, 2).values, inputs[:3] + inputs[3:], eps=1e-7
    )


def test_float32_agrees_with_dense_autograd():
    inputs = weights(1, 300, 24, 24, 200, torch.float32)
    again = [t.detach().clone().requires_grad_() for t in inputs]
    dense("topk", *inputs, 8).square().sum().backward()
    fast("topk", *again, 8).output.square().sum().backward()
    for one, other in zip(inputs, again, strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-3 * one.grad.std())


def test_two_runs_give_equal_bits():
    def run():
        inputs = weights(5, 256, 24, 24, 100, torch.float32)
        output = fast("topk", *inputs, 8).output
        output.square().sum().backward()
        return [output, *(t.grad for t in inputs)]

    assert all(torch.equal(one, other) for one, other in zip(run(), run(), strict=True))


def test_no_dense_gradient_is_formed():
    x, W_enc, b_enc, W_dec = weights(2, 128, 4, 4, 500, torch.float32)
    output = fast("topk", x, W_enc, b_enc, W_dec, 2).output
    with torch.profiler.profile(profile_memory=True) as profile:
        output.sum().backward()
    largest = max(abs(event.cpu_memory_usage) for event in profile.events())
    assert 0 < largest < 128 * 500 * 4  # bytes of one [token, latent] array


def test_the_fast_product_equals_torchs():
    x, weight, bias, _ = weights(7, 33, 40, 1, 50, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, bias), x @ weight.T + bias)
        nested = x.view(3, 11, 40)
        torch.testing.assert_close(linear(nested, weight, bias), nested @ weight.T + bias)


def test_the_product_keeps_gradients_where_they_are_wanted():
    x, weight, bias, _ = weights(7, 3, 4, 1, 5, torch.float32)
    linear(x, weight.detach(), bias.detach()).sum().backward()
    torch.testing.assert_close(x.grad, weight.detach().sum(0).expand(3, 4))


def test_decoding_rows_sums_rows_times_values():
    # Token 0: 2 * row 1 + 3 * row 0. Token 1: a value of 0 adds nothing.
    W_dec = torch.tensor([[1.0, 0.0], [0.0, 10.0], [7.0, 7.0]])
    indices, values = torch.tensor([[1, 0], [2, 1]]), torch.tensor([[2.0, 3.0], [0.0, 1.0]])
    assert decode_rows(indices, values, W_dec).tolist() == [[3.0, 20.0], [0.0, 10.0]]
    assert decode_rows(indices[:0], values[:0], W_dec).shape == (0, 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 5), st.integers(1, 9), st.data())
def test_an_input_bias_has_dense_autograds_gradient(seed, n, d, f, data):
    k = data.draw(st.integers(1, f))
    x, W_enc, b_enc, W_dec = weights(seed, n, d, d, f)
    bias = torch.randn(d, dtype=torch.float64, requires_grad=True)
    incoming = torch.randn(n, d, dtype=torch.float64)
    inputs = [x, W_enc, b_enc, W_dec, bias]
    again = [t.detach().clone().requires_grad_() for t in inputs]
    dense("topk", x - bias, W_enc, b_enc, W_dec, k).backward(incoming)
    y, V_enc, c_enc, V_dec, bias2 = again
    shifted = (c_enc - V_enc @ bias2).detach()
    selected = select_topk(y, V_enc, shifted, V_dec.detach().norm(dim=1), k)
    sparse_autoencode(y, V_enc, c_enc, V_dec, selected, bias2).output.backward(incoming)
    for one, other in zip(inputs, again, strict=True):
        torch.testing.assert_close(other.grad, one.grad)


def test_a_decoder_row_of_zeros_keeps_its_value_and_gradient():
    # Scores: 2 * 1 and 3 * 0; with k = 2 both are kept, at their plain values 2 and 3.
    x = torch.tensor([[1.0]])
    W_enc, W_dec = torch.tensor([[2.0], [3.0]]), torch.tensor([[1.0], [0.0]], requires_grad=True)
    selected = select_topk(x, W_enc, torch.zeros(2), W_dec.detach().norm(dim=1), 2)
    out = sparse_autoencode(x, W_enc, torch.zeros(2), W_dec, selected)
    assert dict(zip(out.kept.latent.tolist(), out.values.tolist(), strict=True)) == {0: 2.0, 1: 3.0}
    out.output.sum().backward()
    assert W_dec.grad.flatten().tolist() == [2.0, 3.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_products_of_pairs_equal_loops(dtype):
    # Token 1 keeps nothing.
    rows, columns = torch.randn(3, 8).to(dtype), torch.randn(5, 8).to(dtype)
    kept = keep_pairs(torch.tensor([0, 0, 2]), torch.tensor([4, 1, 4]), 3)
    expected = torch.stack([rows[t] @ columns[j] for t, j in ((0, 4), (0, 1), (2, 4))])
    groups = by_latent(kept, 5)
    found = dot_pairs(rows, columns, kept, groups)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    assert (groups.pair.tolist(), groups.token.tolist()) == ([1, 0, 2], [0, 0, 2])
    weight = torch.tensor([1.0, 10.0, 100.0])[groups.pair]
    sums = sum_pairs(weight, groups.token, groups.first)
    assert sums.tolist() == [0.0, 10.0, 0.0, 0.0, 101.0]
    none = Kept(*(torch.zeros(n, dtype=torch.int64) for n in (0, 0, 3)))
    assert dot_pairs(rows, columns, none, by_latent(none, 5)).shape == (0,)


def test_the_buffers_of_a_step_grow_with_latents_tokens_and_pairs():
    sizes = {"n_tokens": 64, "n_latents": 1000, "d_read": 10, "d_write": 20, "k": 4}
    found = step_buffer_bytes(**sizes)
    wider = step_buffer_bytes(**{**sizes, "n_latents": 2000})
    assert wider - found == 4 * 10_000 + 8 * 64 * 1000
    denser = step_buffer_bytes(**{**sizes, "k": 5})
    assert denser - found == 64 * 52
