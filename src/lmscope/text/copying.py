"""Copying: training contexts that go round in circles, so that a small model learns to copy from little text."""

from typing import Annotated, Final

import numpy as np
from jaxtyping import Bool, Int, Shaped
from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.rng import numpy_generator
from lmscope.text.contexts import Contexts

SHORTEST: Final = 8
"""Tokens of a stretch that goes round; the longest is, in the end, half of its context."""
RANDOM_SHARE: Final = 0.5
"""Of the contexts that go round in the end, those of random tokens instead of text."""
_ROWS: Final = 1024
"""Contexts that are counted at a time."""


class CopyingOptions(Config):
    """How much of what a model learns from goes round in circles: a stretch, then the same again, to the end.

    Heads that copy (induction) form late on text alone (olsson2022induction), and in a small model that is trained on
    a few million tokens not at all. They form soon where copying is all that can be learnt, first from few kinds of
    tokens; text then takes that place by and by.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of the contexts, in the end: half of them go round in text, half in random tokens."""
    primer_batches: Annotated[int, Field(ge=0)] = 0
    """Batches at the start of nothing but random tokens that go round."""
    primer_length: Annotated[int, Field(ge=17)] = 64
    """Tokens of a context of the primer, at most those of any other; shorter ones are more."""
    primer_stretch: Annotated[int, Field(ge=8)] = 31
    """Tokens of the longest stretch that goes round in the primer. Where it goes round too often, other things than
    copying are learnt."""
    blend_batches: Annotated[int, Field(ge=0)] = 0
    """Batches after them over which text takes their place."""
    alphabet: Annotated[int, Field(ge=2)] = 256
    """Most frequent tokens of the text that random tokens are drawn from at first; all of them after the blend."""


class Copying:
    """Makes contexts of text go round.

    Args:
        options: How many.
        contexts: All of the text; their tokens are counted once.
        seed: The recipe's.
    """

    def __init__(self, options: CopyingOptions, contexts: Contexts, seed: int) -> None:
        self.options, self._seed, self._bos_id = options, seed, contexts.bos_id
        counts = np.zeros(1, dtype=np.int64)
        for first in range(0, len(contexts), _ROWS):
            rows = contexts.rows(range(first, min(first + _ROWS, len(contexts))))
            found = np.bincount(rows.tokens[:, 1:][rows.mask[:, 1:]].astype(np.int64))
            counts = np.pad(counts, (0, max(0, len(found) - len(counts))))
            counts[: len(found)] += found
        ranked = np.argsort(-counts, kind="stable")
        self._ranked = ranked[counts[ranked] > 0]

    def share(self, batch: int) -> float:
        """Of the contexts of a batch that go round, on average."""
        return 1 + (self.options.share - 1) * self._progress(batch)

    def alphabet(self, batch: int) -> int:
        """Most frequent tokens that the random ones of a batch are drawn from."""
        few = min(self.options.alphabet, len(self._ranked))
        return round(few * (len(self._ranked) / few) ** self._progress(batch))

    def longest(self, batch: int, n_tokens: int) -> int:
        """Tokens of the longest stretch that goes round in a context of so many tokens."""
        half = (n_tokens - 1) // 2
        short = min(self.options.primer_stretch, half)
        return round(short * (half / short) ** self._progress(batch))

    def __call__(
        self,
        tokens: Int[np.ndarray, "batch pos"],
        mask: Bool[np.ndarray, "batch pos"],
        batch: int,
    ) -> tuple[Int[np.ndarray, "rows place"], Bool[np.ndarray, "rows place"]]:
        """The contexts of one batch, some of them made to go round behind their first token.

        Those of the primer are cut in shorter ones, and each begins like a document, which is where attention rests.

        Args:
            tokens: Vocabulary ids; left as they are.
            mask: True where there is text; contexts too short to go round stay.
            batch: Its number, from 0; names the draw.

        Returns:
            Tokens, and their mask.
        """
        if batch < self.options.primer_batches:
            tokens, mask = (
                _cut(tokens, self.options.primer_length),
                _cut(mask, self.options.primer_length),
            )
            tokens[:, 0] = tokens[0, 0] if self._bos_id is None else self._bos_id
        return self._round(tokens, mask, batch), mask

    def _round(
        self,
        tokens: Int[np.ndarray, "rows pos"],
        mask: Bool[np.ndarray, "rows pos"],
        batch: int,
    ) -> Int[np.ndarray, "rows pos"]:
        rng = numpy_generator(self._seed, "copying", batch)
        found, alphabet = tokens.copy(), self._ranked[: self.alphabet(batch)]
        text = (1 - RANDOM_SHARE) * self._progress(batch)
        chosen = rng.random(len(tokens)) < self.share(batch)
        for row, n in enumerate(mask.sum(1)):
            if not chosen[row] or n < 2 * SHORTEST + 1:
                continue
            length = int(rng.integers(SHORTEST, self.longest(batch, int(n)) + 1))
            if rng.random() < text:
                stretch = tokens[row, 1 : 1 + length]
            else:
                stretch = alphabet[rng.integers(0, len(alphabet), length)]
            found[row, 1:n] = np.resize(stretch, int(n) - 1)
        return found

    def _progress(self, batch: int) -> float:
        """Of the blend: 0 before it, 1 behind it."""
        behind = batch - self.options.primer_batches
        if behind < 0:
            return 0.0
        return min(1.0, (behind + 1) / (self.options.blend_batches + 1))


def _cut(rows: Shaped[np.ndarray, "batch pos"], length: int) -> Shaped[np.ndarray, "rows short"]:
    """Rows in as many of this length as they hold, one after another; the rest of each is left out."""
    n = max(1, rows.shape[1] // length)
    length = min(length, rows.shape[1])
    return rows[:, : n * length].reshape(-1, length).copy()
