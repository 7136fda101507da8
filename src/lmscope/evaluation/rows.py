"""Held-out contexts, a few at a time, as tensors with the figures that evaluation groups by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from lmscope.core.errors import DataError
from lmscope.models.batch import Batch


@runtime_checkable
class TextContexts(Protocol):
    """What evaluation asks of contexts; `text.contexts.Contexts` has it."""

    context_length: int

    def __len__(self) -> int: ...

    def rows(self, indices: Any, /) -> Any:
        """Arrays `tokens`, `mask`, `documents` `[row, pos]` and `index` `[row]`."""
        ...


@dataclass(frozen=True)
class TextRows:
    """A few contexts.

    Attributes:
        batch: Tokens and mask; `rows` are the contexts' indices in the corpus.
        documents: The document of each position; -1 at padding.
        unit: What each context counts as when contexts are resampled, from 0.
    """

    batch: Batch
    documents: Int[Tensor, "batch pos"]
    unit: Int[Tensor, "batch"]

    @property
    def tokens(self) -> Int[Tensor, "batch pos"]:
        """Vocabulary ids."""
        assert self.batch.tokens is not None
        return self.batch.tokens

    def to(self, device: torch.device | str) -> "TextRows":
        """The same rows on a device."""
        return TextRows(self.batch.to(device), self.documents.to(device), self.unit.to(device))


def spread(n_all: int, n_wanted: int | None) -> NDArray[np.int64]:
    """Indices of `n_wanted` of `n_all` things at even distances, ascending; all when None."""
    if n_wanted is None or n_wanted >= n_all:
        return np.arange(n_all)
    return np.arange(n_wanted) * n_all // n_wanted


def n_units(contexts: TextContexts, n_contexts: int | None, max_units: int) -> int:
    """Units of resampling: the chosen contexts, or groups of neighbours beyond `max_units`."""
    return min(len(spread(len(contexts), n_contexts)), max_units)


def text_rows(
    contexts: TextContexts, n_contexts: int | None, batch_contexts: int, max_units: int
) -> Iterator[TextRows]:
    """Walk through contexts in order.

    Args:
        contexts: Where they lie.
        n_contexts: How many to take, at even distances; all when None.
        batch_contexts: How many at a time.
        max_units: At most so many units of resampling.

    Raises:
        DataError: There are none.
    """
    chosen = spread(len(contexts), n_contexts)
    if not len(chosen):
        raise DataError("There is no context to evaluate: give text of at least one context.")
    units = np.arange(len(chosen)) * min(len(chosen), max_units) // len(chosen)
    for start in range(0, len(chosen), batch_contexts):
        part = slice(start, start + batch_contexts)
        yield rows_at(contexts, chosen[part], units[part])


def rows_at(
    contexts: TextContexts,
    indices: Int[np.ndarray, "batch"],
    units: Int[np.ndarray, "batch"] | None = None,
) -> TextRows:
    """The contexts of these numbers; each counts as a unit of its own when none are given."""
    rows = contexts.rows(indices)
    units = np.arange(len(indices)) if units is None else units
    return TextRows(
        batch=Batch(
            tokens=torch.from_numpy(np.array(rows.tokens, dtype=np.int64)),
            mask=torch.from_numpy(np.array(rows.mask, dtype=bool)),
            rows=torch.from_numpy(np.array(rows.index, dtype=np.int64)),
        ),
        documents=torch.from_numpy(np.array(rows.documents, dtype=np.int64)),
        unit=torch.from_numpy(units.astype(np.int64)),
    )


def next_token_counts(
    rows: TextRows, keep: Bool[Tensor, "batch pos"], special_ids: frozenset[int]
) -> Bool[Tensor, "batch pos"]:
    """Where the prediction of the next token is scored.

    The input token is kept, and the next token exists, is text (neither padding nor special) and
    belongs to the same document.
    """
    counts = torch.zeros_like(keep)
    text = rows.batch.text_mask() & ~is_special(rows.tokens, special_ids)
    same = rows.documents[:, 1:] == rows.documents[:, :-1]
    counts[:, :-1] = keep[:, :-1] & text[:, 1:] & same
    return counts


def is_special(tokens: Int[Tensor, "batch pos"], special_ids: frozenset[int]) -> Tensor:
    """Where a token is special."""
    ids = torch.tensor(sorted(special_ids), dtype=torch.long, device=tokens.device)
    return torch.isin(tokens.long(), ids)
