"""`lmscope othello play` as a person sees it."""

import json

import pytest

from lmscope.cli.main import main
from lmscope.text.worlds.game_text import parse_game
from lmscope.text.worlds.othello import Othello

AFTER_F5_D6 = """\
  a b c d e f g h
1 . . . . . . . .
2 . . . . . . . .
3 . . * . . . . .
4 . . * O X . . .
5 . . * O X X . .
6 . . * O . . . .
7 . . * . . . . .
8 . . . . . . . .

X black 3, O white 3. Black moves; legal (*): c3, c4, c5, c6, c7.
"""


def test_a_board_is_shown_with_its_legal_moves(capsys):
    assert main(["othello", "play", "f5 d6"]) == 0
    assert capsys.readouterr().out == AFTER_F5_D6


def test_no_moves_are_the_start_and_a_finished_game_says_so(capsys):
    assert main(["othello", "play", "", "--size", "6"]) == 0
    assert (
        "X black 2, O white 2. Black moves; legal (*): c2, b3, e4, d5." in capsys.readouterr().out
    )
    assert main(["othello", "play", "e6 f4 e3 f6 g5 d6 e7 f5 c5"]) == 0
    assert "X black 13, O white 0. The game is over." in capsys.readouterr().out


def test_a_board_as_json(capsys):
    assert main(["othello", "play", "F5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["game"] == "f5"
    assert found["to_move"] == "white"
    assert found["legal"] == ["f4", "d6", "f6"]
    assert (found["black"], found["white"]) == (["e4", "d5", "e5", "f5"], ["d4"])


def test_random_games_are_legal_and_few_are_the_first_of_many(capsys):
    assert main(["othello", "play", "--n", "3", "--size", "6"]) == 0
    three = capsys.readouterr().out.splitlines()
    assert len(three) == 3
    assert all(len(parse_game(game, Othello(6))) == 32 for game in three)
    assert main(["othello", "play", "--n", "1100", "--size", "6"]) == 0
    many = capsys.readouterr().out.splitlines()
    assert many[:3] == three
    assert len(set(many)) == 1100
    assert main(["othello", "play", "--n", "3", "--size", "6", "--seed", "1"]) == 0
    assert capsys.readouterr().out.splitlines() != three


def test_random_games_as_json_are_an_object_a_line(capsys):
    assert main(["othello", "play", "--n", "2", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(row) for row in rows] == [{"text", "size", "passes"}] * 2
    assert [len(row["text"].split()) for row in rows] == [60, 60]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["f5 d6 a1"], 1, "Move 3: a1 is not legal for black there; legal are c3, c4, c5, c6, c7."),
        (["f5", "--size", "6"], 1, "Move 1: f5 is not legal for black there; legal are c2, b3, e4, d5."),
        (["h8", "--size", "6"], 1, "'h8' is no square of a board of 6 by 6"),
        (["--size", "7"], 1, "boards of 6 by 6 or 8 by 8 squares, not of 7: take 6 or 8."),
        (["f5", "--n", "3"], 2, "A given game is shown as it is: leave out --n and --seed"),
        (["--n", "0"], 2, "'0' is not a whole number of at least 1"),
    ],
)  # fmt: skip
def test_each_wrong_input_is_one_sentence(capsys, words, code, said):
    assert main(["othello", "play", *words]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
