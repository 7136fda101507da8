"""VirtualStream: one of the streams that a batch is mixed from, as rows one after the other."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lmscope.activations.reader import Rows


class Place(NamedTuple):
    """One block in the course of a stream.

    Attributes:
        pass_index: Which pass over the text.
        block: Which of the stream's blocks.
        n_rows: How many rows it has.
    """

    pass_index: int
    block: int
    n_rows: int


class VirtualStream:
    """Hands out the rows of a stream's blocks; holds one block at a time.

    Args:
        course: All blocks through all passes, in order.
        load: Reads a block, its rows permuted.
    """

    def __init__(
        self, course: Callable[[], Iterator[Place]], load: Callable[[Place], Rows]
    ) -> None:
        self._course = course
        self._load = load
        self.seek(0)

    def seek(self, row: int) -> None:
        """Stand before the stream's row `row`; nothing is read yet."""
        self._rows: Rows | None = None
        self._ahead = self._course()
        self._place = next(self._ahead, None)
        self._offset = row
        while self._place is not None and self._offset >= self._place.n_rows:
            self._offset -= self._place.n_rows
            self._place = next(self._ahead, None)

    def fill(self, batch: Rows, start: int, stop: int) -> None:
        """Copy the next rows into rows `start` to `stop` of a batch, in the batch's dtype.

        Raises:
            IndexError: The stream has fewer rows left.
        """
        while start < stop:
            if self._place is None:
                raise IndexError("The stream has no rows left.")
            if self._rows is None:
                self._rows = self._load(self._place)
            rows, offset = self._rows, self._offset
            n = min(stop - start, len(rows) - offset)
            for site, value in rows.values.items():
                batch.values[site][start : start + n] = value[offset : offset + n]
            batch.context[start : start + n] = rows.context[offset : offset + n]
            batch.position[start : start + n] = rows.position[offset : offset + n]
            start, self._offset = start + n, offset + n
            if self._offset == len(rows):
                self._rows = rows = None  # freed before the next block is read
                self._place, self._offset = self._next_place(), 0

    def _next_place(self) -> Place | None:
        """The next block that has rows."""
        return next((place for place in self._ahead if place.n_rows), None)
