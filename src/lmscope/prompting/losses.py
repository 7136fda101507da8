"""Losses and metrics of scores of classes: pure functions, one row an example."""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as nnf

LossName = Literal["cross_entropy", "hinge", "error"]
MetricName = Literal["accuracy", "f1"]
MARGIN: Final = 2.0
"""Of the hinge loss, in logits (sun2022bbt's code)."""

Scores = Float[Tensor, "candidate example label"]
Labels = Int[Tensor, "example"]


def cross_entropy(
    scores: Float[Tensor, "candidate example label"], labels: Int[Tensor, "example"]
) -> Float[Tensor, "candidate"]:
    """Nats of the right class among the classes' words alone, averaged over examples (sun2022bbt)."""
    nats = -scores.double().log_softmax(-1)
    index = labels.expand(scores.shape[:-1])[..., None]
    return nats.gather(-1, index)[..., 0].mean(-1)


def hinge(
    scores: Float[Tensor, "candidate example label"],
    labels: Int[Tensor, "example"],
    margin: float = MARGIN,
) -> Float[Tensor, "candidate"]:
    """Sum over wrong classes of max(0, margin - how far the right one is ahead), averaged (sun2022bbt)."""
    values = scores.double()
    index = labels.expand(scores.shape[:-1])[..., None]
    behind = (values - values.gather(-1, index) + margin).clamp(min=0)
    return behind.scatter(-1, index, 0.0).sum(-1).mean(-1)


def error(
    scores: Float[Tensor, "candidate example label"], labels: Int[Tensor, "example"]
) -> Float[Tensor, "candidate"]:
    """Share of examples whose class is told wrongly."""
    return 1 - accuracy(scores, labels)


def accuracy(
    scores: Float[Tensor, "candidate example label"], labels: Int[Tensor, "example"]
) -> Float[Tensor, "candidate"]:
    """Share of examples whose class is told rightly; of equal scores the first class counts."""
    return (scores.argmax(-1) == labels).double().mean(-1)


def f1(
    scores: Float[Tensor, "candidate example label"], labels: Int[Tensor, "example"]
) -> Float[Tensor, "candidate"]:
    """F1 of the second class of two, of more classes the mean of each class's; 0 where nothing is right."""
    told, n_labels = scores.argmax(-1), scores.shape[-1]
    found = []
    for label in [1] if n_labels == 2 else range(n_labels):
        right = ((told == label) & (labels == label)).sum(-1).double()
        said, are = (told == label).sum(-1), (labels == label).sum(-1)
        found.append(2 * right / (said + are).clamp(min=1))
    return torch.stack(found).mean(0)


Measure = Callable[
    [Float[Tensor, "candidate example label"], Int[Tensor, "example"]], Float[Tensor, "candidate"]
]
LOSSES: Final[Mapping[LossName, Measure]] = {
    "cross_entropy": cross_entropy,
    "hinge": hinge,
    "error": error,
}
METRICS: Final[Mapping[MetricName, Measure]] = {"accuracy": accuracy, "f1": f1}


def calibrated(
    scores: Float[Tensor, "candidate example label"], bias: Float[Tensor, "label"]
) -> Float[Tensor, "candidate example label"]:
    """Scores with a number added to each class."""
    return scores + bias.to(scores)


def fit_bias(
    scores: Float[Tensor, "example label"], labels: Int[Tensor, "example"], *, decay: float = 1e-3
) -> Float[Tensor, "label"]:
    """The number for each class that lowers cross-entropy most; their sum is 0.

    The loss is convex, so this is the one minimum, found by Newton's method.

    Args:
        scores: Of the examples that it is fitted to.
        labels: Their classes.
        decay: Half of this times its square is added to the loss, so that it stays finite.
    """
    values, n = scores.double(), scores.shape[-1]
    wanted = nnf.one_hot(labels, n).double().mean(0)
    bias = torch.zeros(n, dtype=torch.float64, device=scores.device)
    for _ in range(100):
        p = (values + bias).softmax(-1)
        slope = p.mean(0) - wanted + decay * bias
        curve = torch.diag(p.mean(0)) - p.T @ p / len(p) + decay * torch.eye(n).to(bias)
        curve = curve + 1 / n  # a common shift changes nothing, so it gets no share
        move = torch.linalg.solve(curve, slope)
        bias = bias - move.clamp(-1, 1)
        if float(move.abs().max()) < 1e-10:
            break
    return bias - bias.mean()
