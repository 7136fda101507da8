"""Flanks: along which lines a move of Othello turns discs, and which moves put the discs of these lines there."""

from dataclasses import dataclass
from operator import index
from typing import Final, SupportsIndex

import numpy as np
from jaxtyping import Bool

from lmscope.core.errors import DataError
from lmscope.text.worlds.board import Board
from lmscope.text.worlds.othello import Games, States

DIRECTIONS: Final = {
    "up": (-1, 0),
    "up right": (-1, 1),
    "right": (0, 1),
    "down right": (1, 1),
    "down": (1, 0),
    "down left": (1, -1),
    "left": (0, -1),
    "up left": (-1, -1),
}
"""Ways that a line may go from a move, as steps of rows and columns."""


@dataclass(frozen=True)
class Line:
    """Discs that a move turns in one direction.

    Attributes:
        direction: From the move on, one of `DIRECTIONS`.
        turned: Squares of the other player's discs, from the move on.
        anchor: The square of the player's own disc at the far end.
    """

    direction: str
    turned: tuple[int, ...]
    anchor: int

    @property
    def squares(self) -> tuple[int, ...]:
        """All that make the move legal, from the move on."""
        return (*self.turned, self.anchor)


def flanking_lines(
    board: Board, move: int, mine: SupportsIndex, yours: SupportsIndex
) -> tuple[Line, ...]:
    """The lines that make a move legal, as the rules have it; none where it is not.

    Args:
        board: On which it is played.
        move: The square that is taken.
        mine: Discs of the player who takes it, as bits.
        yours: Discs of the other.
    """
    own, opp = index(mine), index(yours)
    if (own | opp) >> move & 1:
        return ()
    found = (_line(board, move, name, own, opp) for name in DIRECTIONS)
    return tuple(line for line in found if line is not None)


def makers(
    games: Games, states: States, game: int, place: int
) -> Bool[np.ndarray, "square earlier"]:
    """Which moves put or turned the disc on each square, up to and with a place.

    No move did for discs of the start that were never turned.

    Args:
        games: Games.
        states: Their states.
        game: The number of one of them.
        place: The number of its last move that counts, from 0.

    Raises:
        DataError: The game has no such place.
    """
    if not 0 <= place < int(states.length[game]):
        raise DataError(
            f"Game {game} has {int(states.length[game])} moves: there is no place {place}, they count from 0."
        )
    found = games.world.bits(states.flipped[game, : place + 1]).T.copy()
    found[games.moves[game, : place + 1], np.arange(place + 1)] = True
    return found


def by_next_player(states: States, game: int, place: int) -> Bool[np.ndarray, "earlier"]:
    """Which moves up to and with a place were made by the player who moves next there.

    Args:
        states: Of games.
        game: The number of one of them.
        place: The number of its last move that counts, from 0.
    """
    black = np.append(True, states.black[game, :place])  # black begins
    return black == states.black[game, place]


def _line(board: Board, move: int, direction: str, own: int, opp: int) -> Line | None:
    step_row, step_column = DIRECTIONS[direction]
    row, column = divmod(move, board.size)
    turned: list[int] = []
    while True:
        row, column = row + step_row, column + step_column
        if not (0 <= row < board.size and 0 <= column < board.size):
            return None
        square = row * board.size + column
        if opp >> square & 1:
            turned.append(square)
        elif turned and own >> square & 1:
            return Line(direction, tuple(turned), square)
        else:
            return None
