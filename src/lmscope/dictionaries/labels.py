"""Latents scored against labels that every token has: does one fire where, and only where, a label holds?

A latent with a threshold is a detector of a label. Latent and threshold are chosen on one half of the
texts, and precision, recall and F1 are stated on the other. The best of thousands of latents does well by
chance too; how well is measured with labels of other texts in the place of each text's own, which keeps
how often a label holds, in what runs and where in a text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.core.rng import numpy_generator

_NULL_QUANTILE: Final = 0.95


class LabelOptions(Config):
    """How latents are scored."""

    n_best: Annotated[int, Field(ge=1)] = 5
    """Latents shown of each label."""
    n_permutations: Annotated[int, Field(ge=0)] = 100
    """Times that texts get labels of others, and the best latent for these is found; 0: never."""
    seed: int = 0


class LatentScore(Config):
    """One latent as a detector of one label, on texts that chose neither it nor its threshold."""

    latent: int
    threshold: float
    """It says that the label holds where its activation is above."""
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
    """Latents with the best F1 on the texts that choose, the best first."""
    null_f1: float | None = None
    """Of other texts' labels: F1 of their best latent, chosen and judged likewise; 95th percentile."""
    p_value: float | None = None
    """Share of these draws in which it is at least as good as the best latent of the label itself; the label
    counts as one of them."""


@dataclass(frozen=True, eq=False)
class Firings:
    """Where latents fire on texts that stand one behind the other.

    Attributes:
        token: Of each firing, from 0.
        latent: Which one fires.
        value: Its activation, above 0.
        text: The text of every token, ascending.
    """

    token: Int[np.ndarray, "firing"]
    latent: Int[np.ndarray, "firing"]
    value: Float[np.ndarray, "firing"]
    text: Int[np.ndarray, "token"]

    @classmethod
    def of(
        cls, activations: Float[np.ndarray, "token latent"], text: Int[np.ndarray, "token"]
    ) -> "Firings":
        """Of dense activations, 0 where a latent does not fire."""
        token, latent = np.nonzero(activations > 0)
        return cls(token, latent, activations[token, latent], text)


def score_labels(
    firings: Firings,
    labels: Mapping[str, Bool[np.ndarray, "token"]],
    options: LabelOptions = LabelOptions(),  # noqa: B008 (a frozen value)
) -> tuple[LabelScore, ...]:
    """Find the latents that tell each label best.

    Texts of even number choose latent and threshold, those of odd number judge.

    Args:
        firings: Of all latents of a dictionary.
        labels: Truth values by name; one that holds nowhere or everywhere in either half says nothing and
            is left out.
        options: How.

    Raises:
        DataError: Lengths differ, or there are fewer than two texts.
    """
    n = len(firings.text)
    for name, values in labels.items():
        if len(values) != n:
            raise DataError(
                f"The label '{name}' has {len(values)} truth values for {n} tokens: give one a token."
            )
    chooses = firings.text % 2 == 0
    if chooses.all() or not chooses.any():
        raise DataError("Latents are chosen on some texts and judged on others: give two or more.")
    choosing, judging = _Detectors(firings, chooses), _Detectors(firings, ~chooses)
    told = {
        name: values
        for name, values in labels.items()
        if choosing.is_told(values) and judging.is_told(values)
    }
    return tuple(_score(choosing, judging, name, values, options) for name, values in told.items())


class _Detectors:
    """Every latent at every threshold on one half of the texts; a label costs one cumulative sum.

    Firings are held by latent, the strongest first: a threshold is a number of firings of a latent.
    """

    def __init__(self, firings: Firings, half: Bool[np.ndarray, "token"]) -> None:
        here = half[firings.token]
        token, latent, value = firings.token[here], firings.latent[here], firings.value[here]
        order = np.lexsort((-value, latent))
        self.half, self.text = half, firings.text
        self.token, self.value = token[order], value[order]
        self.latents, self.starts = np.unique(latent[order], return_index=True)
        self.ends = np.append(self.starts, len(self.token))[1:]
        sizes = self.ends - self.starts
        self._start_of = np.repeat(self.starts, sizes)
        self._n_fired = np.arange(len(self.token)) - self._start_of + 1
        # A cut stands between different activations, never between equal ones.
        is_last = np.zeros(len(self.token), dtype=bool)
        is_last[self.ends - 1] = True
        self._can_cut = is_last | (self.value != np.append(self.value[1:], 0))

    def is_told(self, label: Bool[np.ndarray, "token"]) -> bool:
        """Whether a label is true of some tokens here and false of others."""
        return bool(0 < label[self.half].sum() < self.half.sum())

    def f1(self, label: Bool[np.ndarray, "token"]) -> Float[np.ndarray, "firing"]:
        """F1 of each cut below a firing; 0 where none can stand."""
        hits = np.cumsum(label[self.token])
        before = hits[self._start_of] - label[self.token[self._start_of]]
        found = 2 * (hits - before) / (self._n_fired + label[self.half].sum())
        return np.where(self._can_cut, found, 0.0)

    def best(self, label: Bool[np.ndarray, "token"], n: int) -> list[tuple[int, float, float]]:
        """The latents with the best F1 as (latent, threshold, F1); ties to the lower number."""
        if not len(self.token):
            return []
        f1 = self.f1(label)
        by_latent = np.maximum.reduceat(f1, self.starts)
        found = []
        for i in np.argsort(-by_latent, kind="stable")[:n].tolist():
            start, end = int(self.starts[i]), int(self.ends[i])
            place = start + int(f1[start:end].argmax())
            below = float(self.value[place + 1]) if place + 1 < end else 0.0
            threshold = (float(self.value[place]) + below) / 2
            found.append((int(self.latents[i]), threshold, float(by_latent[i])))
        return found

    def judge(
        self, label: Bool[np.ndarray, "token"], latent: int, threshold: float
    ) -> tuple[float, float, float]:
        """F1, precision and recall of one detector; 0 where it never fires."""
        i = int(np.searchsorted(self.latents, latent))
        fired = self.token[:0]
        if i < len(self.latents) and self.latents[i] == latent:
            mine = slice(int(self.starts[i]), int(self.ends[i]))
            fired = self.token[mine][self.value[mine] > threshold]
        hits, true = int(label[fired].sum()), int(label[self.half].sum())
        n_fired = len(fired)
        return (
            2 * hits / max(n_fired + true, 1),
            hits / max(n_fired, 1),
            hits / max(true, 1),
        )


def _score(
    choosing: _Detectors,
    judging: _Detectors,
    name: str,
    label: Bool[np.ndarray, "token"],
    options: LabelOptions,
) -> LabelScore:
    best = []
    for latent, threshold, chosen_f1 in choosing.best(label, options.n_best):
        f1, precision, recall = judging.judge(label, latent, threshold)
        best.append(
            LatentScore(
                latent=latent,
                threshold=threshold,
                f1=f1,
                precision=precision,
                recall=recall,
                chosen_f1=chosen_f1,
            )
        )
    null = [
        _best_of_others(
            choosing, judging, label, numpy_generator(options.seed, "labels", name, draw)
        )
        for draw in range(options.n_permutations)
    ]
    own = best[0].f1 if best else 0.0
    n_true, n_tokens = int(label[judging.half].sum()), int(judging.half.sum())
    return LabelScore(
        label=name,
        n_true=n_true,
        n_tokens=n_tokens,
        always_f1=2 * n_true / (n_tokens + n_true),
        best=tuple(best),
        null_f1=float(np.quantile(null, _NULL_QUANTILE)) if null else None,
        p_value=(1 + sum(one >= own for one in null)) / (1 + len(null)) if null else None,
    )


def _best_of_others(
    choosing: _Detectors,
    judging: _Detectors,
    label: Bool[np.ndarray, "token"],
    rng: np.random.Generator,
) -> float:
    """F1 of the best latent for labels of other texts, which it cannot know."""
    moved = label.copy()
    for part in (choosing, judging):
        moved[part.half] = _of_others(label[part.half], part.text[part.half], rng)
    best = choosing.best(moved, 1)
    return judging.judge(moved, *best[0][:2])[0] if best else 0.0


def _of_others(
    label: Bool[np.ndarray, "token"],
    text: Int[np.ndarray, "token"],
    rng: np.random.Generator,
) -> Bool[np.ndarray, "token"]:
    """Each text gets the labels of another from their beginning on, repeated where they are too short.

    A text that is alone gets its own, turned round by some tokens.
    """
    starts = np.unique(text, return_index=True)[1]
    pieces = np.split(label, starts[1:])
    if len(pieces) == 1:
        return np.roll(label, int(rng.integers(1, max(len(label), 2))))
    order = rng.permutation(len(pieces))  # once round: no text keeps its own
    giver = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    return np.concatenate(
        [np.resize(pieces[giver[i]], len(piece)) for i, piece in enumerate(pieces)]
    )
