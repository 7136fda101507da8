import numpy as np

from lmscope.text.worlds.flanks import DIRECTIONS
from lmscope.text.worlds.game_text import parse_game
from lmscope.text.worlds.line_labels import line_labels
from lmscope.text.worlds.othello import Games, Othello


def described(text, size=8):
    world = Othello(size)
    moves = parse_game(text, world)[None]
    states = world.replay(moves)
    games = Games(world, moves, np.zeros(moves.shape, np.uint64), np.zeros(1, np.int64))
    return line_labels(states, games)


def test_a_line_has_the_way_in_which_it_goes_from_the_move():
    # f5 turns e5, left of it; d6 turns d5, above it; c3 turns d4, below and right of it.
    found = described("f5 d6 c3")
    true = {(name, t) for name, v in found.items() for t in np.flatnonzero(v[0]).tolist()}
    assert true == {
        ("move f5 turning left", 0),
        ("move d6 turning up", 1),
        ("move c3 turning down right", 2),
    }


def test_every_turned_disc_lies_on_a_labelled_line():
    world = Othello(6)
    games = world.random_games(40, np.random.default_rng(0))
    states = world.replay(games.moves)
    found = line_labels(states, games)
    for game in range(40):
        for t in range(world.n_moves):
            row, column = divmod(int(games.moves[game, t]), 6)
            name = world.square_name(games.moves[game, t])
            turned = set(world.names(states.flipped[game, t]))
            expected = set()
            for way, (down, right) in DIRECTIONS.items():
                label = f"move {name} turning {way}"
                if label not in found or not found[label][game, t]:
                    continue
                place = (row + down, column + right)
                while world.square_name(place[0] * 6 + place[1]) in turned:
                    expected.add(world.square_name(place[0] * 6 + place[1]))
                    place = (place[0] + down, place[1] + right)
                    if not (0 <= place[0] < 6 and 0 <= place[1] < 6):
                        break
            assert expected == turned


def test_no_label_leads_over_the_edge():
    found = described("f5")
    assert {n for n in found if n.startswith("move a1 ")} == {
        "move a1 turning right",
        "move a1 turning down",
        "move a1 turning down right",
    }
    assert "move g4 turning right" not in found  # only h4 lies beyond
