"""Fit: how well a rule tells where one latent fires, on evidence that is not held out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from lmscope.atlas.explain.background import Background
from lmscope.atlas.explain.protocols import Evidence
from lmscope.atlas.explain.rules import Condition, Passages, word

_PER_DOUBLING: Final = 0.01
"""What each doubling of a rule's values has to earn."""


class Fit(NamedTuple):
    """How well a rule does; stretches that fire and stretches that do not count for one half each.

    Attributes:
        stretch_precision: Of the stretches that it names, the share that fires.
        stretch_recall: Of the stretches that fire, the share that it names at a firing token.
        token_precision: Of the tokens that it names, the share that fires.
        token_recall: Of all activation, the share on tokens that it names.
        quality: By what rules are chosen: the mean of both F1, less a cost for its length.
    """

    stretch_precision: float
    stretch_recall: float
    token_precision: float
    token_recall: float
    quality: float


def f1(precision: float, recall: float) -> float:
    """Harmonic mean of both; 0 if both are."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@dataclass(frozen=True, eq=False)
class Measured:
    """Where something holds, in each kind of text."""

    positives: np.ndarray
    silent: np.ndarray
    background: np.ndarray

    def __and__(self, other: "Measured") -> "Measured":
        return Measured(
            self.positives & other.positives,
            self.silent & other.silent,
            self.background & other.background,
        )

    def __or__(self, other: "Measured") -> "Measured":
        return Measured(
            self.positives | other.positives,
            self.silent | other.silent,
            self.background | other.background,
        )


class Seen:
    """The evidence on one latent, laid out for counting, beside ordinary text.

    Attributes:
        fires: Where the latent fires in the positives.
        mass: The activation there, as a share of all.
        n_fired: Firing tokens of the positives.
        n_cases: Positives.
        share_firing: Of all stretches of the corpus, those in which it fires.
    """

    def __init__(self, evidence: Evidence, background: Background) -> None:
        self.record = evidence.record
        self.background = background
        self.context_length = background.context_length
        self.positives = Passages.of(evidence.positives)
        self.silent = Passages.of(evidence.negatives)
        values = np.zeros(self.positives.codes.shape)
        for row, case in enumerate(evidence.positives):
            values[row, case.example.places] = case.example.values
        self.fires = values > 0
        self.mass = values / max(values.sum(), 1e-30)
        self.n_fired = int(self.fires.sum())
        self.n_cases = len(evidence.positives)
        self.share_firing = self.record.n_stretches / background.n_corpus_stretches
        self._measured: dict[Condition, Measured] = {}

    def firing(self) -> list[tuple[int, int]]:
        """Row and place of every firing token."""
        rows, places = self.fires.nonzero()
        return list(zip(rows.tolist(), places.tolist(), strict=True))

    @cached_property
    def counted(self) -> dict[str, dict[int | str, tuple[int, int]]]:
        """Of the tokens that the census counted: firings and occurrences, by id and by word.

        Of a word, those ids are counted on which the latent fires most; others are rarer or silent.
        """
        by_id: dict[int | str, tuple[int, int]] = {}
        by_word: dict[int | str, tuple[int, int]] = {}
        for one in self.record.tokens:
            by_id[one.token] = one.n_fired, max(one.n_seen, one.n_fired, 1)
            if text := word(self.background.show(one.token)):
                n_fired, n_seen = by_word.get(text, (0, 0))
                by_word[text] = n_fired + one.n_fired, n_seen + by_id[one.token][1]
        return {"token": by_id, "word": by_word}

    def measure(self, condition: Condition) -> Measured:
        """Where a condition holds, in each kind of text."""
        if condition not in self._measured:
            self._measured[condition] = Measured(
                self.positives.where(condition, self.context_length),
                self.silent.where(condition, self.context_length),
                self.background.where(condition),
            )
        return self._measured[condition]

    def measure_clause(self, clause: Sequence[Condition]) -> Measured:
        """Where all of several conditions hold."""
        found = self.measure(clause[0])
        for condition in clause[1:]:
            found &= self.measure(condition)
        return found

    def fit(self, clause: Sequence[Condition]) -> Fit:
        """How well conditions do that must hold together."""
        return self.judge(self.measure_clause(clause), sum(len(c.values) for c in clause))

    def judge(self, found: Measured, n_values: int) -> Fit:
        """How well something does that holds in these places and takes so many values to say."""
        hits = found.positives & self.fires
        recall = float(hits.any(axis=1).mean())
        chance = self._by_chance(found, recall)
        stretch_precision = recall / (recall + chance) if recall else 0.0
        n_named = int(found.positives.sum())
        token_share = float(found.background.sum()) / self.background.n_tokens
        beside = token_share * (self.positives.codes >= 0).sum() * (1 - min(self.share_firing, 0.5))
        token_precision = int(hits.sum()) / (n_named + beside) if n_named else 0.0
        token_recall = float(self.mass[found.positives].sum())
        quality = (f1(stretch_precision, recall) + f1(token_precision, token_recall)) / 2
        quality -= _PER_DOUBLING * math.log2(n_values)
        return Fit(stretch_precision, recall, token_precision, token_recall, quality)

    def _by_chance(self, found: Measured, recall: float) -> float:
        """Share of the stretches without firing that it names all the same.

        The ordinary stretches are many, but the latent fires in some; these are taken out by their share.
        """
        n_ordinary = len(found.background)
        ordinary = float(found.background.any(axis=1).mean())
        firing = min(self.share_firing, 0.9)
        quiet = max(0.0, (ordinary - firing * recall) / (1 - firing))
        n_quiet, n_silent = n_ordinary * (1 - firing), len(found.silent)
        named = quiet * n_quiet + (int(found.silent.any(axis=1).sum()) if n_silent else 0)
        return (named + 0.5) / (n_quiet + n_silent + 1)
