"""ContextStream: batches of contexts for training on text itself."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lmscope.core.errors import DataError, RunError
from lmscope.core.rng import numpy_generator
from lmscope.text.contexts import Contexts
from lmscope.text.order import context_order

SHORTEST: Final = 8
"""Tokens of a stretch that is repeated; the longest is half of its context."""


class ContextBatch(NamedTuple):
    """Some contexts.

    Attributes:
        tokens: Vocabulary ids.
        mask: True where there is text.
    """

    tokens: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]


class ContextStream(Iterator[ContextBatch]):
    """Contexts in an order that seed and pass fix; a `training.objective.Stream`.

    Args:
        contexts: All of them.
        batch_contexts: Of one batch; what does not fill one at the end of a pass is left out.
        n_passes: Over the contexts, each in its own order.
        seed: The recipe's.
        repeats: Share of the contexts in which one stretch of text is put in a second time further on (`with_repeats`).

    Raises:
        DataError: There are fewer contexts than one batch holds.
    """

    def __init__(
        self,
        contexts: Contexts,
        *,
        batch_contexts: int,
        n_passes: int = 1,
        seed: int = 0,
        repeats: float = 0.0,
    ) -> None:
        if len(contexts) < batch_contexts:
            raise DataError(
                f"A batch of {batch_contexts} contexts is more than the {len(contexts)} there are: take more "
                "text or smaller batches."
            )
        self._contexts, self._seed, self._repeats = contexts, seed, repeats
        self._size, self._n_passes = batch_contexts, n_passes
        self._per_pass = len(contexts) // batch_contexts
        self._place = 0
        self._order = context_order(len(contexts), seed, 0)

    @property
    def total_batches(self) -> int:
        """Of all passes."""
        return self._per_pass * self._n_passes

    def __iter__(self) -> "ContextStream":
        return self

    def __next__(self) -> ContextBatch:
        if self._place >= self.total_batches:
            raise StopIteration
        number, place = divmod(self._place, self._per_pass)
        if place == 0:
            self._order = context_order(len(self._contexts), self._seed, number)
        rows = self._contexts.rows(self._order[place * self._size : (place + 1) * self._size])
        tokens = rows.tokens
        if self._repeats:
            rng = numpy_generator(self._seed, "repeats", self._place)
            tokens = with_repeats(tokens, rows.mask, self._repeats, rng)
        self._place += 1
        return ContextBatch(torch.from_numpy(tokens).long(), torch.from_numpy(rows.mask))

    def state(self) -> dict[str, Any]:
        """How many batches were given."""
        return {"place": self._place, "fingerprint": self._contexts.fingerprint}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on behind them.

        Raises:
            RunError: They were of other text.
        """
        if state["fingerprint"] != self._contexts.fingerprint:
            raise RunError("The text is not what the run was started with: give the same text.")
        self._place = int(state["place"])
        number = min(self._place // self._per_pass, self._n_passes - 1)
        self._order = context_order(len(self._contexts), self._seed, number)


def with_repeats(
    tokens: Int[np.ndarray, "batch pos"],
    mask: Bool[np.ndarray, "batch pos"],
    share: float,
    rng: np.random.Generator,
) -> Int[np.ndarray, "batch pos"]:
    """Contexts of which some hold a stretch of themselves twice, so that a model learns to go on as before.

    Heads that do this form late on text alone (olsson2022induction). The stretch has 8 tokens to half of the
    context, begins behind the first token, and takes the place of what stood further on.

    Args:
        tokens: Vocabulary ids; left as they are.
        mask: True where there is text.
        share: Of the contexts that are changed; those too short for a repeat stay.
        rng: Draws which, and where.
    """
    found = tokens.copy()
    for row, (chosen, n) in enumerate(
        zip(rng.random(len(tokens)) < share, mask.sum(1), strict=True)
    ):
        longest = (int(n) - 1) // 2
        if not chosen or longest < SHORTEST:
            continue
        length = int(rng.integers(SHORTEST, longest + 1))
        first = int(rng.integers(1, n - 2 * length + 1))
        second = int(rng.integers(first + length, n - length + 1))
        found[row, second : second + length] = tokens[row, first : first + length]
    return found
