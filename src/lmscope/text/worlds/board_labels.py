"""Truths about a game after each move, by name: what features of a model of the game are compared with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, UInt64

from lmscope.core.errors import DataError, did_you_mean
from lmscope.text.worlds.othello import Games, Othello, States

FAMILIES: Final = ("move", "mine", "yours", "empty", "legal", "flipped", "black", "position")
"""Kinds of labels."""

Labels = dict[str, Bool[np.ndarray, "game move"]]


def labels(states: States, games: Games, families: Sequence[str] = FAMILIES) -> Labels:
    """Whether each statement holds after each move; behind the end of a game none does.

    `move d3`: it was just taken. `mine d3`, `yours d3`: a disc of the player who moves next, of the other.
    `empty d3`. `legal d3`: it may be taken next. `flipped d3`: its disc was just turned. `black to move`.
    `position 12`: the move is the thirteenth, as tokens are counted from 0. The four squares of the start are never
    taken, empty or legal, so they have none of these labels.

    Args:
        states: `world.replay(games.moves)`.
        games: What they are states of.
        families: Some of `FAMILIES`.

    Raises:
        DataError: A family is unknown.
    """
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        raise DataError(
            f"'{unknown[0]}' is no family of labels.{did_you_mean(unknown[0], FAMILIES)}"
        )
    makers: Mapping[str, Callable[[], Labels]] = {
        "move": lambda: _moves(games),
        "mine": lambda: _squares("mine", states.world, states.mine, range(states.world.n_squares)),
        "yours": lambda: _squares(
            "yours", states.world, states.yours, range(states.world.n_squares)
        ),
        "empty": lambda: _squares(
            "empty", states.world, _empty(states), states.world.squares.tolist()
        ),
        "legal": lambda: _squares(
            "legal", states.world, states.legal, states.world.squares.tolist()
        ),
        "flipped": lambda: _squares(
            "flipped", states.world, states.flipped, range(states.world.n_squares)
        ),
        "black": lambda: {"black to move": states.black & _going(states)},
        "position": lambda: _positions(states),
    }
    found: Labels = {}
    for family in families:
        found |= makers[family]()
    return found


def _moves(games: Games) -> Labels:
    return {
        f"move {games.world.square_name(square)}": games.moves == square
        for square in games.world.squares
    }


def _squares(
    family: str, world: Othello, boards: UInt64[np.ndarray, "game move"], squares: Iterable[int]
) -> Labels:
    return {
        f"{family} {world.square_name(square)}": (boards >> np.uint64(square)) & np.uint64(1) == 1
        for square in squares
    }


def _empty(states: States) -> UInt64[np.ndarray, "game move"]:
    return np.where(_going(states), ~(states.mine | states.yours), np.uint64(0))


def _positions(states: States) -> Labels:
    going = _going(states)
    place = np.arange(going.shape[1])
    return {f"position {t}": going & (place == t) for t in range(going.shape[1])}


def _going(states: States) -> Bool[np.ndarray, "game move"]:
    return np.arange(states.mine.shape[1]) < states.length[:, None]
