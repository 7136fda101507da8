"""The (token, latent) pairs that are kept of a batch, and the k-sparse products over them.

The products are torch's own operations, or Triton kernels for who asks (`dictionaries.kernels`).
"""

import warnings
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.dictionaries.kernels.bags import pair_products, weighted_bags
from lmscope.dictionaries.kernels.choice import use_triton


class Kept(NamedTuple):
    """The (token, latent) pairs that are kept, in order of token.

    Attributes:
        token: Token of each pair, ascending.
        latent: Latent of each pair.
        first: Where each token's pairs begin.
    """

    token: Int[Tensor, "pair"]
    latent: Int[Tensor, "pair"]
    first: Int[Tensor, "token"]


class ByLatent(NamedTuple):
    """The same pairs in order of latent, then token.

    Attributes:
        pair: Place of each among the kept.
        token: Token of each.
        first: Where each latent's pairs begin.
    """

    pair: Int[Tensor, "pair"]
    token: Int[Tensor, "pair"]
    first: Int[Tensor, "latent"]


def keep_rows(indices: Int[Tensor, "token k"]) -> Kept:
    """The pairs of a selection that keeps the same number of latents of every token."""
    n_tokens, k = indices.shape
    tokens = torch.arange(n_tokens, device=indices.device)
    return Kept(tokens.repeat_interleave(k), indices.flatten(), tokens * k)


def keep_places(places: Int[Tensor, "pair"], n_tokens: int, n_latents: int) -> Kept:
    """The pairs at ascending flat places of a `[token, latent]` array."""
    token = places.div(n_latents, rounding_mode="floor")
    return keep_pairs(token, places - token * n_latents, n_tokens)


def keep_pairs(token: Int[Tensor, "pair"], latent: Int[Tensor, "pair"], n_tokens: int) -> Kept:
    """The pairs of ascending tokens with their latents."""
    return Kept(
        token, latent, torch.searchsorted(token, torch.arange(n_tokens, device=token.device))
    )


def by_latent(kept: Kept, n_latents: int) -> ByLatent:
    """The pairs grouped by latent."""
    # 32 bits hold every latent, and sort twice as fast.
    latent, pair = kept.latent.int().sort(stable=True)
    latents = torch.arange(n_latents, device=latent.device, dtype=latent.dtype)
    return ByLatent(pair, kept.token[pair], torch.searchsorted(latent, latents))


def sum_rows(
    rows: Float[Tensor, "row width"],
    index: Int[Tensor, "pair"],
    first: Int[Tensor, "group"],
    weights: Float[Tensor, "pair"],
) -> Float[Tensor, "group width"]:
    """Weighted sums of `rows[index]`, one for each stretch that begins in `first`."""
    if not index.numel():
        return rows.new_zeros(len(first), rows.shape[1])
    if use_triton(rows.device):
        return weighted_bags(index, rows, first, weights)
    return nnf.embedding_bag(index, rows, first, per_sample_weights=weights, mode="sum")


def sum_pairs(
    weights: Float[Tensor, "pair"], index: Int[Tensor, "pair"], first: Int[Tensor, "group"]
) -> Float[Tensor, "group"]:
    """Sums of the pairs' weights, one for each stretch that begins in `first`."""
    ones = weights.new_ones(int(index.max()) + 1 if index.numel() else 1, 1)
    return sum_rows(ones, index, first, weights).squeeze(1)


def dot_pairs(
    rows: Float[Tensor, "token width"],
    columns: Float[Tensor, "latent width"],
    kept: Kept,
    groups: ByLatent,
) -> Float[Tensor, "pair"]:
    """The inner product of each pair's token and latent.

    On a CPU latent by latent: then each weight is read once, and the tokens, which are fewer, stay in the cache.
    """
    if not kept.latent.numel():
        return rows.new_zeros(0)
    if use_triton(rows.device):
        return pair_products(rows, columns, kept.token, kept.latent)
    if rows.device.type == "cpu" and rows.dtype in (torch.float32, torch.float64):
        products = torch.empty_like(groups.token, dtype=rows.dtype)
        products[groups.pair] = _sampled_product(columns, rows, groups)
        return products
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(
        rows, columns, kept.latent, kept.first, kept.token, 0
    )


def _sampled_product(latents: Tensor, tokens: Tensor, groups: ByLatent) -> Tensor:
    _accept_sparse_tensors()
    n_pairs = len(groups.token)
    ends = torch.cat([groups.first, groups.first.new_tensor([n_pairs])])
    places = torch.sparse_csr_tensor(
        ends,
        groups.token,
        latents.new_zeros(n_pairs),
        (len(latents), len(tokens)),
        check_invariants=False,
    )
    return torch.sparse.sampled_addmm(places, latents, tokens.t(), beta=0.0).values()


@cache
def _accept_sparse_tensors() -> None:
    """Torch warns once a process that sparse tensors are new; users of ours have not asked for one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)
