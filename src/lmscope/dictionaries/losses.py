"""What a dictionary pays for: its error, and what its sparsity adds."""

from typing import Literal

import torch
import torch.nn.functional as nnf
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.core.processes import ALONE, ALONE_GROUP, Group, Processes
from lmscope.dictionaries.agreement import agree_on_tokens
from lmscope.dictionaries.config import JumpReLU, ReLU
from lmscope.dictionaries.sparsity import step_trained

Reconstruction = Literal["sum", "mean", "batch_norm"]


def reconstruction_error(
    output: Float[Tensor, "token write"],
    target: Float[Tensor, "token write"],
    kind: Reconstruction,
    mean: Float[Tensor, "write"] | None = None,
) -> Float[Tensor, ""]:
    """The squared error, summed over tokens.

    Args:
        output: In training units.
        target: In training units.
        kind: `sum` over the width; `mean` over the width; `batch_norm`: the mean divided by the norm
            of the target less the batch's mean target (he2024llamascope, the authors'
            `use_batch_norm_mse`), which makes each token's error depend on its batch.
        mean: The batch's mean target; absent: of the tokens that are here.
    """
    if kind != "batch_norm":
        summed = nnf.mse_loss(output, target, reduction="sum")
        return summed if kind == "sum" else summed / target.shape[1]
    squared = (output - target).square()
    centred = target - (target.mean(dim=0) if mean is None else mean)
    norm = torch.linalg.vector_norm(centred, dim=1).clamp(min=1e-8)
    return (squared.mean(dim=1) / norm).sum()


def summed_error_unit(kind: Reconstruction, d_write: int) -> float:
    """What one unit of the error summed over the width is worth under another reduction.

    Coefficients of penalties are stated against the summed error, so that they mean the same trade
    under each reduction. For `batch_norm` a target is taken to have norm sqrt(d_write).
    """
    return {"sum": 1.0, "mean": 1.0 / d_write, "batch_norm": d_write**-1.5}[kind]


def l1_penalty(
    latents: Float[Tensor, "token latent"], norms: Float[Tensor, "latent"], sparsity: ReLU
) -> Float[Tensor, ""]:
    """Sum of the latents, each times its decoder row's norm if asked (templeton2024scaling)."""
    return (latents * norms if sparsity.weight_by_decoder_norm else latents).sum()


def l0_penalty(
    pre: Float[Tensor, "token latent"],
    threshold: Float[Tensor, "latent"],
    bandwidth: float,
    sparsity: JumpReLU,
    processes: Processes = ALONE,
) -> Float[Tensor, ""]:
    """Number of latents that fire, summed over tokens (rajamanoharan2024jumprelu).

    With `target_l0` it is `(L0 / target - 1)^2` a token, L0 being the batch's mean (appendix of the
    same paper). Only the thresholds feel it.

    Args:
        pre: Pre-activations.
        threshold: One a latent.
        bandwidth: Width of the rectangle in which a threshold feels a gradient.
        sparsity: Says whether there is a target.
        processes: Who holds other latents of these tokens, and other tokens of the batch.
    """
    fired = step_trained(pre, threshold, bandwidth).sum()
    return l0_penalty_of(fired, len(pre), sparsity, processes)


def l0_penalty_of(
    fired: Float[Tensor, ""], n_rows: int, sparsity: JumpReLU, processes: Processes = ALONE
) -> Float[Tensor, ""]:
    """`l0_penalty` of how often the latents of this process fired on its tokens."""
    fired = processes.latent.total(fired)
    if sparsity.target_l0 is None:
        return fired
    n_tokens = processes.data.sum_(fired.new_tensor(float(n_rows)))
    l0 = processes.data.coupled_total(fired) / n_tokens
    return n_rows * (l0 / sparsity.target_l0 - 1).square()


def auxiliary_error(
    x: Float[Tensor, "token read"],
    residual: Float[Tensor, "token write"],
    encoder: tuple[Tensor, Tensor],
    W_dec: Float[Tensor, "latent write"],
    dead: Bool[Tensor, "latent"],
    k: int,
    kind: Reconstruction,
    latent: Group = ALONE_GROUP,
) -> Float[Tensor, ""]:
    """Error of the dead latents at what the living leave over (gao2024topk, appendix A.2).

    The k dead latents of each token with the largest pre-activations reconstruct `residual`. The
    gradient reaches encoder, bias and decoder of the dead, and nothing else.

    Args:
        x: Input in training units.
        residual: Target less output, detached.
        encoder: Its weight, one row a latent, and its bias.
        W_dec: Decoder, one row a latent.
        dead: Which latents are dead; at least one of all processes'.
        k: How many take part for each token, at most all of them.
        kind: As in `reconstruction_error`.
        latent: Who holds other latents of the same tokens.
    """
    W_enc, b_enc = encoder
    which = dead.nonzero().squeeze(1)
    pre = nnf.linear(x, W_enc[which], b_enc[which])
    values, places = pre.topk(min(k, len(which)), dim=-1, sorted=False)
    if agree := agree_on_tokens(latent, k):
        offered = pre.new_full((len(x), k), -torch.inf)  # equally many of each process
        offered[:, : values.shape[1]] = values.detach()
        values = values * agree(offered)[:, : values.shape[1]]
    latents = torch.zeros_like(pre).scatter(-1, places, values.relu())
    return reconstruction_error(latent.total(latents @ W_dec[which]), residual, kind)
