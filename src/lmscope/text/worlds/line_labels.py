"""Which line a move turned: a label for each square and each of the eight directions (he2024othello)."""

from typing import Final

import numpy as np

from lmscope.text.worlds.board_labels import Labels
from lmscope.text.worlds.flanks import DIRECTIONS
from lmscope.text.worlds.othello import Games, States

FAMILY: Final = "turning"
"""The family of these labels."""


def line_labels(states: States, games: Games) -> Labels:
    """`move d3 turning up right`: d3 was just taken, and the line that goes up and right from it was turned.

    The paper found features of a move together with a direction in which it turns discs, and none of a turned disc as such.
    Squares from which no line can go in a direction have no label of it: a line needs two more squares.

    Args:
        states: `world.replay(games.moves)`.
        games: What they are states of.
    """
    world = states.world
    found: Labels = {}
    for square in world.squares.tolist():
        row, column = divmod(square, world.size)
        taken = games.moves == square
        for direction, (down, right) in DIRECTIONS.items():
            end = (row + 2 * down, column + 2 * right)
            if not all(0 <= place < world.size for place in end):
                continue
            # What is turned in one direction is one piece that begins beside the move.
            beside = np.uint64(square + down * world.size + right)
            turned = (states.flipped >> beside) & np.uint64(1) == 1
            found[f"move {world.square_name(square)} turning {direction}"] = taken & turned
    return found
