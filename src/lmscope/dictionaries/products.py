"""The k-sparse training step: only the encoder's product is dense.

Of `F` latents a token keeps `k`. Decoding, the gradient of the kept values and the gradients of both
weight matrices touch those k only:

| product | is |
|---|---|
| reconstruction | a weighted sum of the decoder rows of a token's latents |
| gradient of the kept values | k dot products of a token |
| gradient of `W_dec`, `W_enc`, `b_enc` | a weighted sum over the tokens of a latent |
| gradient of the input bias | one vector-matrix product |

No gradient of shape [token, latent] is ever formed, so a step costs about one dense product in
place of six. Values and gradients equal dense autograd's up to rounding. Sums run in a fixed order:
on a CPU equal inputs and thread counts give equal bits.

Memory in float32, beside the batch itself: a latent costs 16 bytes for each
number that it has in encoder and decoder (weight, gradient, two moments of Adam), and 4 more for each
in the encoder while latents are chosen; a token costs 52 bytes for each latent that it keeps, and
20 for each number that it reads or writes. Pre-activations exist for one chunk of tokens at a time.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmscope.dictionaries.pairs import (
    ByLatent,
    Kept,
    by_latent,
    dot_pairs,
    sum_pairs,
    sum_rows,
)

CHUNK_TOKENS = 256
"""Tokens that are encoded at a time on a CPU, for each thread pair: enough for a product at full speed."""

PAIR_BYTES = 52
"""Of one kept pair: token, latent, both again in the order of latents, value, gradient, both again."""


class Autoencoded(NamedTuple):
    """What `sparse_autoencode` gives: the sum of decoder rows, the kept values and their places."""

    output: Float[Tensor, "token write"]
    values: Float[Tensor, "pair"]
    kept: Kept


class Selected(NamedTuple):
    """The pairs that a selection keeps, and their pre-activations, without gradient."""

    kept: Kept
    pre: Float[Tensor, "pair"]


class SparsePre(NamedTuple):
    """Pre-activations of the kept pairs, with their gradients, and the pairs by latent."""

    pre: Float[Tensor, "pair"]
    kept: Kept
    groups: ByLatent


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
    encoded = sparse_encode(x, W_enc, b_enc, selected, input_bias)
    values = encoded.pre.relu()
    return Autoencoded(sparse_decode(values, W_dec, encoded), values, selected.kept)


def sparse_encode(
    x: Float[Tensor, "token read"],
    W_enc: Float[Tensor, "latent read"],
    b_enc: Float[Tensor, "latent"],
    selected: Selected,
    input_bias: Float[Tensor, "read"] | None = None,
) -> SparsePre:
    """The kept pre-activations as a function of input and encoder; arguments as `sparse_autoencode`."""
    with torch.no_grad():
        groups = by_latent(selected.kept, len(W_enc))
    pre: Tensor = _KeptPre.apply(x, W_enc, b_enc, input_bias, selected, groups)  # pyright: ignore[reportAssignmentType]
    return SparsePre(pre, selected.kept, groups)


def sparse_decode(
    values: Float[Tensor, "pair"], W_dec: Float[Tensor, "latent write"], encoded: SparsePre
) -> Float[Tensor, "token write"]:
    """Sum of each token's decoder rows times the values of its pairs; gradients flow to both."""
    return _Decode.apply(values, W_dec, encoded.kept, encoded.groups)  # pyright: ignore[reportReturnType]


def chunk_tokens(n_tokens: int, device: torch.device) -> int:
    """Tokens whose pre-activations exist at the same time; all of them on an accelerator."""
    if device.type != "cpu":
        return max(1, n_tokens)
    return CHUNK_TOKENS * max(1, torch.get_num_threads() // 2)


def step_buffer_bytes(
    *,
    n_tokens: int,
    n_latents: int,
    d_read: int,
    d_write: int,
    k: int,
    device: torch.device | None = None,
) -> int:
    """What a float32 training step of one k-sparse dictionary holds at most, as an estimate from above.

    Weights, gradients and moments are not in it: they are 16 bytes a parameter.

    Args:
        n_tokens: Tokens of a micro-batch.
        n_latents: Latents.
        d_read: Width of the read site.
        d_write: Width of the written site.
        k: Most latents that a token keeps, the largest of an annealing.
        device: Where it trains; absent: a CPU.
    """
    chunk = min(n_tokens, chunk_tokens(n_tokens, device or torch.device("cpu")))
    # The encoder times the decoder norms; the pre-activations of a chunk, and as much again for maxima,
    # candidates and their places.
    choice = 4 * n_latents * d_read + 8 * chunk * n_latents
    return choice + n_tokens * k * PAIR_BYTES + 4 * n_tokens * (2 * d_read + 5 * d_write)


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


class _KeptPre(torch.autograd.Function):
    """The kept pre-activations, already known, as a function of input and encoder."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        input_bias: Tensor | None,
        selected: Selected,
        groups: ByLatent,
    ) -> Tensor:
        ctx.save_for_backward(x, W_enc, *([] if input_bias is None else [input_bias]))
        ctx.pairs = selected.kept, groups
        return selected.pre.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = gradients
        x, W_enc, *bias = ctx.saved_tensors
        kept, groups = ctx.pairs
        grouped = gradient[groups.pair]
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = sum_rows(W_enc, kept.latent, kept.first, gradient)
        to_weight = sum_rows(x, groups.token, groups.first, grouped)
        to_bias = sum_pairs(grouped, groups.token, groups.first)
        to_input_bias = None
        if bias:
            # Each pair's input was x - input_bias, for the weight too.
            to_weight.addr_(to_bias, bias[0], alpha=-1)
            to_input_bias = -(to_bias @ W_enc)
        return to_x, to_weight, to_bias, to_input_bias, None, None


class _Decode(torch.autograd.Function):
    """Sum of the kept decoder rows times their values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, W_dec: Tensor, kept: Kept, groups: ByLatent) -> Tensor:
        ctx.save_for_backward(values, W_dec)
        ctx.pairs = kept, groups
        return sum_rows(W_dec, kept.latent, kept.first, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        values, W_dec = ctx.saved_tensors
        kept, groups = ctx.pairs
        gradient = gradients[0].contiguous()
        to_values = dot_pairs(gradient, W_dec, kept, groups)
        to_weight = sum_rows(gradient, groups.token, groups.first, values[groups.pair])
        return to_values, to_weight, None, None
