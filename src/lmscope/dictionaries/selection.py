"""Which latents a batch keeps: the dense encode, and the choice among its pre-activations.

Tokens are encoded a chunk at a time, each chunk's choice made while its scores are in the cache;
pre-activations of a whole batch never exist. Scores come out of the product itself, whose weights are
first multiplied by the norms of the decoder rows.

A choice may need the consent of other processes that hold other latents, or other tokens, of the
same batch: each one offers its own candidates' scores to `agree`, which says which of them are among
the best of all. Offering at least as many as could be kept in all makes the choice exact.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.dictionaries.encoding import EncodePrecision, Encoder
from lmscope.dictionaries.pairs import keep_pairs, keep_places, keep_rows
from lmscope.dictionaries.products import Selected

Agree = Callable[[Tensor], Tensor]
"""From the scores of this process's candidates to which of them are kept, a mask of equal shape."""

SMALLEST_NORM = 1e-18
"""Norms below it count as it, so that a score still tells the pre-activation of a row that is zero."""


@torch.no_grad()
def select_topk(
    x: Float[Tensor, "token read"],
    W_enc: Float[Tensor, "latent read"],
    b_enc: Float[Tensor, "latent"],
    norms: Float[Tensor, "latent"],
    k: int,
    agree: Agree | None = None,
    precision: EncodePrecision = "fp32",
) -> Selected:
    """The k latents of each token with the largest scores (he2024llamascope, eq. 5).

    Args:
        x: Input in training units.
        W_enc: Encoder, one row a latent.
        b_enc: Its bias, with all that is taken from the input.
        norms: Norms of the decoder rows; a score is ReLU(pre) * norm.
        k: Kept of each token, over all processes.
        agree: Consent over `[token, candidate]`; absent: these latents are all there are.
        precision: Of the dense product. The choice and the values are those of float32 with `bf16` and
            `int8` too: they find the candidates, and float32 chooses.
    """
    encoder, norms = _by_score(W_enc, b_enc, norms, x, precision)
    scores, latents = encoder.largest(x, min(k, len(W_enc)))
    pre = scores / norms[latents]
    kept = keep_rows(latents)
    if agree is None:
        return Selected(kept, pre.flatten())
    mask = agree(scores.relu()).flatten()
    kept = keep_pairs(kept.token[mask], kept.latent[mask], len(x))
    return Selected(kept, pre.flatten()[mask])


@torch.no_grad()
def select_batchtopk(
    x: Float[Tensor, "token read"],
    W_enc: Float[Tensor, "latent read"],
    b_enc: Float[Tensor, "latent"],
    norms: Float[Tensor, "latent"],
    n_kept: int,
    *,
    floor: float = 0.0,
    agree: Agree | None = None,
    precision: EncodePrecision = "fp32",
) -> Selected:
    """The `n_kept` pairs of a batch with the largest positive scores (bussmann2024batchtopk).

    Args:
        x: Input in training units.
        W_enc: Encoder, one row a latent.
        b_enc: Its bias, with all that is taken from the input.
        norms: Norms of the decoder rows; a score is ReLU(pre) * norm.
        n_kept: Kept of the whole batch, over all processes.
        floor: A guess below which no kept score lies; a good one makes the choice faster.
        agree: Consent over `[candidate]`; absent: these tokens and latents are all there are.
        precision: As in `select_topk`.
    """
    n_latents = len(W_enc)
    encoder, norms = _by_score(W_enc, b_enc, norms, x, precision)
    places, scores = encoder.above(x, max(floor, 0.0))
    if floor > 0 and len(places) < n_kept:
        places, scores = encoder.above(x, 0.0)
    if len(places) > n_kept:
        best = scores.topk(n_kept, sorted=False).indices.sort().values
        places, scores = places[best], scores[best]
    if agree is not None:
        mask = agree(scores)
        places, scores = places[mask], scores[mask]
    kept = keep_places(places, len(x), n_latents)
    return Selected(kept, scores / norms[kept.latent])


@torch.no_grad()
def select_above(
    x: Float[Tensor, "token read"],
    W_enc: Float[Tensor, "latent read"],
    b_enc: Float[Tensor, "latent"],
    floor: Float[Tensor, "latent"],
    *,
    most: int,
    precision: EncodePrecision = "fp32",
) -> Selected | None:
    """All pairs whose pre-activation is above their latent's floor; None if they are too many.

    Args:
        x: Input in training units.
        W_enc: Encoder, one row a latent.
        b_enc: Its bias, with all that is taken from the input.
        floor: One a latent.
        most: With more pairs than so many a sparse step is not worth while.
        precision: As in `select_topk`.
    """
    found = Encoder(W_enc, b_enc - floor, x, precision).above(x, 0.0, most)
    if found is None:
        return None
    places, over = found
    kept = keep_places(places, len(x), len(W_enc))
    return Selected(kept, over + floor[kept.latent])


def _by_score(
    W_enc: Tensor, b_enc: Tensor, norms: Tensor, x: Tensor, precision: EncodePrecision
) -> tuple[Encoder, Tensor]:
    """An encoder whose outputs are scores, and the norms that divide them again."""
    if bool((norms == 1).all()):
        return Encoder(W_enc, b_enc, x, precision), norms
    norms = norms.clamp(min=SMALLEST_NORM)
    return Encoder(W_enc * norms[:, None], b_enc * norms, x, precision), norms
