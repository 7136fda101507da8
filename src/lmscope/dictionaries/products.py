"""The k-sparse training step: only the encoder's product is dense.

Of `F` latents a token keeps `k`. Decoding, the gradient of the kept values and the gradients of both
weight matrices touch those k only, each as an `embedding_bag`:

| product | a bag is |
|---|---|
| reconstruction | the decoder rows of a token's latents |
| gradient of the kept values | k dot products of a token |
| gradient of `W_dec`, `W_enc`, `b_enc` | the tokens of a latent |

No gradient of shape [token, latent] is ever formed, so a step costs about one dense product in
place of six. Values and gradients equal dense autograd's up to rounding. Sums run in a fixed order:
on a CPU equal inputs and thread counts give equal bits.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable


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


class Autoencoded(NamedTuple):
    """What `sparse_autoencode` gives: the sum of decoder rows, the kept values and their places."""

    output: Float[Tensor, "token write"]
    values: Float[Tensor, "pair"]
    kept: Kept


class Selected(NamedTuple):
    """The pairs that a selection keeps, and their pre-activations, without gradient."""

    kept: Kept
    pre: Float[Tensor, "pair"]


def sparse_autoencode(
    x: Float[Tensor, "token read"],
    W_enc: Float[Tensor, "latent read"],
    b_enc: Float[Tensor, "latent"],
    W_dec: Float[Tensor, "latent write"],
    selected: Selected,
    input_bias: Float[Tensor, "read"] | None = None,
) -> Autoencoded:
    """Decode what was kept of the pre-activations; gradients flow to all tensors.

    Args:
        x: Input in training units.
        W_enc: Encoder, one row a latent.
        b_enc: Bias of the encoder.
        W_dec: Decoder, one row a latent.
        selected: What `dictionaries.selection` keeps of `(x - input_bias) @ W_enc.T + b_enc`.
        input_bias: Taken from the input before encoding, or None.
    """
    if input_bias is not None:
        b_enc = b_enc - W_enc @ input_bias
    kept = selected.kept
    with torch.no_grad():
        by_latent = _by_latent(kept, len(W_enc))
    values: Tensor = _KeptValues.apply(x, W_enc, b_enc, selected.pre, kept, by_latent)  # pyright: ignore[reportAssignmentType]
    output: Tensor = _Decode.apply(values, W_dec, kept, by_latent)  # pyright: ignore[reportAssignmentType]
    return Autoencoded(output, values, kept)


def keep_rows(indices: Int[Tensor, "token k"]) -> Kept:
    """The pairs of a selection that keeps the same number of latents of every token."""
    n_tokens, k = indices.shape
    tokens = torch.arange(n_tokens, device=indices.device)
    return Kept(tokens.repeat_interleave(k), indices.flatten(), tokens * k)


def keep_places(places: Int[Tensor, "pair"], n_tokens: int, n_latents: int) -> Kept:
    """The pairs at ascending flat places of a `[token, latent]` array."""
    token = places.div(n_latents, rounding_mode="floor")
    tokens = torch.arange(n_tokens, device=places.device)
    return Kept(token, places - token * n_latents, torch.searchsorted(token, tokens))


def linear(
    x: Float[Tensor, "*token read"],
    weight: Float[Tensor, "latent read"],
    bias: Float[Tensor, "latent"],
) -> Float[Tensor, "*token latent"]:
    """`x @ weight.T + bias`, by the fastest exact product at hand.

    On a CPU in float32 and without gradient that is oneDNN's, 1.0 to 1.9 times as fast as the
    default; with a gradient, or elsewhere, torch's own.
    """
    grad = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias))
    if not grad and _has_onednn(x) and x.numel():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return nnf.linear(x, weight, bias)


def decode_rows(
    indices: Int[Tensor, "*token k"],
    values: Float[Tensor, "*token k"],
    W_dec: Float[Tensor, "latent write"],
) -> Float[Tensor, "*token write"]:
    """Sum of each token's k decoder rows times their values; differentiable by torch itself."""
    if not indices.numel():
        return W_dec.new_zeros(*indices.shape[:-1], W_dec.shape[1])
    k = indices.shape[-1]
    rows = nnf.embedding_bag(
        indices.reshape(-1, k), W_dec, per_sample_weights=values.reshape(-1, k), mode="sum"
    )
    return rows.view(*indices.shape[:-1], W_dec.shape[1])


def _has_onednn(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


class _ByLatent(NamedTuple):
    """The same pairs in order of latent, then token: `pair` is each one's place among the kept."""

    pair: Tensor
    token: Tensor
    first: Tensor


def _by_latent(kept: Kept, n_latents: int) -> _ByLatent:
    latent, pair = kept.latent.sort(stable=True)
    first = torch.searchsorted(latent, torch.arange(n_latents, device=latent.device))
    return _ByLatent(pair, kept.token[pair], first)


def _bag(rows: Tensor, index: Tensor, first: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of `rows[index]`, one for each stretch that begins in `first`."""
    if not index.numel():
        return rows.new_zeros(len(first), rows.shape[1])
    return nnf.embedding_bag(index, rows, first, per_sample_weights=weights, mode="sum")


class _KeptValues(torch.autograd.Function):
    """ReLU of the kept pre-activations, as a function of input and encoder."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        kept_pre: Tensor,
        kept: Kept,
        by_latent: _ByLatent,
    ) -> Tensor:
        values = kept_pre.relu()
        ctx.save_for_backward(x, W_enc, values)
        ctx.pairs = kept, by_latent
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, W_enc, values = ctx.saved_tensors
        kept, by_latent = ctx.pairs
        gradient = gradients[0] * (values > 0)
        grouped = gradient[by_latent.pair]
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = _bag(W_enc, kept.latent, kept.first, gradient)
        to_weight = _bag(x, by_latent.token, by_latent.first, grouped)
        ones = x.new_ones(len(x), 1)
        to_bias = _bag(ones, by_latent.token, by_latent.first, grouped).squeeze(1)
        return to_x, to_weight, to_bias, None, None, None


class _Decode(torch.autograd.Function):
    """Sum of the kept decoder rows times their values."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, W_dec: Tensor, kept: Kept, by_latent: _ByLatent
    ) -> Tensor:
        ctx.save_for_backward(values, W_dec)
        ctx.pairs = kept, by_latent
        return _bag(W_dec, kept.latent, kept.first, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        values, W_dec = ctx.saved_tensors
        kept, by_latent = ctx.pairs
        gradient = gradients[0].contiguous()
        to_values = torch.zeros_like(values)
        if values.numel():
            to_values = torch.ops.aten._embedding_bag_per_sample_weights_backward(
                gradient, W_dec, kept.latent, kept.first, kept.token, 0
            )
        to_weight = _bag(gradient, by_latent.token, by_latent.first, values[by_latent.pair])
        return to_values, to_weight, None, None
