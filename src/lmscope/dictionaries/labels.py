"""Latents scored against labels that every token has: does one fire where, and only where, a label holds?

A latent with a threshold is a detector of a label. Its threshold is chosen on one part of the texts
and precision, recall and F1 are stated on the other. The best of thousands of latents does well by
chance too: how well is measured with labels that were moved along the texts, which keeps their number and
their runs and breaks what ties them to the activations.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.core.rng import numpy_generator

_LATENTS_AT_ONCE: Final = 2048
_NULL_QUANTILE: Final = 0.95


class LabelOptions(Config):
    """How latents are scored."""

    n_best: Annotated[int, Field(ge=1)] = 5
    """Latents shown of each label."""
    n_permutations: Annotated[int, Field(ge=0)] = 20
    """Moved labels, for each of which the best latent is found; 0: none."""
    seed: int = 0


class LatentScore(Config):
    """One latent as a detector of one label; on texts that chose neither it nor its threshold."""

    latent: int
    threshold: float
    """It fires where its activation is above."""
    f1: float
    precision: float
    recall: float
    chosen_f1: float
    """On the texts that chose it."""


class LabelScore(Config):
    """One label, and the latents that tell it best."""

    label: str
    n_true: int
    """Tokens of which it holds, among those that are judged on."""
    n_tokens: int
    always_f1: float
    """F1 of a detector that always fires: what a label gives away that holds almost everywhere."""
    best: tuple[LatentScore, ...]
    """The latents with the best F1 on the texts that choose, the best first."""
    null_f1: float | None = None
    """Of moved labels: F1 of their best latent, chosen and judged likewise; 95th percentile."""
    p_value: float | None = None
    """Share of moved labels that some latent tells at least as well, the label itself counted."""


def score_labels(
    activations: Float[Tensor, "token latent"],
    labels: Mapping[str, Bool[np.ndarray, "token"]],
    text: Int[np.ndarray, "token"],
    options: LabelOptions = LabelOptions(),  # noqa: B008 (a frozen value)
) -> tuple[LabelScore, ...]:
    """Find the latents that tell each label best.

    Texts of even number choose latent and threshold, those of odd number judge.

    Args:
        activations: Of each latent, 0 where it does not fire.
        labels: Truth values by name; one that holds nowhere, or everywhere, in either half is left out.
        text: Which text each token stands in, ascending from 0.
        options: How.

    Raises:
        DataError: Lengths differ, or there are fewer than two texts.
    """
    n = len(activations)
    if any(len(values) != n for values in labels.values()) or len(text) != n:
        raise DataError(
            f"{n} tokens have activations: give as many truth values of each label, and a text for each."
        )
    if len(np.unique(text)) < 2:
        raise DataError("Latents are chosen on some texts and judged on others: give two or more.")
    chooses = text % 2 == 0
    usable = {
        name: values
        for name, values in labels.items()
        if 0 < values[chooses].sum() < chooses.sum()
        and 0 < values[~chooses].sum() < (~chooses).sum()
    }
    halves = _Halves(activations, chooses)
    return tuple(_score(halves, name, values, text, options) for name, values in usable.items())


class _Halves:
    """Activations sorted once, so that each label costs one cumulative sum."""

    def __init__(self, activations: Tensor, chooses: Bool[np.ndarray, "token"]) -> None:
        self.chooses = torch.from_numpy(chooses)
        self.judged = activations[~self.chooses]
        self.blocks = [
            block.sort(dim=0, descending=True)
            for block in activations[self.chooses].split(_LATENTS_AT_ONCE, dim=1)
        ]

    def best(self, label: Bool[Tensor, "token"]) -> tuple[Tensor, Tensor]:
        """Best F1 and its threshold of each latent, on the half that chooses."""
        truth = label[self.chooses].float()
        found = [_best_thresholds(values, truth[order]) for values, order in self.blocks]
        return torch.cat([f1 for f1, _ in found]), torch.cat([at for _, at in found])


def _best_thresholds(
    values: Float[Tensor, "token latent"], truth: Float[Tensor, "token latent"]
) -> tuple[Float[Tensor, "latent"], Float[Tensor, "latent"]]:
    """F1 of every cut between two activations, of each latent; values descend, truth in their order."""
    hits = truth.cumsum(0)
    n_fired = torch.arange(1, len(values) + 1, dtype=truth.dtype)[:, None]
    f1 = 2 * hits / (n_fired + truth.sum(0))
    # A cut stands between different activations, and nothing that does not fire is detected.
    after = torch.cat([values[1:], torch.zeros_like(values[:1])])
    f1 = torch.where((values > after) & (values > 0), f1, 0.0)
    best, place = f1.max(0)
    low, high = after.gather(0, place[None])[0], values.gather(0, place[None])[0]
    return best, torch.where(best > 0, (low.clamp(min=0) + high) / 2, torch.inf)


def _score(
    halves: _Halves,
    name: str,
    values: Bool[np.ndarray, "token"],
    text: Int[np.ndarray, "token"],
    options: LabelOptions,
) -> LabelScore:
    label = torch.from_numpy(np.ascontiguousarray(values))
    f1, threshold = halves.best(label)
    order = torch.argsort(f1, descending=True, stable=True)[: options.n_best].tolist()
    best = tuple(_judge(halves, label, i, float(threshold[i]), float(f1[i])) for i in order)
    null = _null(halves, name, values, text, options)
    truth = label[~halves.chooses]
    own = best[0].f1
    return LabelScore(
        label=name,
        n_true=int(truth.sum()),
        n_tokens=len(truth),
        always_f1=float(2 * truth.sum() / (len(truth) + truth.sum())),
        best=best,
        null_f1=float(np.quantile(null, _NULL_QUANTILE)) if null else None,
        p_value=(1 + sum(one >= own for one in null)) / (1 + len(null)) if null else None,
    )


def _judge(
    halves: _Halves, label: Tensor, latent: int, threshold: float, chosen_f1: float
) -> LatentScore:
    fires, truth = halves.judged[:, latent] > threshold, label[~halves.chooses]
    hits, fired, true = (int(one.sum()) for one in (fires & truth, fires, truth))
    return LatentScore(
        latent=latent,
        threshold=threshold,
        f1=2 * hits / max(fired + true, 1),
        precision=hits / max(fired, 1),
        recall=hits / max(true, 1),
        chosen_f1=chosen_f1,
    )


def _null(
    halves: _Halves,
    name: str,
    values: Bool[np.ndarray, "token"],
    text: Int[np.ndarray, "token"],
    options: LabelOptions,
) -> list[float]:
    """Held-out F1 of the best latent for labels that were moved within each half."""
    found = []
    for draw in range(options.n_permutations):
        rng = numpy_generator(options.seed, "labels", name, draw)
        moved = torch.from_numpy(_moved(values, text, rng))
        f1, threshold = halves.best(moved)
        i = int(f1.argmax())
        found.append(_judge(halves, moved, i, float(threshold[i]), float(f1[i])).f1)
    return found


def _moved(
    values: Bool[np.ndarray, "token"], text: Int[np.ndarray, "token"], rng: np.random.Generator
) -> Bool[np.ndarray, "token"]:
    """The label of other texts: each half is turned round by a distance of its own."""
    moved = values.copy()
    for half in (text % 2 == 0, text % 2 == 1):
        places = np.flatnonzero(half)
        shift = int(rng.integers(1, max(len(places), 2)))
        moved[places] = np.roll(values[places], shift)
    return moved
