"""Background: ordinary text of the open side, by which a rule's matches by chance are known."""

from collections import Counter
from typing import Final

import numpy as np
from jaxtyping import Bool

from lmscope.atlas.explain.evidence import read_case, show_tokens
from lmscope.atlas.explain.rules import Condition, Passages
from lmscope.atlas.record import HELD_OUT_EVERY
from lmscope.atlas.text import CorpusText

N_STRETCHES: Final = 1024
"""A rule that holds in one stretch of a hundred is then known to about a third of that."""


class Background:
    """Stretches at even distances through the contexts that are not held out.

    Memory: 4 bytes a token, and 1 for each class of tokens and place that was asked.
    """

    def __init__(
        self, corpus: CorpusText, *, stretch: int = 64, n_stretches: int = N_STRETCHES
    ) -> None:
        """Read them.

        Args:
            corpus: The whole corpus, not a packed part.
            stretch: Tokens of a stretch.
            n_stretches: At most so many.

        Raises:
            ArtifactError: The corpus lacks a position.
        """
        self.context_length = corpus.context_length
        a_context = -(-corpus.context_length // stretch)
        total = -(-corpus.n_contexts // HELD_OUT_EVERY) * a_context
        numbers = np.linspace(0, total - 1, min(n_stretches, total)).round().astype(np.int64)
        cases = []
        for number in np.unique(numbers).tolist():
            context, place = divmod(number, a_context)
            start = context * HELD_OUT_EVERY * corpus.context_length + place * stretch
            length = min(stretch, corpus.context_length - place * stretch)
            cases.append(read_case(start, length, corpus))
        self.n_corpus_stretches = corpus.n_contexts * a_context
        self.passages = Passages.of(cases)
        self.n_tokens = int((self.passages.codes >= 0).sum())
        self._tokens: Counter[int | str] = Counter()
        self._stretches: Counter[str] = Counter()
        for row in self.passages.codes:
            codes = row[row >= 0].tolist()
            self._tokens.update(self.passages.ids[code] for code in codes)
            words = [self.passages.words[code] for code in codes]
            self._tokens.update(words)
            self._stretches.update(set(words))
        self._classes: dict[Condition, np.ndarray] = {}
        self._corpus = corpus

    def show(self, token: int) -> str:
        """What a token shows as by itself."""
        return show_tokens([token], self._corpus)[0]

    def token_share(self, value: int | str) -> float:
        """Share of tokens that are this id or this word, never 0: half a token more than was seen."""
        return (self._tokens[value] + 0.5) / (self.n_tokens + 1)

    def stretch_share(self, value: str) -> float:
        """Share of stretches in which this word stands, never 0."""
        return (self._stretches[value] + 0.5) / (len(self.passages.codes) + 1)

    def where(self, condition: Condition) -> Bool[np.ndarray, "stretch token"]:
        """Where a condition holds; those on classes, which every latent asks, are kept."""
        if condition.kind != "class":
            return self.passages.where(condition, self.context_length)
        if condition not in self._classes:
            self._classes[condition] = self.passages.where(condition, self.context_length)
        return self._classes[condition]
