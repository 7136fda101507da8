"""Scorers: how well a judge who knows only the label tells held-out text apart.

Every score is of one latent and few cases, so its interval is wide; look at `low` before `value`.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from lmscope.atlas.explain.protocols import Case, Evidence, Judge, Label, Score
from lmscope.core.rng import numpy_generator

MIN_CASES: Final = 3
"""Stretches of either kind; with fewer there is no score."""
N_INTRUDER_CHOICES: Final = 5
"""Stretches of a question: one of them is the intruder."""
_Z: Final = 1.959964
"""Of the 95 % interval."""
_RESAMPLES: Final = 400


class Detection:
    """Whether the label tells stretches that fire from stretches that do not (paulo2024millions).

    The value is the mean of two shares: of the stretches that fire, those of which the judge says so, and
    of the silent ones, those of which it does not. A judge that does not listen gets 0.5, whatever it
    prefers to say and however many there are of each.
    """

    name = "detection"

    def score(self, label: Label, evidence: Evidence, judge: Judge) -> Score | None:
        """The balanced accuracy; None without a label, or with fewer than 3 stretches of either kind."""
        positives, negatives = evidence.positives, evidence.negatives
        if not label.text or min(len(positives), len(negatives)) < MIN_CASES:
            return None
        verdicts = judge.fires(label, [*positives, *negatives])
        return _balanced(self.name, verdicts[: len(positives)], verdicts[len(positives) :])


class Fuzzing:
    """Whether the label tells the tokens that fire from others of the same stretch (paulo2024millions).

    Each stretch is shown twice: once with the firing tokens marked, once with as many silent ones, drawn
    at random.

    Differs: false marks stand in the same stretches as true ones, so the text around gives nothing away;
    the paper's code marks tokens of other stretches.
    """

    name = "fuzzing"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def score(self, label: Label, evidence: Evidence, judge: Judge) -> Score | None:
        """The balanced accuracy; None without a label, or with fewer than 3 stretches that can be marked."""
        draw = numpy_generator(self.seed, "fuzzing", evidence.record.latent)
        cases, true_marks, false_marks = [], [], []
        for case in evidence.positives:
            fires = case.example.places.tolist()
            silent = sorted(set(range(len(case.tokens))) - set(fires))
            if len(silent) >= len(fires):
                cases.append(case)
                true_marks.append(set(fires))
                chosen = draw.choice(silent, size=len(fires), replace=False)
                false_marks.append(set(chosen.tolist()))
        if not label.text or len(cases) < MIN_CASES:
            return None
        verdicts = judge.marked(label, [*cases, *cases], [*true_marks, *false_marks])
        return _balanced(self.name, verdicts[: len(cases)], verdicts[len(cases) :])


class Intruder:
    """Whether the label finds the one silent stretch among four that fire (paulo2025intruder).

    The stretch of which the judge is least certain that it fires is its answer; where several are, the
    answer counts by chance. The value is the share of answers that are right; chance is 1/5.

    Differs: the judge knows the label, while the paper's sees the stretches only.
    """

    name = "intruder"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def score(self, label: Label, evidence: Evidence, judge: Judge) -> Score | None:
        """The share found; None without a label, 4 stretches that fire or 3 silent ones."""
        positives, negatives = evidence.positives, evidence.negatives
        n_others = N_INTRUDER_CHOICES - 1
        if not label.text or len(positives) < n_others or len(negatives) < MIN_CASES:
            return None
        draw = numpy_generator(self.seed, "intruder", evidence.record.latent)
        found = 0.0
        for intruder in negatives:
            chosen = draw.choice(len(positives), size=n_others, replace=False)
            verdicts = judge.fires(label, [intruder, *(positives[i] for i in chosen)])
            least = min(verdicts)
            found += (verdicts[0] == least) / verdicts.count(least)
        low, high = wilson(found, len(negatives))
        return Score(self.name, found / len(negatives), low, high, len(negatives))


class Simulation:
    """How well activations guessed from the label follow the true ones (bills2023neurons).

    The value is the correlation over all tokens of all stretches; 0 where the guess is the same for every
    token. The interval comes from resampling stretches.
    """

    name = "simulation"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def score(self, label: Label, evidence: Evidence, judge: Judge) -> Score | None:
        """The correlation; None without a label, with too few stretches, or where the judge cannot say."""
        cases = (*evidence.positives, *evidence.negatives)
        if not label.text or min(len(evidence.positives), len(evidence.negatives)) < MIN_CASES:
            return None
        sums = []
        for case in cases:
            guess = judge.activations(label, case)
            if guess is None:
                return None
            sums.append(_sums(np.array(guess), case))
        table = np.array(sums)
        n = len(cases)
        draw = numpy_generator(self.seed, "simulation", evidence.record.latent)
        weights = draw.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
        resampled = [_correlation(total) for total in weights @ table]
        low, high = np.quantile(resampled, [0.025, 0.975])
        return Score(self.name, _correlation(table.sum(0)), float(low), float(high), n)


def wilson(n_right: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (wilson1927interval)."""
    share = n_right / n
    centre = share + _Z**2 / (2 * n)
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def _balanced(name: str, of_true: Sequence[float], of_false: Sequence[float]) -> Score:
    """The mean of two shares, with the interval that both of theirs give (newcombe1998interval, method 10)."""
    n_true, n_false = len(of_true), len(of_false)
    right_true = sum(v > 0.5 for v in of_true) + sum(v == 0.5 for v in of_true) / 2
    right_false = sum(v < 0.5 for v in of_false) + sum(v == 0.5 for v in of_false) / 2
    shares = right_true / n_true, right_false / n_false
    ends = wilson(right_true, n_true), wilson(right_false, n_false)
    value = sum(shares) / 2
    below = math.hypot(*(share - low for share, (low, _) in zip(shares, ends, strict=True))) / 2
    above = math.hypot(*(high - share for share, (_, high) in zip(shares, ends, strict=True))) / 2
    return Score(name, value, max(0.0, value - below), min(1.0, value + above), n_true + n_false)


def _sums(guess: np.ndarray, case: Case) -> list[float]:
    """n, sums of both, of both squares and of the products: what a correlation is made of."""
    truth = case.example.activations().astype(np.float64)
    return [
        float(len(truth)),
        guess.sum(),
        truth.sum(),
        (guess**2).sum(),
        (truth**2).sum(),
        (guess * truth).sum(),
    ]


def _correlation(sums: np.ndarray) -> float:
    n, x, y, xx, yy, xy = sums
    spread = (n * xx - x * x) * (n * yy - y * y)
    return float((n * xy - x * y) / math.sqrt(spread)) if spread > 1e-12 else 0.0
