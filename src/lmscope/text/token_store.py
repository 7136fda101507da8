"""TokenStore: a growing flat list of tokens in as few bytes as they need."""

import numpy as np
from jaxtyping import Int8, Int32, Integer

_BLOCK = 1 << 20


class GrowingArray:
    """A flat array that grows at its end and never moves what it holds.

    Memory: the values, rounded up to a block of 2^20.
    """

    def __init__(self, dtype: np.dtype | type) -> None:
        self._dtype = np.dtype(dtype)
        self._blocks: list[np.ndarray] = []
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def append(self, values: Integer[np.ndarray, "token"]) -> None:
        """Add values at the end.

        Raises:
            OverflowError: A value does not fit the type.
        """
        limits = np.iinfo(self._dtype)
        if len(values) and not limits.min <= values.min() <= values.max() <= limits.max:
            raise OverflowError(f"Values must lie in {limits.min} to {limits.max}.")
        done = 0
        while done < len(values):
            if self._n == len(self._blocks) * _BLOCK:
                self._blocks.append(np.empty(_BLOCK, dtype=self._dtype))
            at = self._n % _BLOCK
            n = min(len(values) - done, _BLOCK - at)
            self._blocks[-1][at : at + n] = values[done : done + n]
            self._n += n
            done += n

    def slice(self, start: int, stop: int) -> Integer[np.ndarray, "token"]:
        """A copy of values `start` to `stop`."""
        if not 0 <= start <= stop <= self._n:
            raise IndexError(f"{start}:{stop} of {self._n} values")
        if start == stop:
            return np.empty(0, dtype=self._dtype)
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        parts = self._blocks[first : last + 1]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return joined[start - first * _BLOCK : stop - first * _BLOCK].copy()


class TokenStore:
    """Tokens of many documents, one after the other, with where each document begins.

    Memory: 2 bytes a token for a vocabulary of up to 65,536, else 4; one more where there are
    roles; about 40 a document.
    """

    def __init__(self, n_vocab: int) -> None:
        self._tokens = GrowingArray(np.uint16 if n_vocab <= 1 << 16 else np.int32)
        self._roles: GrowingArray | None = None
        self._document_starts: list[int] = []
        self._starts = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def has_roles(self) -> bool:
        """Whether any document had roles."""
        return self._roles is not None

    @property
    def n_documents(self) -> int:
        """Documents so far."""
        return len(self._document_starts)

    def begin_document(self) -> None:
        """What is appended from here on belongs to the next document."""
        self._document_starts.append(len(self))

    def append(
        self, ids: Integer[np.ndarray, "token"], roles: Int8[np.ndarray, "token"] | None = None
    ) -> None:
        """Add tokens to the last document; without roles they have none (-1)."""
        if roles is not None and self._roles is None:
            self._roles = GrowingArray(np.int8)
            self._roles.append(np.full(len(self), -1, dtype=np.int8))
        self._tokens.append(ids)
        if self._roles is not None:
            self._roles.append(np.full(len(ids), -1, dtype=np.int8) if roles is None else roles)

    def tokens(self, start: int, stop: int) -> Int32[np.ndarray, "token"]:
        """Tokens `start` to `stop`."""
        return self._tokens.slice(start, stop).astype(np.int32)

    def roles(self, start: int, stop: int) -> Int8[np.ndarray, "token"]:
        """Their roles; -1 everywhere when no document had any."""
        if self._roles is None:
            return np.full(stop - start, -1, dtype=np.int8)
        return self._roles.slice(start, stop).astype(np.int8)

    def documents(self, start: int, stop: int) -> Int32[np.ndarray, "token"]:
        """The number of the document that each token belongs to, from 0."""
        if len(self._starts) != self.n_documents:
            self._starts = np.asarray(self._document_starts, dtype=np.int64)
        places = np.arange(start, stop)
        return (np.searchsorted(self._starts, places, side="right") - 1).astype(np.int32)
