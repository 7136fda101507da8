"""Games as text, and as tokens of it."""

import numpy as np
import pytest

from lmscope.core.errors import DataError
from lmscope.text.worlds.game_text import game_text, parse_game
from lmscope.text.worlds.notation import othello_tokenizer
from lmscope.text.worlds.othello import Othello


@pytest.mark.parametrize("size", [6, 8])
def test_text_of_a_game_is_its_tokens_and_back(size):
    world, tokenizer = Othello(size), othello_tokenizer(size)
    games = world.random_games(5, np.random.default_rng(0))
    for moves, tokens in zip(games.moves, games.tokens(), strict=True):
        text = game_text(moves, world)
        assert tokenizer(text)["input_ids"] == tokens.tolist()
        assert tokenizer.decode(tokens) == text
        assert (parse_game(text, world) == moves).all()


def test_the_tokenizer_adds_nothing_and_pads_with_zero():
    tokenizer = othello_tokenizer(8)
    assert len(tokenizer) == 61
    assert tokenizer("a1")["input_ids"] == [1]
    assert tokenizer.pad_token_id == 0
    assert tokenizer.bos_token_id is None
    assert tokenizer.eos_token_id is None
    assert tokenizer.unk_token_id is None


def test_a_saved_tokenizer_is_the_same(tmp_path):
    from transformers import AutoTokenizer

    othello_tokenizer(6).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("e4 b3\tf6")["input_ids"] == othello_tokenizer(6)("e4 b3 f6")["input_ids"]


def test_unfinished_games_and_capitals_are_read():
    world = Othello(8)
    assert parse_game(" F5\nd6 ", world).tolist() == [37, 43]
    assert parse_game("", world).tolist() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f5 d6 zz", "'zz' is no square of a board of 6 by 6: squares go from a1 to f6"),
        ("e4 h8", "'h8' is no square of a board of 6 by 6"),
        ("e4 pass", "'pass' is no square"),
        ("e4 a1", r"^Move 2: a1 is not legal for white there; legal are .*e3"),
        ("c3", r"^Move 1: c3 is not legal for black there; legal are c2, b3, e4, d5"),
        ("e4 " * 33, "at most 32 moves, not 33: give a shorter one, or a larger board"),
    ],
)
def test_what_is_no_game_is_refused_in_a_sentence(text, said):
    with pytest.raises(DataError, match=said):
        parse_game(text, Othello(6))
