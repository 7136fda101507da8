import numpy as np
import pytest

from lmscope.core.errors import DataError
from lmscope.core.rng import numpy_generator
from lmscope.text.worlds.flanks import DIRECTIONS, Line, by_next_player, flanking_lines, makers
from lmscope.text.worlds.game_text import parse_game
from lmscope.text.worlds.othello import Games, Othello


def played(text, size=6):
    world = Othello(size)
    moves = parse_game(text, world)[None]
    games = Games(world, moves, np.zeros(moves.shape, np.uint64), np.zeros(1, np.int64))
    return world, games, world.replay(moves)


@pytest.mark.parametrize("size", [6, 8])
def test_lines_hold_what_the_rules_turn_and_what_they_turn_it_up_to(size):
    world = Othello(size)
    games = world.random_games(10, numpy_generator(0, "flanks"), full=False)
    states = world.replay(games.moves)
    n_lines = set()
    for game, place in np.argwhere(states.legal != 0)[:: size * 2]:
        mine, yours = states.mine[game, place], states.yours[game, place]
        for move in range(world.n_squares):
            lines = flanking_lines(world, move, mine, yours)
            is_legal = bool(int(states.legal[game, place]) >> move & 1)
            assert bool(lines) == is_legal
            if is_legal:
                bit = np.array([1 << move], dtype=np.uint64)
                flips = world.flips(bit, states.mine[game, place : place + 1], yours[None])
                flanks = world.flanks(bit, states.mine[game, place : place + 1], yours[None])
                assert sum(1 << s for line in lines for s in line.turned) == int(flips[0])
                assert sum(1 << s for line in lines for s in line.squares) == int(flanks[0])
                n_lines.add(len(lines))
    assert {1, 2, 3} <= n_lines  # so that moves of several lines were among them


def test_the_first_move_of_a_game_turns_one_disc_up_to_one():
    # White stands at c3 and d4 of 6 by 6 squares, black at d3 and c4; black takes b3, to the left of c3.
    world = Othello(6)
    black, white = (int(board[0]) for board in world.start(1))
    lines = flanking_lines(world, world.square_of("b3"), black, white)
    assert lines == (Line("right", (world.square_of("c3"),), world.square_of("d3")),)
    assert lines[0].squares == (world.square_of("c3"), world.square_of("d3"))
    assert flanking_lines(world, world.square_of("a1"), black, white) == ()
    assert flanking_lines(world, world.square_of("c3"), black, white) == ()


def test_directions_are_those_of_a_board_seen_from_above():
    world = Othello(6)
    middle = world.square_of("c3")
    around = {"up": "c2", "right": "d3", "down": "c4", "left": "b3", "up left": "b2"}
    around |= {"up right": "d2", "down right": "d4", "down left": "b4"}
    assert set(around) == set(DIRECTIONS)
    for direction, name in around.items():
        row, column = DIRECTIONS[direction]
        assert middle + row * 6 + column == world.square_of(name)


def test_a_disc_is_made_by_the_move_that_placed_it_and_all_that_turned_it():
    # b3 turns c3; then white's b2 turns c3 back, along the diagonal to d4.
    world, games, states = played("b3 b2")
    assert world.names(states.flipped[0, 0]) == ("c3",)
    assert world.names(states.flipped[0, 1]) == ("c3",)
    found = makers(games, states, 0, 1)
    of = {world.square_name(s): np.flatnonzero(found[s]).tolist() for s in range(36)}
    assert {name: moves for name, moves in of.items() if moves} == {
        "b3": [0],
        "b2": [1],
        "c3": [0, 1],
    }
    assert makers(games, states, 0, 0).shape == (36, 1)
    with pytest.raises(DataError, match="2 moves: there is no place 2"):
        makers(games, states, 0, 2)


def test_moves_belong_to_the_player_who_made_them_even_after_a_pass():
    world = Othello(6)
    games = world.random_games(12, numpy_generator(1, "flanks"))
    states = world.replay(games.moves)
    assert games.passes.any()
    for game in range(12):
        own, opp = (board.copy() for board in world.start(1))
        black_moves, is_black = [], True
        for move in games.moves[game]:
            if not int(world.legal(own, opp)[0]) >> int(move) & 1:
                own, opp, is_black = opp, own, not is_black
            black_moves.append(is_black)
            bit = np.array([1 << int(move)], dtype=np.uint64)
            turned = world.flips(bit, own, opp)
            own, opp, is_black = opp & ~turned, own | bit | turned, not is_black
        for place in (0, 7, 30):
            next_is_black = bool(states.black[game, place])
            expected = [made == next_is_black for made in black_moves[: place + 1]]
            assert by_next_player(states, game, place).tolist() == expected
