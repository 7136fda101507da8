"""Board: squares of Othello as bits of whole numbers, and what the rules say of many boards at once."""

from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import Final, SupportsIndex

import numpy as np
from jaxtyping import Bool, Int, UInt64

from lmscope.core.errors import DataError, did_you_mean

SIZES: Final = (6, 8)
"""Squares along a side."""
COLUMNS: Final = "abcdefgh"
_U: Final = np.uint64


@dataclass(frozen=True)
class _Ways:
    """Four of the eight ways that lines go, those towards larger squares or those towards smaller ones.

    Attributes:
        shift: Moves bits that way.
        steps: From a square to the next one.
        inner: Squares that can lie between the two ends of such a line.
    """

    shift: np.ufunc
    steps: UInt64[np.ndarray, "way 1"]
    inner: UInt64[np.ndarray, "way 1"]


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

    def square_name(self, square: SupportsIndex) -> str:
        """What players call a square: column letter and row number, e.g. `d1`."""
        row, column = divmod(index(square), self.size)
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

    def names(self, board: SupportsIndex) -> tuple[str, ...]:
        """Squares of one board by name, ascending."""
        bits = index(board)
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
        mine, yours = own.reshape(-1), opp.reshape(-1)
        ends = np.zeros_like(mine)
        for ways in self._ways:
            ends |= np.bitwise_or.reduce(ways.shift(self._chains(mine, yours, ways), ways.steps))
        return (ends & ~(mine | yours) & self._all).reshape(own.shape)

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
        return self._turned(move, own, opp)[0]

    def flanks(
        self,
        move: UInt64[np.ndarray, "*boards"],
        own: UInt64[np.ndarray, "*boards"],
        opp: UInt64[np.ndarray, "*boards"],
    ) -> UInt64[np.ndarray, "*boards"]:
        """What makes a move legal: the discs that it turns, and the player's own at the far ends of these lines."""
        turned, ends = self._turned(move, own, opp)
        return turned | ends

    def _turned(
        self,
        move: UInt64[np.ndarray, "*boards"],
        own: UInt64[np.ndarray, "*boards"],
        opp: UInt64[np.ndarray, "*boards"],
    ) -> tuple[UInt64[np.ndarray, "*boards"], UInt64[np.ndarray, "*boards"]]:
        """Discs turned, and those that they are turned up to."""
        mine, yours = own.reshape(-1), opp.reshape(-1)
        turned, ends = np.zeros_like(mine), np.zeros_like(mine)
        for ways in self._ways:
            chains = self._chains(move.reshape(-1), yours, ways)
            last = ways.shift(chains, ways.steps) & mine
            chains *= last != 0
            turned |= np.bitwise_or.reduce(chains)
            ends |= np.bitwise_or.reduce(last)
        return turned.reshape(own.shape), ends.reshape(own.shape)

    def _chains(
        self,
        origin: UInt64[np.ndarray, "board"],
        opp: UInt64[np.ndarray, "board"],
        ways: _Ways,
    ) -> UInt64[np.ndarray, "way board"]:
        """Discs of `opp` that follow each other from beside the origin on, each way.

        Lines grow by one disc, then by two at a time: four at most between the ends on six squares, six on eight.
        """
        shift, steps = ways.shift, ways.steps
        line = opp & ways.inner
        found = shift(origin, steps)
        found &= line
        found |= shift(found, steps) & line
        line &= shift(line, steps)  # from here on: squares whose neighbour belongs to it as well
        for _ in range(self.size // 2 - 2):
            found |= shift(found, 2 * steps) & line
        return found

    @cached_property
    def _all(self) -> np.uint64:
        return _U((1 << self.n_squares) - 1)

    @cached_property
    def _ways(self) -> tuple[_Ways, _Ways]:
        sides = sum(
            1 << (row * self.size + column)
            for row in range(self.size)
            for column in (0, self.size - 1)
        )
        everywhere = (1 << self.n_squares) - 1
        steps = np.array([[1], [self.size - 1], [self.size], [self.size + 1]], dtype=_U)
        inner = np.array([[everywhere & ~sides]] * 4, dtype=_U)
        inner[2] = everywhere  # lines along a column may lie at the side
        return _Ways(np.left_shift, steps, inner), _Ways(np.right_shift, steps, inner)

    @cached_property
    def _start_squares(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of black and of white: the four in the middle, crosswise."""
        low = self.size // 2 - 1
        first = low * self.size + low
        return (first + 1, first + self.size), (first, first + self.size + 1)

    @cached_property
    def _square_by_name(self) -> dict[str, int]:
        return {self.square_name(square): square for square in range(self.n_squares)}


def _fixed(values: list[int]) -> Int[np.ndarray, "token"]:
    found = np.array(values, dtype=np.int64)
    found.flags.writeable = False
    return found
