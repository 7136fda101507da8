"""ContextStream: batches of contexts for training on text itself."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lmscope.core.errors import DataError, RunError
from lmscope.text.contexts import Contexts
from lmscope.text.copying import Copying, CopyingOptions
from lmscope.text.order import context_order


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
        copying: How much of it goes round in circles; none of it unless said.

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
        copying: CopyingOptions | None = None,
    ) -> None:
        if len(contexts) < batch_contexts:
            raise DataError(
                f"A batch of {batch_contexts} contexts is more than the {len(contexts)} there are: take more "
                "text or smaller batches."
            )
        self._contexts, self._seed = contexts, seed
        wanted = copying is not None and (copying.share or copying.primer_batches)
        self._copying = Copying(copying, contexts, seed) if copying and wanted else None
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
        tokens, mask = rows.tokens, rows.mask
        if self._copying is not None:
            tokens, mask = self._copying(tokens, mask, self._place)
        self._place += 1
        return ContextBatch(torch.from_numpy(tokens).long(), torch.from_numpy(mask))

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
