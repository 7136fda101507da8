"""Games as people write them: `f5 d6 c3`."""

import numpy as np
from jaxtyping import Int16

from lmscope.text.worlds.othello import Othello


def parse_game(text: str, world: Othello) -> Int16[np.ndarray, "move"]:
    """The squares that a game took, which must be legal one after another; it may be unfinished.

    Args:
        text: Names of squares, apart from each other by white space: `f5 d6 c3`. Passes are not written.
        world: What is played.

    Raises:
        DataError: A word is no square, a move is not legal there, or the game is too long.
    """
    words = text.split()
    moves = np.array([[world.square_of(word.lower()) for word in words]], dtype=np.int16)
    moves = moves.reshape(1, len(words))
    if len(words):
        world.replay(moves)
    return moves[0]


def game_text(moves: Int16[np.ndarray, "move"], world: Othello) -> str:
    """A game as text: `f5 d6 c3`."""
    return " ".join(world.square_name(square) for square in moves if square >= 0)
