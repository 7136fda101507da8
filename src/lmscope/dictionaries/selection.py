"""Which latents a batch keeps: the dense encode, and the choice among its pre-activations.

A choice may need the consent of other processes that hold other latents, or other tokens, of the
same batch: each one offers its own candidates' scores to `agree`, which says which of them are among
the best of all. Offering at least as many as could be kept in all makes the choice exact.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.dictionaries.products import Kept, Selected, keep_places, keep_rows, linear
from lmscope.dictionaries.sparsity import batchtopk_places, topk_sparse

Agree = Callable[[Tensor], Tensor]
"""From the scores of this process's candidates to which of them are kept, a mask of equal shape."""


@torch.no_grad()
def select_topk(
    x: Float[Tensor, "token read"],
    W_enc: Float[Tensor, "latent read"],
    b_enc: Float[Tensor, "latent"],
    norms: Float[Tensor, "latent"],
    k: int,
    agree: Agree | None = None,
) -> Selected:
    """The k latents of each token with the largest scores (he2024llamascope, eq. 5).

    Args:
        x: Input in training units.
        W_enc: Encoder, one row a latent.
        b_enc: Its bias, with all that is taken from the input.
        norms: Norms of the decoder rows; a score is ReLU(pre) * norm.
        k: Kept of each token, over all processes.
        agree: Consent over `[token, candidate]`; absent: these latents are all there are.
    """
    n_latents = len(W_enc)
    pre = linear(x, W_enc, b_enc)
    indices = topk_sparse(pre, norms, min(k, n_latents)).indices
    kept = keep_rows(indices)
    if agree is not None:
        scores = pre.gather(1, indices).relu() * norms[indices]
        mask = agree(scores).flatten()
        places = (kept.token * n_latents + kept.latent)[mask]
        kept = keep_places(places.sort().values, len(x), n_latents)
    return _with_values(pre, kept)


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
    """
    n_latents = len(W_enc)
    pre = linear(x, W_enc, b_enc)
    places = batchtopk_places(pre, norms, n_kept, floor)
    if agree is not None:
        scores = pre.flatten()[places] * norms[places % n_latents]
        places = places[agree(scores)]
    return _with_values(pre, keep_places(places, len(x), n_latents))


def _with_values(pre: Tensor, kept: Kept) -> Selected:
    return Selected(kept, pre.flatten()[kept.token * pre.shape[1] + kept.latent])
