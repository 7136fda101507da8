"""Linear probes: what of some labels can be read off activations, the reference for what a dictionary finds there."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from lmscope.core.errors import DataError


@dataclass(frozen=True, eq=False)
class LinearProbes:
    """One direction a label, by least squares with a ridge.

    Attributes:
        weight: Of each label.
        bias: Of each label.
    """

    weight: Float[Tensor, "width label"]
    bias: Float[Tensor, "label"]

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        x: Float[Tensor, "token width"],
        labels: Bool[np.ndarray, "token label"],
        *,
        ridge: float = 1e-4,
    ) -> "LinearProbes":
        """Fit all labels at once, in closed form.

        Args:
            x: Activations.
            labels: Truth values of each token.
            ridge: Added to the variance along each direction, as a share of their mean.

        Raises:
            DataError: There is no token.
        """
        if not len(x):
            raise DataError("Probes need activations of at least one token.")
        x = x.double().cpu()
        y = torch.from_numpy(labels).double()
        mean, target = x.mean(0), y.mean(0)
        centred = x - mean
        gram = centred.T @ centred
        added = ridge * gram.trace() / len(gram) + torch.finfo(torch.float64).tiny
        gram.diagonal().add_(added)
        weight = torch.linalg.solve(gram, centred.T @ (y - target))
        return cls(weight.float(), (target - mean @ weight).float())

    @torch.no_grad()
    def scores(self, x: Float[Tensor, "token width"]) -> Float[Tensor, "token label"]:
        """What the probes say, near 1 where a label holds and near 0 elsewhere."""
        return x.float().cpu() @ self.weight + self.bias


def probe_f1(
    chosen: Float[Tensor, "token label"],
    chosen_labels: Bool[np.ndarray, "token label"],
    judged: Float[Tensor, "other label"],
    judged_labels: Bool[np.ndarray, "other label"],
) -> Float64[np.ndarray, "label"]:
    """F1 of detectors whose thresholds are chosen on some tokens, on others.

    Args:
        chosen: Scores of the tokens that choose; a detector says yes where its score is above the threshold.
        chosen_labels: Truth values of them.
        judged: Scores of others.
        judged_labels: Truth values of them.
    """
    thresholds = _best_thresholds(chosen, torch.from_numpy(chosen_labels))
    says, true = judged > thresholds, torch.from_numpy(judged_labels)
    hits = (says & true).sum(0)
    return (2 * hits / (says.sum(0) + true.sum(0)).clamp(min=1)).double().numpy()


def _best_thresholds(
    scores: Float[Tensor, "token label"], labels: Bool[Tensor, "token label"]
) -> Float[Tensor, "label"]:
    values, order = scores.T.contiguous().sort(dim=1, descending=True)
    hits = labels.T.gather(1, order).cumsum(1)
    n = torch.arange(1, values.shape[1] + 1)
    f1 = 2 * hits / (n + hits[:, -1:])
    f1[:, :-1][values[:, :-1] == values[:, 1:]] = 0.0  # a cut never stands between equal scores
    place = f1.argmax(1, keepdim=True)
    below = values.gather(1, (place + 1).clamp(max=values.shape[1] - 1))
    cut = torch.where(place + 1 < values.shape[1], (values.gather(1, place) + below) / 2, below - 1)
    return cut[:, 0]
