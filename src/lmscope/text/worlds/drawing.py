"""A position of Othello in plain text."""

from dataclasses import dataclass
from typing import Any, Literal

from lmscope.text.worlds.board import COLUMNS
from lmscope.text.worlds.game_text import game_text, parse_game
from lmscope.text.worlds.othello import Othello


@dataclass(frozen=True)
class Position:
    """What is on the board after some moves.

    Attributes:
        world: What is played.
        game: The moves so far.
        black: Black's discs by name.
        white: White's.
        legal: Squares that may be taken next.
        to_move: Who may; None where the game is over.
    """

    world: Othello
    game: str
    black: tuple[str, ...]
    white: tuple[str, ...]
    legal: tuple[str, ...]
    to_move: Literal["black", "white"] | None

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "size": self.world.size,
            "game": self.game,
            "to_move": self.to_move,
            "legal": list(self.legal),
            "black": list(self.black),
            "white": list(self.white),
        }


def position_after(text: str, world: Othello) -> Position:
    """The position after a game's moves.

    Raises:
        DataError: It is no game by the rules.
    """
    moves = parse_game(text, world)
    if len(moves):
        states = world.replay(moves[None])
        own, opp, legal = (b[0, -1] for b in (states.mine, states.yours, states.legal))
        is_black = bool(states.black[0, -1])
    else:
        start = world.start(1)
        own, opp, legal = start[0][0], start[1][0], world.legal(*start)[0]
        is_black = True
    black, white = (own, opp) if is_black else (opp, own)
    mover = "black" if is_black else "white"
    return Position(
        world,
        game_text(moves, world),
        world.names(black),
        world.names(white),
        world.names(legal),
        mover if legal else None,
    )


def board_lines(position: Position) -> list[str]:
    """The board line by line: X black, O white, * legal, and below it who moves."""
    size = position.world.size
    marks = dict.fromkeys(position.legal, "*")
    marks |= dict.fromkeys(position.black, "X") | dict.fromkeys(position.white, "O")
    lines = ["  " + " ".join(COLUMNS[:size])]
    for row in range(size):
        names = (position.world.square_name(row * size + column) for column in range(size))
        lines.append(f"{row + 1} " + " ".join(marks.get(name, ".") for name in names))
    counts = f"X black {len(position.black)}, O white {len(position.white)}"
    if position.to_move is None:
        return [*lines, "", f"{counts}. The game is over."]
    return [
        *lines,
        "",
        f"{counts}. {position.to_move.capitalize()} moves; legal (*): {', '.join(position.legal)}.",
    ]
