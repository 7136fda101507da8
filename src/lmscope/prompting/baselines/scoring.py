"""Baselines that need no more than one pass: scores set right by a bias, and nearest class means."""

import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

from lmscope.core.errors import DataError
from lmscope.prompting.losses import calibrated, cross_entropy, fit_bias

_STEEPEST = 100.0


def label_bias_scores(
    test: Float[Tensor, "test label"],
    train: Float[Tensor, "train label"],
    labels: Int[Tensor, "train"],
) -> Float[Tensor, "test label"]:
    """Scores with a number for each class, fitted to the training examples: an upper bound of calibration (zhao2021calibrate).

    What it gains is gained by knowing which words a model likes, not by telling examples apart.

    Args:
        test: Scores under the manual prompt.
        train: Likewise, of the training examples.
        labels: Their classes.
    """
    return calibrated(test[None], fit_bias(train, labels))[0]


def contextual_scores(
    test: Float[Tensor, "test label"], empty: Float[Tensor, "text label"]
) -> Float[Tensor, "test label"]:
    """Log probabilities less those of texts that say nothing, needing no label at all (zhao2021calibrate, section 5).

    The probabilities are of the classes' words alone; those of several empty texts are averaged.

    Args:
        test: Scores under the manual prompt.
        empty: Likewise, of texts that say nothing.
    """
    liked = empty.double().softmax(-1).mean(0)
    return (test.double().log_softmax(-1) - liked.log()).float()


def prototype_scores(
    test: Float[Tensor, "test model"],
    train: Float[Tensor, "train model"],
    labels: Int[Tensor, "train"],
    n_labels: int,
) -> Float[Tensor, "test label"]:
    """Cosine between an example and each class's mean, both less the mean of all training examples (snell2017prototypes).

    Differs: the paper learns the space and takes the Euclidean distance in it; a language model's space is given, and
    the lengths of its vectors say little of a class.

    Args:
        test: Values of `final` at the answer's position.
        train: Likewise, of the training examples.
        labels: Their classes.
        n_labels: Classes of the task.

    Raises:
        DataError: A class has no training example.
    """
    counts = torch.bincount(labels, minlength=n_labels)
    if not bool(counts.all()):
        raise DataError(
            f"Class {int(counts.argmin())} has no training example, so it has no mean: give at least one of each class."
        )
    values, middle = train.double(), train.double().mean(0)
    means = values.new_zeros(n_labels, values.shape[1]).index_add_(0, labels, values - middle)
    means = means / counts[:, None]  # of what is already centred
    return (_unit(test.double() - middle) @ _unit(means).T).float()


def fit_scale(scores: Float[Tensor, "example label"], labels: Int[Tensor, "example"]) -> float:
    """The factor, at most 100, under which scores have the lowest cross-entropy: cosines are no logits by themselves.

    The loss is convex in it, so this is the one minimum. It never changes which class is told.

    Args:
        scores: Of examples that the scores were not fitted to.
        labels: Their classes.
    """
    values = scores.detach().cpu()[None]
    right = labels.cpu()
    found = minimize_scalar(
        lambda scale: float(cross_entropy(values * float(scale), right)),
        bounds=(0.0, _STEEPEST),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return max(float(found.x), 1e-3)


def _unit(values: Float[Tensor, "row model"]) -> Float[Tensor, "row model"]:
    return torch.nn.functional.normalize(values, dim=-1)
