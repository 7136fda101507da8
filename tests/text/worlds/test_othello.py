"""Random games and what was on the board, against rules written by loops."""

import numpy as np
import pytest

from lmscope.core.errors import DataError
from lmscope.text.worlds.game_text import parse_game
from lmscope.text.worlds.othello import Othello


def drawn(size, n, seed=0, *, full=True):
    return Othello(size).random_games(n, np.random.default_rng(seed), full=full)


def square_rows(world, *games):
    n = max(len(game.split()) for game in games)
    rows = [[world.square_of(name) for name in game.split()] for game in games]
    return np.array([row + [-1] * (n - len(row)) for row in rows])


@pytest.mark.parametrize(("size", "n"), [(6, 60), (8, 25)])
def test_every_position_is_what_the_plain_rules_say(size, n, find_mismatches):
    for full in (True, False):
        games = drawn(size, n, seed=size, full=full)
        wrong, n_positions = find_mismatches(games.world, games, games.world.replay(games.moves))
        assert wrong == []
        assert n_positions == games.length.sum() > 1000


def test_games_that_end_early_and_with_passes_are_among_those_compared(find_mismatches):
    games = drawn(6, 3000, seed=1, full=False)
    chosen = np.flatnonzero(games.length < 32)[:20]
    assert len(chosen) == 20
    early = games.take(chosen)
    assert early.passes.sum() > 0
    assert find_mismatches(games.world, early, games.world.replay(early.moves))[0] == []


def test_equal_generators_give_equal_games_and_others_others():
    one, same, other = drawn(6, 50, 3), drawn(6, 50, 3), drawn(6, 50, 4)
    assert (one.moves == same.moves).all()
    assert (one.legal == same.legal).all()
    assert (one.moves != other.moves).any()


def test_full_games_fill_the_board_and_others_are_kept_unless_asked():
    full, all_games = drawn(6, 2000, 5), drawn(6, 2000, 5, full=False)
    assert len(full) == len(all_games) == 2000
    assert (full.length == 32).all()
    assert (np.sort(full.moves, 1) == full.world.squares).all()
    assert 0.95 < (all_games.length == 32).mean() < 0.98


def test_no_games_are_no_games():
    none = drawn(6, 0)
    assert len(none) == 0
    assert none.tokens().shape == (0, 32)
    assert none.world.replay(none.moves).legal.shape == (0, 32)


def test_moves_are_drawn_evenly_from_the_legal_ones():
    games = drawn(6, 20_000, 6, full=False)
    first = np.bincount(games.moves[:, 0], minlength=36)
    assert first[first > 0].sum() == 20_000
    assert (first > 0).sum() == 4
    # 5,000 expected of each, standard deviation 61; five of them.
    assert np.abs(first[first > 0] - 5000).max() < 5 * 61
    # The rank of each move among its choices, where there are six: six equal shares.
    bits = games.world.bits(games.legal)
    six = (bits.sum(-1) == 6) & (games.moves >= 0)
    below = bits[six] & (np.arange(36) < games.moves[six][:, None])
    ranks = np.bincount(below.sum(1), minlength=6)
    assert len(ranks) == 6
    assert np.abs(ranks / ranks.sum() - 1 / 6).max() < 5 * np.sqrt(5 / 36 / ranks.sum())


def test_a_hundred_thousand_games_hold_no_two_alike():
    games = drawn(6, 100_000, 7)
    assert len(np.unique(games.moves.astype(np.int8), axis=0)) == 100_000


@pytest.mark.parametrize(
    ("size", "full", "passes", "branching", "entropy"),
    [(6, 0.965, 0.404, 5.28, 1.530), (8, 0.9909, 0.343, 8.54, 2.000)],
)
def test_games_are_as_other_generators_find_them(size, full, passes, branching, entropy):
    games = drawn(size, 8000, 8, full=False)
    count = np.bitwise_count(games.legal)[games.moves >= 0]
    assert abs((games.length == games.world.n_moves).mean() - full) < 0.01
    assert abs((games.passes > 0).mean() - passes) < 0.025
    assert abs(count.mean() - branching) < 0.03
    assert abs(np.log(count).mean() - entropy) < 0.01


def test_the_first_move_leaves_white_with_three_answers():
    # 1. f5 turns e5: black has e4 d5 e5 f5, white d4.
    world = Othello(8)
    states = world.replay(square_rows(world, "f5"))
    assert world.names(states.yours[0, 0]) == ("e4", "d5", "e5", "f5")
    assert world.names(states.mine[0, 0]) == ("d4",)
    assert world.names(states.flipped[0, 0]) == ("e5",)
    assert world.names(states.legal[0, 0]) == ("f4", "d6", "f6")
    assert not states.black[0, 0]


def test_the_shortest_game_is_over_after_nine_moves():
    world = Othello(8)
    shortest = "e6 f4 e3 f6 g5 d6 e7 f5 c5"
    states = world.replay(square_rows(world, shortest))
    assert states.length.tolist() == [9]
    assert states.legal[0, -1] == 0
    assert states.mine[0, -1] == 0  # white has no disc left
    with pytest.raises(DataError, match=r"^Move 10: a1 comes after the game is over.* move 9"):
        world.replay(square_rows(world, shortest + " a1"))


def test_after_a_forced_pass_the_same_player_moves_again(plain_game):
    games = drawn(6, 200, 9, full=False)
    states = games.world.replay(games.moves)
    passed = states.black[:, 1:] == states.black[:, :-1]
    passed &= (games.moves[:, 1:] >= 0) & (states.legal[:, 1:] != 0)
    assert passed.any()
    assert (passed.sum(1) == games.passes).all()
    game, before = (int(i) for i in np.argwhere(passed)[0])
    plain = plain_game(6)
    for square in games.moves[game, : before + 2]:
        mover = plain.colour
        plain.play(int(square))
    assert plain.colour == mover


def test_what_is_legal_next_is_what_the_next_move_was_drawn_from():
    games = drawn(8, 300, 10, full=False)
    states = games.world.replay(games.moves)
    assert (states.legal[:, :-1] == games.legal[:, 1:]).all()
    behind = np.arange(60) >= states.length[:, None]
    for board in (states.mine, states.yours, states.legal, states.flipped, states.black):
        assert not board[behind].any()


def test_tokens_name_the_squares_and_padding_follows_the_end():
    games = drawn(6, 500, 11, full=False)
    tokens = games.tokens()
    assert ((tokens == 0) == (games.moves < 0)).all()
    assert (games.world.squares[tokens[tokens > 0] - 1] == games.moves[tokens > 0]).all()


def test_a_wrong_game_is_refused_with_the_move_and_what_was_legal():
    world = Othello(8)
    good, bad = "f5 d6 c3 d3", "f5 d6 a1"
    with pytest.raises(
        DataError, match=r"^Game 1, move 3: a1 is not legal for black there; legal are .*c3"
    ):
        world.replay(square_rows(world, good, bad))
    with pytest.raises(DataError, match=r"^Move 2: f5 is not legal for white"):
        world.replay(square_rows(world, "f5 f5"))
    with pytest.raises(DataError, match=r"^Move 2: d4 is not legal for white"):
        world.replay(square_rows(world, "f5 d4"))
    with pytest.raises(DataError, match=r"64 is no square of a board of 8 by 8"):
        world.replay(np.array([[64]]))
    with pytest.raises(DataError, match=r"at most 60 moves, not 61"):
        world.replay(np.zeros((1, 61), dtype=np.int64))
    with pytest.raises(DataError, match=r"^Move 3 comes behind the end"):
        world.replay(np.array([[37, -1, 43]]))


def test_a_move_of_the_other_colour_is_not_legal():
    # After f5 black could take another square, but it is white's turn: c4 is black's alone.
    with pytest.raises(DataError, match=r"c4 is not legal for white"):
        parse_game("f5 c4", Othello(8))
