"""The Triton kernels against naive loops; in Triton's interpreter where there is no GPU."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import RecipeError
from lmscope.core.rng import generator
from lmscope.dictionaries.kernels.bags import pair_products, weighted_bags
from lmscope.dictionaries.kernels.choice import VARIABLE
from lmscope.dictionaries.products import sparse_autoencode
from lmscope.dictionaries.selection import select_batchtopk, select_topk

triton = pytest.importorskip("triton", reason="triton is not installed")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FEW = settings(max_examples=25, deadline=None)


def naive_bags(index, rows, first, weights):
    """A loop in float64."""
    sums = torch.zeros(len(first), rows.shape[1], dtype=torch.float64)
    ends = [*first.tolist()[1:], len(index)]
    for bag, (begin, end) in enumerate(zip(first.tolist(), ends, strict=True)):
        for pair in range(begin, end):
            sums[bag] += rows[index[pair]].double() * weights[pair].double()
    return sums


def run_bags(index, rows, first, weights, chunk=128):
    placed = (x.to(DEVICE) for x in (index, rows, first, weights))
    return weighted_bags(*placed, chunk=chunk).cpu()


def close(found, expected, magnitude):
    """Equal up to float32 sums and one rounding to the dtype of the result."""
    step = torch.finfo(found.dtype).eps
    allowed = step * expected.abs() + 1e-6 * magnitude + torch.finfo(found.dtype).tiny
    return bool(((found.double() - expected).abs() <= allowed).all())


def draw_bags(lengths, n_rows, width, seed, dtype=torch.float32):
    draws = generator(seed, "bags")
    n_pairs = sum(lengths)
    index = torch.randint(0, n_rows, (n_pairs,), generator=draws)
    rows = torch.randn(n_rows, width, generator=draws).to(dtype)
    weights = torch.randn(n_pairs, generator=draws).to(dtype)
    first = torch.tensor([0, *lengths]).cumsum(0)[:-1]
    return index, rows, first, weights


def test_two_bags_by_hand():
    rows = torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]])
    index, weights = torch.tensor([0, 2, 2]), torch.tensor([3.0, 1.0, -0.5])
    first = torch.tensor([0, 1, 1])
    # 3 * row 0; nothing; (1 - 1/2) * row 2
    expected = torch.tensor([[3.0, 6.0], [0.0, 0.0], [50.0, 100.0]])
    assert torch.equal(run_bags(index, rows, first, weights), expected)


@FEW
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    n_rows=st.integers(1, 5),
    width=st.integers(1, 40),
    chunk=st.integers(1, 9),
    seed=st.integers(0, 9),
    dtype=st.sampled_from(DTYPES),
)
def test_ragged_bags_equal_the_loop(lengths, n_rows, width, chunk, seed, dtype):
    index, rows, first, weights = draw_bags(lengths, n_rows, width, seed, dtype)
    found = run_bags(index, rows, first, weights, chunk)
    assert found.dtype == dtype
    magnitude = naive_bags(index, rows.abs(), first, weights.abs())
    assert close(found, naive_bags(index, rows, first, weights), magnitude)


@pytest.mark.parametrize("lengths", [[0, 400, 0, 1, 3], [1] * 5, [129, 128, 127, 0]])
def test_usual_chunks_and_several_column_blocks_equal_the_loop(lengths):
    index, rows, first, weights = draw_bags(lengths, n_rows=7, width=300, seed=3)
    magnitude = naive_bags(index, rows.abs(), first, weights.abs())
    found = run_bags(index, rows, first, weights)
    assert close(found, naive_bags(index, rows, first, weights), magnitude)


@FEW
@given(
    n_pairs=st.integers(1, 40),
    n_tokens=st.integers(1, 5),
    width=st.integers(1, 40),
    seed=st.integers(0, 9),
    dtype=st.sampled_from(DTYPES),
)
def test_pair_products_equal_the_loop(n_pairs, n_tokens, width, seed, dtype):
    draws = generator(seed, "pairs")
    gradient = torch.randn(n_tokens, width, generator=draws).to(dtype)
    rows = torch.randn(6, width, generator=draws).to(dtype)
    token = torch.randint(0, n_tokens, (n_pairs,), generator=draws)
    latent = torch.randint(0, 6, (n_pairs,), generator=draws)
    found = pair_products(*(x.to(DEVICE) for x in (gradient, rows, token, latent))).cpu()
    products = gradient[token].double() * rows[latent].double()
    assert found.dtype == dtype
    assert close(found, products.sum(1), products.abs().sum(1))


def test_wide_pair_products_equal_the_dot_products():
    draws = generator(0, "wide")
    gradient, rows = (torch.randn(3, 600, generator=draws) for _ in range(2))
    token, latent = torch.tensor([0, 1, 2, 2]), torch.tensor([2, 2, 0, 1])
    found = pair_products(*(x.to(DEVICE) for x in (gradient, rows, token, latent))).cpu()
    torch.testing.assert_close(found, (gradient[token] * rows[latent]).sum(1))


def test_nothing_in_gives_zeros_of_the_right_shape():
    none, rows = torch.zeros(0, dtype=torch.long), torch.randn(3, 4)
    assert torch.equal(
        weighted_bags(none, rows, torch.tensor([0, 0]), torch.zeros(0)), torch.zeros(2, 4)
    )
    assert weighted_bags(none, rows, none, torch.zeros(0)).shape == (0, 4)
    assert pair_products(rows, rows, none, none).shape == (0,)


def test_rows_laid_out_otherwise_give_the_same():
    index, rows, first, weights = draw_bags([3, 5], n_rows=4, width=20, seed=1)
    turned = rows.T.contiguous().T  # the same values, columns first in memory
    expected = run_bags(index, rows, first, weights)
    assert torch.equal(run_bags(index, turned, first, weights), expected)
    spread = torch.stack([rows, rows], 1).flatten(1)[:, :20]  # a row every 40 values
    assert torch.equal(run_bags(index, spread, first, weights), expected)
    one = torch.ones(1).expand(4, 20)
    ones = run_bags(index, one, first, weights)
    torch.testing.assert_close(ones, run_bags(index, one.contiguous(), first, weights))


def test_sums_of_divided_bags_have_one_order():
    index, rows, first, weights = draw_bags([90, 0, 7, 60], n_rows=9, width=33, seed=2)
    results = [run_bags(index, rows, first, weights, chunk=8) for _ in range(3)]
    assert all(torch.equal(result, results[0]) for result in results)


def test_it_says_what_to_do_without_triton(monkeypatch):
    monkeypatch.setattr("lmscope.dictionaries.kernels.choice.find_spec", lambda _: None)
    index, rows, first, weights = draw_bags([2], n_rows=2, width=4, seed=0)
    with pytest.raises(RecipeError, match="triton is not installed: `pip install triton`"):
        weighted_bags(index, rows, first, weights)
    with pytest.raises(RecipeError, match="triton is not installed"):
        pair_products(rows, rows, index, index)


def test_float64_is_refused_rather_than_narrowed():
    index, rows, first, weights = draw_bags([2], n_rows=2, width=4, seed=0)
    with pytest.raises(RecipeError, match="add in float32 and were given float64"):
        weighted_bags(index, rows.double(), first, weights)
    with pytest.raises(RecipeError, match="were given float64"):
        pair_products(rows, rows.double(), index, index)


@pytest.mark.parametrize("select", [select_topk, select_batchtopk])
def test_a_whole_sparse_step_gives_the_same_gradients(monkeypatch, select):
    results = {}
    for choice in ("0", "1"):
        monkeypatch.setenv(VARIABLE, choice)
        draws = generator(4, "step")
        shapes = (9, 6), (20, 6), (20,), (20, 5), (6,)
        tensors = [torch.randn(shape, generator=draws).to(DEVICE) for shape in shapes]
        x, W_enc, b_enc, W_dec, bias = (tensor.requires_grad_() for tensor in tensors)
        with torch.no_grad():
            n_kept = 3 if select is select_topk else 27
            selected = select(x - bias, W_enc, b_enc, W_dec.norm(dim=1), n_kept)
        found = sparse_autoencode(x, W_enc, b_enc, W_dec, selected, bias)
        (found.output.square().sum() + found.values.sum()).backward()
        results[choice] = [
            found.output,
            *(tensor.grad for tensor in (x, W_enc, b_enc, W_dec, bias)),
        ]
    for expected, other in zip(results["0"], results["1"], strict=True):
        torch.testing.assert_close(other, expected)
    assert not all(torch.equal(*pair) for pair in zip(*results.values(), strict=True))


_COMPILE = """
import re, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lmscope.dictionaries.kernels import programs

sizes = {"GROUP": 16, "BLOCK": 256}
for element in ("fp32", "bf16", "fp16"):
    values = {"index": "i64", "partial": "fp32", "token": "i64", "latent": "i64"}
    values |= dict.fromkeys(("weights", "rows", "output", "gradient"), element)
    counts = ("n_bags", "n_pairs", "width", "row_stride", "gradient_stride")
    for program in (programs.add_chunks, programs.add_slots, programs.multiply_pairs):
        types = {
            name: "constexpr" if name in sizes
            else "i32" if name in counts
            else "*" + values.get(name, "i64")
            for name in program.arg_names
        }
        constants = {(i,): sizes[n] for i, n in enumerate(program.arg_names) if n in sizes}
        source = ASTSource(program, types, constants)
        options = {"enable_fp_fusion": True}
        code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
        assert ".entry" in code
        assert not re.search(r"\\b(atom|red)\\.", code), "an atomic addition has no fixed order"
print("compiled")
"""


def test_they_compile_for_a_gpu_without_atomics(tmp_path):
    """Triton's compiler needs no GPU; whether the code is fast there is another question."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        env={**kept, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "compiled", done.stderr
