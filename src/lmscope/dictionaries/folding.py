"""Folding: from training units to raw activations, with decoder rows of norm 1."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Weights(NamedTuple):
    """Everything that a dictionary computes with; both matrices have one row a latent.

    Attributes:
        W_enc: Encoder.
        b_enc: Bias of the encoder.
        W_dec: Decoder.
        b_dec: Bias of the decoder.
        W_skip: Linear path beside the latents, or None.
        scale_in: What a raw input is multiplied with first.
        scale_out: What a raw target is multiplied with; outputs are divided by it.
        threshold: One number (of scores), one a latent (of pre-activations), or None.
    """

    W_enc: Float[Tensor, "latent read"]
    b_enc: Float[Tensor, "latent"]
    W_dec: Float[Tensor, "latent write"]
    b_dec: Float[Tensor, "write"]
    W_skip: Float[Tensor, "write read"] | None
    scale_in: Float[Tensor, ""]
    scale_out: Float[Tensor, ""]
    threshold: Tensor | None


def decoder_norms(W_dec: Float[Tensor, "latent write"]) -> Float[Tensor, "latent"]:
    """The norm of each latent's decoder row."""
    return torch.linalg.vector_norm(W_dec, dim=1)


def fold(weights: Weights, apply_b_dec_to_input: bool, *, unit_rows: bool = True) -> Weights:
    """The same function of raw activations, with scales of 1 and decoder rows of norm 1.

    With `s = scale_in / scale_out` and `n` the norm of a row of `s * W_dec`:
    `W_enc *= n`, `b_enc *= n / scale_in`, `W_dec = s * W_dec / n`, `b_dec /= scale_out`
    (he2024llamascope, the authors' order of operations). A folded latent is therefore its old value
    times `n / scale_in`: what it adds to the reconstruction, in raw units. Thresholds follow: one a
    latent is multiplied by `n / scale_in`, a scalar one of scores is divided by `scale_out` and
    given to every latent.

    A latent with a decoder row of zeros never fires once folded, as it never added anything.

    Args:
        weights: In training units.
        apply_b_dec_to_input: Whether `b_dec` is taken from the input; it moves into `b_enc`.
        unit_rows: Whether decoder rows come to norm 1; else they keep theirs, `n = 1` above and
            `W_dec *= s`.

    Returns:
        Weights whose thresholds, if any, are one a latent, and whose `b_dec` is not to be taken
        from the input.
    """
    b_enc = weights.b_enc
    if apply_b_dec_to_input:
        b_enc = b_enc - weights.W_enc @ weights.b_dec
    ratio = weights.scale_in / weights.scale_out
    norms = decoder_norms(weights.W_dec) * ratio
    if not unit_rows:
        norms = torch.ones_like(norms)
    gain = norms / weights.scale_in
    one = torch.ones_like(weights.scale_in)
    threshold = weights.threshold
    if threshold is not None:
        scalar = threshold.ndim == 0
        threshold = (threshold / weights.scale_out).expand_as(gain) if scalar else threshold * gain
    return Weights(
        W_enc=weights.W_enc * norms[:, None],
        b_enc=b_enc * gain,
        W_dec=weights.W_dec * ratio / torch.where(norms > 0, norms, one)[:, None],
        b_dec=weights.b_dec / weights.scale_out,
        W_skip=None if weights.W_skip is None else weights.W_skip * ratio,
        scale_in=one,
        scale_out=one,
        threshold=None if threshold is None else threshold.clone(),
    )
