import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import RecipeError
from lmscope.dictionaries.config import BatchTopK
from lmscope.dictionaries.sparsity import (
    above_threshold,
    batchtopk,
    batchtopk_places,
    encode,
    jumprelu,
    jumprelu_trained,
    sparse,
    step_trained,
    topk,
    topk_sparse,
)

SEEDS = st.integers(0, 2**31)


def random(seed, n_tokens, n_latents):
    generator = torch.Generator().manual_seed(seed)
    pre = torch.randn(n_tokens, n_latents, generator=generator, dtype=torch.float64)
    return pre, torch.rand(n_latents, generator=generator, dtype=torch.float64) + 0.1


def test_topk_chooses_by_score_and_keeps_the_plain_value():
    # Scores: 3*1 = 3, 2*2 = 4, 1*5 = 5, negative; the two largest are latents 2 and 1, whose
    # values stay 1 and 2.
    pre = torch.tensor([[3.0, 2.0, 1.0, -9.0]])
    norms = torch.tensor([1.0, 2.0, 5.0, 9.0])
    assert topk(pre, norms, 2).tolist() == [[0.0, 2.0, 1.0, 0.0]]


@given(SEEDS, st.integers(1, 5), st.integers(1, 12), st.data())
def test_topk_equals_a_loop(seed, n_tokens, n_latents, data):
    k = data.draw(st.integers(1, n_latents))
    pre, norms = random(seed, n_tokens, n_latents)
    expected = torch.zeros_like(pre)
    for token in range(n_tokens):
        score = [max(0.0, pre[token, i].item()) * norms[i].item() for i in range(n_latents)]
        for i in sorted(range(n_latents), key=lambda i: -score[i])[:k]:
            expected[token, i] = max(0.0, pre[token, i].item())
    assert torch.equal(topk(pre, norms, k), expected)


@given(SEEDS, st.integers(0, 4), st.integers(1, 12), st.data())
def test_topk_keeps_exactly_k_different_latents(seed, n_tokens, n_latents, data):
    k = data.draw(st.integers(1, n_latents))
    pre, norms = random(seed, n_tokens, n_latents)
    indices, values = topk_sparse(pre, norms, k)
    assert indices.shape == values.shape == (n_tokens, k)
    assert all(len(set(row)) == k for row in indices.tolist())


def test_topk_of_too_few_positive_values_fires_less_than_k():
    pre = torch.tensor([[-1.0, 2.0, 0.0, -3.0]])
    _, values = topk_sparse(pre, torch.ones(4), 3)
    assert sorted(values.flatten().tolist()) == [0.0, 0.0, 2.0]


def test_topk_of_ties_keeps_exactly_k():
    pre = torch.ones(3, 10)
    assert (topk(pre, torch.ones(10), 4) > 0).sum(1).tolist() == [4, 4, 4]


@given(SEEDS, st.integers(1, 5), st.integers(1, 12), st.data())
def test_batchtopk_equals_a_loop(seed, n_tokens, n_latents, data):
    k = data.draw(st.integers(1, n_latents))
    pre, norms = random(seed, n_tokens, n_latents)
    places = [(t, i) for t in range(n_tokens) for i in range(n_latents)]
    score = {(t, i): pre[t, i].item() * norms[i].item() for t, i in places}
    expected = torch.zeros_like(pre)
    for t, i in sorted(places, key=lambda p: -score[p])[: n_tokens * k]:
        expected[t, i] = max(0.0, pre[t, i].item())
    assert torch.equal(batchtopk(pre, norms, k), expected)


@given(SEEDS, st.integers(1, 5), st.integers(1, 12), st.floats(-1, 5), st.data())
def test_no_guess_of_a_floor_changes_the_choice(seed, n_tokens, n_latents, floor, data):
    k = data.draw(st.integers(1, n_latents))
    pre, norms = random(seed, n_tokens, n_latents)
    expected = batchtopk_places(pre, norms, len(pre) * k)
    assert torch.equal(batchtopk_places(pre, norms, len(pre) * k, floor), expected)


def test_batchtopk_gives_one_token_what_another_does_not_need():
    # Four values for two tokens: the first token keeps three, the second one.
    pre = torch.tensor([[5.0, 4.0, 3.0], [2.0, 1.0, 0.5]])
    assert batchtopk(pre, torch.ones(3), 2).tolist() == [[5.0, 4.0, 3.0], [2.0, 0.0, 0.0]]


def test_a_threshold_of_scores_needs_more_than_itself():
    # Scores 2, 3, 4 against 3.
    pre, norms = torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([2.0, 1.0, 2.0])
    assert above_threshold(pre, norms, torch.tensor(3.0)).tolist() == [[0.0, 0.0, 2.0]]


@given(SEEDS, st.integers(1, 5), st.integers(1, 12))
def test_jumprelu_equals_a_loop(seed, n_tokens, n_latents):
    pre, threshold = random(seed, n_tokens, n_latents)
    expected = [
        [
            value if value > limit and value > 0 else 0.0
            for value, limit in zip(row, limits, strict=True)
        ]
        for row, limits in zip(pre.tolist(), [threshold.tolist()] * n_tokens, strict=True)
    ]
    assert jumprelu(pre, threshold).tolist() == expected


def test_jumprelu_gradients_are_those_of_the_rectangle():
    # Threshold 1, bandwidth 0.5: 0.8 and 1.2 lie within 0.25 of it, 2 does not.
    # d/dpre: 0, 1, 1. d/dthreshold: -(1 / 0.5) * (1 + 10), for the incoming gradients 1, 10, 100.
    pre = torch.tensor([[0.8], [1.2], [2.0]], requires_grad=True)
    threshold = torch.tensor([1.0], requires_grad=True)
    incoming = torch.tensor([[1.0], [10.0], [100.0]])
    jumprelu_trained(pre, threshold, 0.5).backward(incoming)
    assert pre.grad.flatten().tolist() == [0.0, 10.0, 100.0]
    assert threshold.grad.item() == pytest.approx(-22.0)


def test_step_gradients_are_those_of_the_rectangle():
    # Threshold 2: only 1.9 and 2.1 lie within 0.25. d/dthreshold: -(1 / 0.5) * (1 + 10).
    pre = torch.tensor([[1.9], [2.1], [3.0]], requires_grad=True)
    threshold = torch.tensor([2.0], requires_grad=True)
    fired = step_trained(pre, threshold, 0.5)
    fired.backward(torch.tensor([[1.0], [10.0], [100.0]]))
    assert fired.flatten().tolist() == [0.0, 1.0, 1.0]
    assert pre.grad is None
    assert threshold.grad.item() == pytest.approx(-22.0)


@given(SEEDS, st.integers(0, 5), st.integers(1, 9))
def test_sparse_latents_hold_the_same_values(seed, n_tokens, n_latents):
    dense = random(seed, n_tokens, n_latents)[0].relu()
    indices, values = sparse(dense)
    assert torch.equal(torch.zeros_like(dense).scatter(1, indices, values), dense)
    assert indices.shape[1] == (max((dense > 0).sum(1).tolist()) if n_tokens else 0)


def test_batchtopk_without_a_threshold_says_what_to_do():
    with pytest.raises(RecipeError, match="calibrate_threshold"):
        encode(torch.ones(1, 3), BatchTopK(k=1), torch.ones(3), torch.tensor(torch.nan))
