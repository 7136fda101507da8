"""Labels of games after each move."""

import numpy as np
import pytest

from lmscope.core.errors import DataError
from lmscope.text.worlds.board_labels import FAMILIES, labels
from lmscope.text.worlds.othello import Games, Othello


def played(text, size=8):
    world = Othello(size)
    moves = np.array([[world.square_of(name) for name in text.split()]], dtype=np.int16)
    states = world.replay(moves)
    none = np.zeros_like(states.legal)
    return Games(world, moves, none, np.zeros(1, dtype=np.int64)), states


def test_labels_after_the_first_two_moves_are_those_of_the_board():
    # f5 turns e5; then white's d6 turns d5: white d4 d5 d6, black e4 e5 f5, and black moves.
    games, states = played("f5 d6")
    found = labels(states, games)
    held = [{name for name, where in found.items() if where[0, t]} for t in range(2)]
    mine = {f"mine {name}" for name in ("e4", "e5", "f5")}
    yours = {f"yours {name}" for name in ("d4", "d5", "d6")}
    legal = {f"legal {name}" for name in ("c3", "c4", "c5", "c6", "c7")}
    expected = mine | yours | legal | {"move d6", "flipped d5", "black to move", "position 1"}
    assert {name for name in held[1] if not name.startswith("empty")} == expected
    assert sum(name.startswith("empty") for name in held[1]) == 64 - 6
    assert {"move f5", "flipped e5", "position 0", "empty d6", "legal d6"} <= held[0]
    assert "black to move" not in held[0]


def test_names_are_those_of_squares_that_can_have_them():
    games = Othello(6).random_games(3, np.random.default_rng(0))
    found = labels(games.world.replay(games.moves), games)
    count = {family: sum(n.startswith(family) for n in found) for family in FAMILIES}
    assert count == {
        "move": 32, "mine": 36, "yours": 36, "empty": 32,
        "legal": 32, "flipped": 36, "black": 1, "position": 32,
    }  # fmt: skip
    assert all(where.shape == (3, 32) for where in found.values())


def test_each_square_is_mine_yours_or_empty_and_nothing_holds_behind_the_end():
    games = Othello(6).random_games(400, np.random.default_rng(1), full=False)
    states = games.world.replay(games.moves)
    found = labels(states, games)
    going = np.arange(32) < games.length[:, None]
    assert not going.all()
    for square in games.world.squares:
        name = games.world.square_name(square)
        three = sum(found[f"{kind} {name}"].astype(int) for kind in ("mine", "yours", "empty"))
        assert (three == going).all()
    assert all(not where[~going].any() for where in found.values())
    assert (sum(found[f"position {t}"].astype(int) for t in range(32)) == going).all()


def test_only_families_that_are_asked_for_are_made():
    games, states = played("f5 d6")
    assert all(name.startswith("legal") for name in labels(states, games, ("legal",)))
    with pytest.raises(DataError, match=r"'legel' is no family of labels. Did you mean legal\?"):
        labels(states, games, ("legel",))
