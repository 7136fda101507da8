"""Squares, names and rules of many boards at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.text.worlds.board import Board


def board_of(board, *names):
    return np.array([sum(1 << board.square_of(name) for name in names)], dtype=np.uint64)


def test_square_three_is_d1():
    assert Board(8).square_name(3) == "d1"
    assert Board(6).square_name(3) == "d1"
    assert Board(6).square_name(35) == "f6"
    assert Board(8).square_of("d1") == 3
    assert [Board(8).square_of(Board(8).square_name(s)) for s in range(64)] == list(range(64))


@pytest.mark.parametrize(("size", "n_moves"), [(6, 32), (8, 60)])
def test_tokens_are_the_playable_squares_in_order_behind_padding(size, n_moves):
    board = Board(size)
    assert (board.n_moves, board.n_tokens) == (n_moves, n_moves + 1)
    assert len(board.squares) == n_moves
    assert board.token_of[board.squares].tolist() == list(range(1, n_moves + 1))
    start = {8: ("d4", "e4", "d5", "e5"), 6: ("c3", "d3", "c4", "d4")}[size]
    assert [board.token_of[board.square_of(name)] for name in start] == [0] * 4


def test_black_begins_with_the_four_moves_every_book_shows():
    board = Board(8)
    black, white = board.start(1)
    assert board.names(black[0]) == ("e4", "d5")
    assert board.names(white[0]) == ("d4", "e5")
    assert board.names(board.legal(black, white)[0]) == ("d3", "c4", "f5", "e6")


def test_a_line_is_turned_up_to_the_own_disc_and_no_other_line():
    # Row 1: a1 taken, b1 c1 the other's, d1 own: turned. Column a: a2 the other's up to the edge: not.
    board = Board(6)
    move, own = board_of(board, "a1"), board_of(board, "d1")
    opp = board_of(board, "b1", "c1", "a2", "a3", "a4", "a5", "a6", "b2")
    assert board.names(board.flips(move, own, opp)[0]) == ("b1", "c1")
    assert board.names(board.flanks(move, own, opp)[0]) == ("b1", "c1", "d1")


@pytest.mark.parametrize("size", [6, 8])
def test_the_longest_line_is_turned_in_every_direction(size):
    board = Board(size)
    last = size - 1
    lines = [[(0, i) for i in range(size)], [(i, 0) for i in range(size)]]
    lines += [[(i, i) for i in range(size)], [(i, last - i) for i in range(size)]]
    for line in [*lines, *(line[::-1] for line in lines)]:
        bit = [np.array([1 << (r * size + c)], dtype=np.uint64) for r, c in line]
        between = sum(bit[1:-1], np.zeros(1, dtype=np.uint64))
        assert board.legal(bit[-1], between) == bit[0]
        assert board.flips(bit[0], bit[-1], between) == between


def test_lines_do_not_go_round_the_edge():
    # h1, then a2 the other's, b2 own: neighbours as numbers, not on the board.
    board = Board(8)
    own, opp = board_of(board, "b2"), board_of(board, "a2")
    assert board.names(board.legal(own, opp)[0]) == ()
    own, opp = board_of(board, "g1"), board_of(board, "h1")
    assert board.names(board.legal(own, opp)[0]) == ()


def discs(size):
    whole = st.integers(0, (1 << size * size) - 1)
    return st.tuples(whole, whole).map(
        lambda two: tuple(np.array([x], dtype=np.uint64) for x in (two[0], two[1] & ~two[0]))
    )


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([6, 8]).flatmap(lambda size: st.tuples(st.just(size), discs(size))))
def test_legal_squares_are_those_that_turn_something(drawn):
    size, (own, opp) = drawn
    board = Board(size)
    legal = board.bits(board.legal(own, opp))[0]
    empty = np.flatnonzero(~board.bits(own | opp)[0])
    moves = np.uint64(1) << empty.astype(np.uint64)
    mine, yours = np.broadcast_to(own, moves.shape), np.broadcast_to(opp, moves.shape)
    turned = board.flips(moves, mine, yours)
    ends = board.flanks(moves, mine, yours) & ~turned
    assert (legal[empty] == (turned != 0)).all()
    assert ((ends != 0) == (turned != 0)).all()
    assert not (turned & ~yours).any()
    assert not (ends & ~mine).any()
    assert legal.sum() == legal[empty].sum()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([6, 8]).flatmap(lambda size: st.tuples(st.just(size), discs(size))))
def test_a_mirrored_board_has_mirrored_moves(drawn):
    size, (own, opp) = drawn
    board = Board(size)
    weights = np.uint64(1) << np.arange(size * size, dtype=np.uint64)

    def mirrored(one, turn):
        bits = turn(board.bits(one).reshape(size, size)).reshape(-1)
        return np.array([(weights * bits).sum(dtype=np.uint64)], dtype=np.uint64)

    for turn in (np.transpose, np.fliplr, np.flipud, np.rot90):
        there = board.legal(mirrored(own, turn), mirrored(opp, turn))
        assert there == mirrored(board.legal(own, opp), turn)


def test_bits_keep_the_shape_of_the_boards():
    board = Board(6)
    boards = np.array([[1, 2, 4], [1 << 35, 0, 3]], dtype=np.uint64)
    found = board.bits(boards)
    assert found.shape == (2, 3, 36)
    assert [np.flatnonzero(one).tolist() for one in found.reshape(6, 36)] == [
        [0], [1], [2], [35], [], [0, 1],
    ]  # fmt: skip
    assert (board.bits(boards.T) == found.transpose(1, 0, 2)).all()


def test_another_size_and_another_square_are_refused_in_a_sentence():
    with pytest.raises(DataError, match=r"boards of 6 by 6 or 8 by 8 squares, not of 7"):
        Board(7)
    with pytest.raises(DataError, match=r"'g7' is no square of a board of 6 by 6: .* a1 to f6"):
        Board(6).square_of("g7")
    with pytest.raises(DataError, match=r"the letter of the column first"):
        Board(8).square_of("3d")
