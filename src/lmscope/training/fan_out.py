"""FanOut: one stream of batches, given whole to each of several objectives."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from lmscope.core.errors import RecipeError
from lmscope.training.objective import Stream


class FanOut:
    """Hands each batch of a stream to every tap, and keeps it only until the last one has it.

    Objectives side by side advance in step, so at most the batches of one optimiser step are held;
    at the end of a step every tap stands at the same batch, which makes the stream's own state the
    state of all.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._held: deque[Any] = deque()
        self._first = 0  # how many batches of this step came before the first one held
        self._taps: list[Tap] = []

    def tap(self, name: str) -> "Tap":
        """A view of the whole stream for the objective `name`."""
        tap = Tap(self, name)
        self._taps.append(tap)
        return tap

    def settle(self) -> int:
        """End a step: check that the taps agree, and return how many batches each one drew.

        A tap that drew none (its objective makes its own batches) is left out from then on.

        Raises:
            RecipeError: Two objectives drew different numbers of batches.
        """
        drawn = {tap.name: tap.drawn for tap in self._taps if tap.drawn}
        if len(set(drawn.values())) > 1:
            found = ", ".join(f"'{name}' {n}" for name, n in drawn.items())
            raise RecipeError(
                f"Objectives trained side by side must draw equally many batches a step; found {found}: "
                "train them in separate runs."
            )
        for tap in self._taps:
            tap.idle = bool(drawn) and not tap.drawn
            tap.drawn = 0
        self._held.clear()
        self._first = 0
        return max(drawn.values(), default=0)

    def draw(self, tap: "Tap") -> Any:
        """The next batch for `tap`.

        Raises:
            RecipeError: The tap stood idle while others went on.
            StopIteration: The stream has ended.
        """
        if tap.idle:
            raise RecipeError(
                f"'{tap.name}' began to draw from the stream after others had gone on: "
                "train it in a run of its own."
            )
        if tap.drawn == self._first + len(self._held):
            self._held.append(next(self._stream))
        item = self._held[tap.drawn - self._first]
        tap.drawn += 1
        slowest = min(other.drawn for other in self._taps if not other.idle)
        while self._first < slowest:
            self._held.popleft()
            self._first += 1
        return item


class Tap(Iterator[Any]):
    """One objective's view of a shared stream."""

    def __init__(self, source: FanOut, name: str) -> None:
        self._source = source
        self.name = name
        self.drawn = 0
        self.idle = False

    def __next__(self) -> Any:
        return self._source.draw(self)
