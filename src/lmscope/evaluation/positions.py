"""What late positions need: a model with so many of them, and text of one document before them."""

from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64

from lmscope.core.errors import DataError, ModelError
from lmscope.evaluation.rows import TextContexts
from lmscope.models.language_model import LanguageModel


def check_context_length(model: LanguageModel, context_length: int) -> None:
    """Refuse contexts with more tokens than the model has positions for.

    Raises:
        ModelError: The context is too long.
    """
    if model.max_positions is not None and context_length > model.max_positions:
        raise ModelError(
            f"'{model.name}' has positions for {model.max_positions} tokens, and contexts of {context_length} "
            "were asked for: shorten them."
        )


class WithinDocuments:
    """The first contexts of a text that hold tokens of one document only.

    In packed contexts attention runs across documents, as in training, so a late position may have
    little text of its own document before it. Here all that stands before it is its own. Contexts are
    read on until enough are found.

    Args:
        contexts: Any contexts; their own numbers stay in `rows(...).index`.
        n_contexts: How many are wanted.
    """

    def __init__(self, contexts: TextContexts, n_contexts: int) -> None:
        self._contexts, self._n_wanted = contexts, n_contexts
        self.context_length = contexts.context_length

    @property
    def fingerprint(self) -> str | None:
        """Names the text and the choice."""
        inner = getattr(self._contexts, "fingerprint", None)
        return inner and f"{inner}-within-{self._n_wanted}"

    def __len__(self) -> int:
        return len(self._numbers)

    def rows(self, indices: Any, /) -> Any:
        """Contexts by their place among the found ones."""
        return self._contexts.rows(self._numbers[np.asarray(indices, dtype=np.int64)])

    @cached_property
    def _numbers(self) -> Int64[np.ndarray, "context"]:
        found: list[int] = []
        number = 0
        while len(found) < self._n_wanted:
            try:
                rows = self._contexts.rows([number])
            except IndexError:
                break
            if len(np.unique(rows.documents[rows.mask])) == 1:
                found.append(number)
            number += 1
        if not found:
            raise DataError(
                f"Not one of {number} contexts of {self.context_length} tokens lies within one document: use "
                "shorter contexts, text with longer documents, or leave within_documents out."
            )
        return np.array(found, dtype=np.int64)
