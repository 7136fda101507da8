"""Board: squares of Othello as bits of whole numbers, and what the rules say of many boards at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from jaxtyping import Bool, Int, UInt64

from lmscope.core.errors import DataError, did_you_mean

SIZES: Final = (6, 8)
"""Squares along a side."""
COLUMNS: Final = "abcdefgh"
_U: Final = np.uint64


@dataclass(frozen=True)
class _Direction:
    """One of the eight ways a line can go.

    Attributes:
        step: From a square to the next one; negative towards the first square.
        inner: Squares that can lie between the two ends of such a line.
    """

    step: int
    inner: np.uint64


@dataclass(frozen=True)
class Board:
    """A square board; the square of a row and a column is `row * size + column`, its bit the one of that number.

    Columns are letters and rows are numbers, from the top left: square 3 is `d1`.

    Attributes:
        size: Squares along a side, 6 or 8.
    """

    size: int = 8

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise DataError(
                f"Othello is played here on boards of 6 by 6 or 8 by 8 squares, not of {self.size}: take 6 or 8."
            )

    @property
    def n_squares(self) -> int:
        """Of the whole board."""
        return self.size * self.size

    @property
    def n_moves(self) -> int:
        """Of a game that fills the board: all squares but the four of the start."""
        return self.n_squares - 4

    @property
    def n_tokens(self) -> int:
        """Playable squares and padding."""
        return self.n_moves + 1

    @cached_property
    def squares(self) -> Int[np.ndarray, "token"]:
        """Playable squares, ascending; that of token i + 1 is `squares[i]`."""
        start = {int(square) for board in self._start_squares for square in board}
        return _fixed([square for square in range(self.n_squares) if square not in start])

    @cached_property
    def token_of(self) -> Int[np.ndarray, "square"]:
        """The token of each square; 0 (padding) for the four of the start."""
        found = np.zeros(self.n_squares, dtype=np.int64)
        found[self.squares] = np.arange(1, self.n_tokens)
        found.flags.writeable = False
        return found

    def square_name(self, square: int) -> str:
        """What players call a square: column letter and row number, e.g. `d1`."""
        row, column = divmod(int(square), self.size)
        return f"{COLUMNS[column]}{row + 1}"

    def square_of(self, name: str) -> int:
        """The square that players call so.

        Raises:
            DataError: It is no square of this board.
        """
        if name in self._square_by_name:
            return self._square_by_name[name]
        last = self.square_name(self.n_squares - 1)
        near = did_you_mean(name, self._square_by_name)
        hint = near if near.startswith(" Did") else ""
        raise DataError(
            f"'{name}' is no square of a board of {self.size} by {self.size}: squares go from a1 to {last}, the "
            f"letter of the column first.{hint}"
        )

    def names(self, board: int | np.uint64) -> tuple[str, ...]:
        """Squares of one board by name, ascending."""
        bits = int(board)
        return tuple(self.square_name(s) for s in range(self.n_squares) if bits >> s & 1)

    def start(self, n: int) -> tuple[UInt64[np.ndarray, "game"], UInt64[np.ndarray, "game"]]:
        """Discs of black, who moves first, and of white, before the first of n games."""
        black, white = (sum(1 << square for square in squares) for squares in self._start_squares)
        return np.full(n, black, dtype=_U), np.full(n, white, dtype=_U)

    def bits(self, boards: UInt64[np.ndarray, "*boards"]) -> Bool[np.ndarray, "*boards square"]:
        """Whether each square is among those of each board."""
        little = np.ascontiguousarray(boards).astype("<u8", copy=False)
        found = np.unpackbits(little[..., None].view(np.uint8), axis=-1, bitorder="little")
        return found[..., : self.n_squares].astype(np.bool_)

    def legal(
        self, own: UInt64[np.ndarray, "*boards"], opp: UInt64[np.ndarray, "*boards"]
    ) -> UInt64[np.ndarray, "*boards"]:
        """Squares that the player of `own` may take: empty, with a line of the other's discs up to one of theirs."""
        ends = np.zeros_like(own)
        for direction in self._directions:
            ends |= _shift(self._chain(own, opp, direction), direction.step)
        return ends & ~(own | opp) & self._all

    def flips(
        self,
        move: UInt64[np.ndarray, "*boards"],
        own: UInt64[np.ndarray, "*boards"],
        opp: UInt64[np.ndarray, "*boards"],
    ) -> UInt64[np.ndarray, "*boards"]:
        """Discs of the other that a move turns; none for a square that is not legal.

        Args:
            move: Boards of the one square that is taken.
            own: Discs of the player who moves.
            opp: Discs of the other.
        """
        found = np.zeros_like(own)
        for chain, _ in self._turned(move, own, opp):
            found |= chain
        return found

    def flanks(
        self,
        move: UInt64[np.ndarray, "*boards"],
        own: UInt64[np.ndarray, "*boards"],
        opp: UInt64[np.ndarray, "*boards"],
    ) -> UInt64[np.ndarray, "*boards"]:
        """What makes a move legal: the discs that it turns, and the player's own at the far ends of these lines."""
        found = np.zeros_like(own)
        for chain, end in self._turned(move, own, opp):
            found |= chain | end
        return found

    def _turned(
        self,
        move: UInt64[np.ndarray, "*boards"],
        own: UInt64[np.ndarray, "*boards"],
        opp: UInt64[np.ndarray, "*boards"],
    ) -> Iterator[tuple[UInt64[np.ndarray, "*boards"], UInt64[np.ndarray, "*boards"]]]:
        """In each direction the discs turned, and the disc that they are turned up to."""
        for direction in self._directions:
            chain = self._chain(move, opp, direction)
            end = _shift(chain, direction.step) & own
            yield np.where(end != 0, chain, _U(0)), end

    def _chain(
        self,
        origin: UInt64[np.ndarray, "*boards"],
        opp: UInt64[np.ndarray, "*boards"],
        direction: _Direction,
    ) -> UInt64[np.ndarray, "*boards"]:
        """Discs of `opp` that follow each other from beside the origin on, one direction long.

        Lines grow by one disc, then by two at a time: four at most between the ends on six squares, six on eight.
        """
        step = direction.step
        line = opp & direction.inner
        found = _shift(origin, step) & line
        found |= _shift(found, step) & line
        pairs = line & _shift(line, step)
        for _ in range(self.size // 2 - 2):
            found |= _shift(found, 2 * step) & pairs
        return found

    @cached_property
    def _all(self) -> np.uint64:
        return _U((1 << self.n_squares) - 1)

    @cached_property
    def _directions(self) -> tuple[_Direction, ...]:
        sides = sum(
            1 << (row * self.size + column)
            for row in range(self.size)
            for column in (0, self.size - 1)
        )
        everywhere = (1 << self.n_squares) - 1
        steps = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]
        return tuple(
            _Direction(r * self.size + c, _U(everywhere & ~sides if c else everywhere))
            for r, c in steps
        )

    @cached_property
    def _start_squares(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of black and of white: the four in the middle, crosswise."""
        low = self.size // 2 - 1
        first = low * self.size + low
        return (first + 1, first + self.size), (first, first + self.size + 1)

    @cached_property
    def _square_by_name(self) -> dict[str, int]:
        return {self.square_name(square): square for square in range(self.n_squares)}


def _shift(boards: UInt64[np.ndarray, "*boards"], step: int) -> UInt64[np.ndarray, "*boards"]:
    return boards << _U(step) if step > 0 else boards >> _U(-step)


def _fixed(values: list[int]) -> Int[np.ndarray, "token"]:
    found = np.array(values, dtype=np.int64)
    found.flags.writeable = False
    return found
