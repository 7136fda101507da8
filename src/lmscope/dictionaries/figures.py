"""From sums over tokens to the figures of a report, each with its interval."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from lmscope.dictionaries.latent_statistics import LatentTally
from lmscope.dictionaries.report import (
    Ablation,
    Loss,
    PositionHealth,
    Reconstruction,
    Sparsity,
)
from lmscope.evaluation.scoring import ce_recovered, mean_ce, mean_kl
from lmscope.evaluation.statistics import Estimate, Resamples, centred_square, ratio


def target_columns(y: Float[Tensor, "token write"]) -> dict[str, Tensor]:
    """What is summed of the truth: counts, ||y||^2 and y itself."""
    y = y.double()
    return {"n": y.new_ones(len(y)), "square": y.square().sum(-1), "vector": y}


def arm_columns(
    arm: str, y: Float[Tensor, "token write"], guess: Float[Tensor, "token write"]
) -> dict[str, Tensor]:
    """What is summed of a reconstruction: squared error, cosine and ratio of norms of each token."""
    y, guess = y.double(), guess.double()
    size, guess_size = y.norm(dim=-1), guess.norm(dim=-1)
    tiny = torch.finfo(torch.float64).tiny
    return {
        f"error/{arm}": (y - guess).square().sum(-1),
        f"cosine/{arm}": (y * guess).sum(-1) / (size * guess_size).clamp(min=tiny),
        f"ratio/{arm}": guess_size / size.clamp(min=tiny),
    }


def mean_of(sums: Resamples, column: str, bucket: int | None = None) -> Estimate | None:
    """The mean of a column over tokens."""
    return sums.estimate(ratio(sums.total(column, bucket), sums.total("n", bucket)))


def spread_around_mean(
    sums: Resamples, bucket: int | None = None
) -> Float64[np.ndarray, "resample"]:
    """The sum of ||y - m||^2, m being the mean over all positions of the same resample."""
    mean = ratio(sums.total("vector"), sums.total("n")[:, None])
    return centred_square(
        sums.total("square", bucket), sums.total("vector", bucket), sums.total("n", bucket), mean
    )


def reconstruction(
    sums: Resamples,
    arm: str,
    spread: Float64[np.ndarray, "resample"],
    bucket: int | None = None,
) -> Reconstruction:
    """How close an arm comes, given the spread of the truth around its mean."""
    error, square = sums.total(f"error/{arm}", bucket), sums.total("square", bucket)
    return Reconstruction(
        explained_variance_centred=sums.estimate(1 - ratio(error, spread)),
        explained_variance_uncentred=sums.estimate(1 - ratio(error, square)),
        normalised_mse=sums.estimate(ratio(error, spread)),
        mse=mean_of(sums, f"error/{arm}", bucket),
        cosine=mean_of(sums, f"cosine/{arm}", bucket),
        l2_ratio=mean_of(sums, f"ratio/{arm}", bucket),
    )


def loss(sums: Resamples | None, arm: str, bucket: int | None = None) -> Loss | None:
    """What an arm costs the model; None when no loss was measured."""
    if sums is None:
        return None
    has_mean = "ce/mean" in sums
    return Loss(
        ce=mean_ce(sums, arm, bucket),
        ce_recovered_zero=ce_recovered(sums, arm, "zero", bucket),
        ce_recovered_mean=ce_recovered(sums, arm, "mean", bucket) if has_mean else None,
        kl=mean_kl(sums, arm, bucket),
    )


def ablation(sums: Resamples | None) -> Ablation | None:
    """The loss of the clean model and without the site; None when no loss was measured."""
    if sums is None:
        return None
    has_mean = "ce/mean" in sums
    return Ablation(
        ce_clean=mean_ce(sums, "clean"),
        ce_zero=mean_ce(sums, "zero"),
        ce_mean=mean_ce(sums, "mean") if has_mean else None,
        kl_zero=mean_kl(sums, "zero"),
        kl_mean=mean_kl(sums, "mean") if has_mean else None,
    )


def sparsity(sums: Resamples, latents: LatentTally) -> Sparsity:
    """How often latents fire."""
    frequency = latents.statistics().firing_frequency
    l0 = mean_of(sums, "l0")
    assert l0 is not None  # there is a token
    return Sparsity(
        l0=l0,
        l0_quantiles=latents.l0_quantiles(),
        l0_histogram=latents.l0_histogram(),
        n_dead=int((frequency == 0).sum()),
        dead_fraction=float((frequency == 0).double().mean()),
        n_dense=int((frequency > 0.1).sum()),
        dense_fraction=float((frequency > 0.1).double().mean()),
        n_half=int((frequency > 0.5).sum()),
        frequency_histogram=latents.frequency_histogram(),
    )


def positions(
    sums: Resamples, losses: Resamples | None, edges: Sequence[int], context_length: int
) -> tuple[PositionHealth, ...]:
    """The dictionary's figures for each position bucket in which a token was evaluated."""
    found = []
    for bucket, first in enumerate(edges):
        n_tokens = int(sums.total("n", bucket)[0])
        if not n_tokens:
            continue
        last = edges[bucket + 1] - 1 if bucket + 1 < len(edges) else context_length - 1
        found.append(
            PositionHealth(
                first=first,
                last=last,
                n_tokens=n_tokens,
                l0=mean_of(sums, "l0", bucket),
                reconstruction=reconstruction(
                    sums, "dictionary", spread_around_mean(sums, bucket), bucket
                ),
                loss=loss(losses, "dictionary", bucket),
                ce_clean=None if losses is None else mean_ce(losses, "clean", bucket),
            )
        )
    return tuple(found)
