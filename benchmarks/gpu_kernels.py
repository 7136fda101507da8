"""The k-sparse products on a CUDA device: the Triton kernels against torch's own operations.

    python benchmarks/gpu_kernels.py --json docs/results/gpu_kernels.json

Three products of the training step at each size: the sum of a token's decoder rows, the gradient of the kept
values, the gradient of a weight matrix. Latents are drawn unevenly (Zipf's law), as real ones fire. The two ways
take turns and must agree before they are timed; ratios above 1 mean that the kernel is faster.
"""

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as nnf
from torch import Tensor

from lmscope.dictionaries.kernels.bags import pair_products, weighted_bags
from lmscope.dictionaries.kernels.choice import require_triton
from measure import interleaved_ms, machine, parser, report

SIZES = ((2048, 4608, 32, 576), (4096, 24576, 50, 768), (4096, 32768, 50, 4096))
"""Tokens, latents, k, width."""

Ways = dict[str, Callable[[], Tensor]]


def products(
    n_tokens: int, n_latents: int, k: int, width: int, dtype: torch.dtype
) -> dict[str, Ways]:
    """Both ways to each product, over the same random tensors."""
    draws = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, device="cuda").to(dtype)

    # The k largest of log-popularity plus Gumbel noise: k distinct latents, drawn by popularity.
    popularity = -torch.arange(1, n_latents + 1, device="cuda").log()
    noise = torch.rand(n_tokens, n_latents, generator=draws, device="cuda")
    latent = (popularity - (-noise.log()).log()).topk(k).indices.flatten()
    token = torch.arange(n_tokens, device="cuda").repeat_interleave(k)
    by_token = torch.arange(n_tokens, device="cuda") * k
    sorted_latent, pair = latent.sort(stable=True)
    by_latent = torch.searchsorted(sorted_latent, torch.arange(n_latents, device="cuda"))
    rows, gradient, values = normal(n_latents, width), normal(n_tokens, width), normal(n_tokens * k)

    def bags(index: Tensor, of: Tensor, first: Tensor, weights: Tensor) -> Ways:
        return {
            "torch": lambda: nnf.embedding_bag(
                index, of, first, per_sample_weights=weights, mode="sum"
            ),
            "triton": lambda: weighted_bags(index, of, first, weights),
        }

    dots = torch.ops.aten._embedding_bag_per_sample_weights_backward
    return {
        "decode": bags(latent, rows, by_token, values),
        "weight_gradient": bags(token[pair], gradient, by_latent, values[pair]),
        "value_gradient": {
            "torch": lambda: dots(gradient, rows, latent, by_token, token, 0),
            "triton": lambda: pair_products(gradient, rows, token, latent),
        },
    }


def compare(ways: Ways, rounds: int) -> dict[str, object]:
    """Times of both ways, their ratio, and how far apart their results lie."""
    expected, found = (ways[name]().float() for name in ("torch", "triton"))
    difference = float((found - expected).abs().max() / expected.abs().max())
    if difference > 0.02:
        raise SystemExit(f"The two ways differ by {difference:.3g} of the largest value.")
    times = interleaved_ms(ways, rounds=rounds, warmup=3)
    ratio = times["torch"]["median"] / times["triton"]["median"]
    return {"ms": times, "torch_over_triton": ratio, "largest_relative_difference": difference}


def main() -> None:
    options = parser("The Triton kernels against torch's own operations.")
    options.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    arguments = options.parse_args()
    if not torch.cuda.is_available():
        sys.exit("This benchmark needs a CUDA device, and there is none here.")
    require_triton()
    rows = []
    for n_tokens, n_latents, k, width in SIZES:
        cases = products(n_tokens, n_latents, k, width, getattr(torch, arguments.dtype))
        size = {"tokens": n_tokens, "latents": n_latents, "k": k, "width": width}
        timed = {name: compare(ways, arguments.rounds) for name, ways in cases.items()}
        rows.append({**size, "products": timed})
        torch.cuda.empty_cache()
    record = {
        "what": "k-sparse products, torch's own operations against Triton kernels",
        "command": " ".join(["python", *sys.argv]),
        "seed": 0,
        "dtype": arguments.dtype,
        "machine": machine(arguments.threads, "cuda"),
        "sizes": rows,
    }
    report(record, arguments.json)


if __name__ == "__main__":
    main()
