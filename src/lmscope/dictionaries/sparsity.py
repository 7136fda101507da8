"""How pre-activations become latents: one pure function for each kind of sparsity.

Everywhere `norms` are the norms of the decoder rows, and the score of a latent is
`ReLU(pre) * norm`: what it would add to the reconstruction. Selections compare scores; the value
that is kept is the plain `ReLU(pre)` (he2024llamascope, eq. 5).
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmscope.core.errors import RecipeError
from lmscope.dictionaries.config import BatchTopK, JumpReLU, ReLU, Sparsity, TopK


class SparseLatents(NamedTuple):
    """The latents of each token that fire, `[..., k]` places wide; a value of 0 marks a free place."""

    indices: Int[Tensor, "*token k"]
    values: Float[Tensor, "*token k"]


def relu(pre: Float[Tensor, "*token latent"]) -> Float[Tensor, "*token latent"]:
    """Every positive pre-activation (templeton2024scaling)."""
    return pre.relu()


def topk_sparse(
    pre: Float[Tensor, "*token latent"], norms: Float[Tensor, "latent"], k: int
) -> SparseLatents:
    """The k latents of each token with the largest scores (he2024llamascope, eq. 5).

    Exactly k different latents a token. Where fewer than k are positive the rest have value 0 and
    do not fire. Which of several equal scores is kept is torch's choice, the same in every run.
    """
    # ReLU keeps the order of the positive scores, so it is left to the k values that are kept.
    indices = (pre.detach() * norms.detach()).topk(k, dim=-1, sorted=False).indices
    return SparseLatents(indices, pre.gather(-1, indices).relu())


def topk(
    pre: Float[Tensor, "*token latent"], norms: Float[Tensor, "latent"], k: int
) -> Float[Tensor, "*token latent"]:
    """The latents of `topk_sparse`, zeros elsewhere (he2024llamascope, eq. 5)."""
    indices, values = topk_sparse(pre, norms, k)
    return torch.zeros_like(pre).scatter(-1, indices, values)


def batchtopk(
    pre: Float[Tensor, "token latent"], norms: Float[Tensor, "latent"], k: int
) -> Float[Tensor, "token latent"]:
    """The n * k largest scores among n tokens (bussmann2024batchtopk); for training only."""
    kept = torch.zeros_like(pre, dtype=torch.bool).flatten()
    kept[batchtopk_places(pre, norms, len(pre) * k)] = True
    return pre.relu() * kept.view_as(pre)


def batchtopk_places(
    pre: Float[Tensor, "token latent"],
    norms: Float[Tensor, "latent"],
    n_kept: int,
    floor: float = 0.0,
) -> Int[Tensor, "pair"]:
    """Flat places, ascending, of the largest positive scores (fewer if fewer are positive).

    Args:
        pre: Pre-activations.
        norms: Norms of the decoder rows.
        n_kept: Kept in all.
        floor: A guess below which no kept score lies. A good one makes the choice faster; no guess
            changes it.
    """
    scores = (pre.detach() * norms.detach()).flatten()
    candidates = (scores > max(floor, 0.0)).nonzero().squeeze(-1)
    if floor > 0 and len(candidates) < n_kept:
        candidates = (scores > 0).nonzero().squeeze(-1)
    if len(candidates) > n_kept:
        largest = scores[candidates].topk(n_kept, sorted=False).indices
        candidates = candidates[largest.sort().values]
    return candidates


def above_threshold(
    pre: Float[Tensor, "*token latent"],
    norms: Float[Tensor, "latent"],
    threshold: Float[Tensor, ""],
) -> Float[Tensor, "*token latent"]:
    """Latents whose score is above one threshold: BatchTopK at inference (bussmann2024batchtopk)."""
    return pre.relu() * (pre.detach() * norms.detach() > threshold)


def jumprelu(
    pre: Float[Tensor, "*token latent"], threshold: Float[Tensor, "latent"]
) -> Float[Tensor, "*token latent"]:
    """Positive pre-activations above their latent's threshold (rajamanoharan2024jumprelu)."""
    return pre.relu() * (pre.detach() > threshold.detach())


def jumprelu_trained(
    pre: Float[Tensor, "token latent"], threshold: Float[Tensor, "latent"], bandwidth: float
) -> Float[Tensor, "token latent"]:
    """`jumprelu` with a gradient for the threshold (rajamanoharan2024jumprelu).

    Within half a bandwidth of the threshold its derivative is taken as -threshold / bandwidth; the
    derivative for `pre` is exact.
    """
    return _JumpReLU.apply(pre, threshold.expand_as(pre), bandwidth)  # pyright: ignore[reportReturnType]


def jumprelu_pairs(
    pre: Float[Tensor, "pair"], threshold: Float[Tensor, "pair"], bandwidth: float
) -> tuple[Float[Tensor, "pair"], Float[Tensor, "pair"]]:
    """`jumprelu_trained` and `step_trained` of single (token, latent) pairs.

    Pairs that lie more than half a bandwidth below their threshold may be left out: there values and
    derivatives are zero.
    """
    return _JumpReLU.apply(pre, threshold, bandwidth), _Step.apply(pre, threshold, bandwidth)  # pyright: ignore[reportReturnType]


def step_trained(
    pre: Float[Tensor, "token latent"], threshold: Float[Tensor, "latent"], bandwidth: float
) -> Float[Tensor, "token latent"]:
    """1 where `pre` is above the threshold, whose derivative is -1 / bandwidth nearby (same source)."""
    return _Step.apply(pre, threshold.expand_as(pre), bandwidth)  # pyright: ignore[reportReturnType]


def encode(
    pre: Float[Tensor, "*token latent"],
    sparsity: Sparsity,
    norms: Float[Tensor, "latent"],
    threshold: Tensor | None,
) -> Float[Tensor, "*token latent"]:
    """Latents at inference; no token's depend on another token.

    Args:
        pre: Pre-activations.
        sparsity: What to keep.
        norms: Norms of the decoder rows.
        threshold: One number for BatchTopK, one a latent for JumpReLU.

    Raises:
        RecipeError: The threshold was never estimated.
    """
    match sparsity:
        case ReLU():
            return relu(pre)
        case TopK():
            return topk(pre, norms, sparsity.k)
        case BatchTopK():
            if threshold is None or bool(threshold.isnan()):
                raise RecipeError(
                    "This BatchTopK dictionary has no threshold yet: train it for a step or use "
                    "calibrate_threshold."
                )
            return above_threshold(pre, norms, threshold)
        case JumpReLU():
            if threshold is None:
                raise RecipeError("This JumpReLU dictionary has no thresholds.")
            return jumprelu(pre, threshold)


def sparse(latents: Float[Tensor, "*token latent"]) -> SparseLatents:
    """The same latents without their zeros, as wide as the token with the most needs."""
    width = int((latents != 0).sum(-1).max()) if latents.numel() else 0
    values, indices = latents.topk(width, dim=-1, sorted=False)
    return SparseLatents(indices, values)


def _near(pre: Tensor, threshold: Tensor, bandwidth: float) -> Bool[Tensor, "*place"]:
    return (pre - threshold).abs() < bandwidth / 2


class _JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre.relu() * (pre > threshold)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = gradients
        pre, threshold = ctx.saved_tensors
        to_pre = gradient * ((pre > threshold) & (pre > 0))
        near = gradient * _near(pre, threshold, ctx.bandwidth)
        return to_pre, near * (-threshold / ctx.bandwidth), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = gradients
        pre, threshold = ctx.saved_tensors
        return None, gradient * _near(pre, threshold, ctx.bandwidth) / -ctx.bandwidth, None
