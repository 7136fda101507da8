"""Games as documents of a corpus."""

import pytest

from lmscope.core.errors import DataError
from lmscope.text.corpus import Corpus
from lmscope.text.worlds import source as module
from lmscope.text.worlds.game_text import parse_game
from lmscope.text.worlds.notation import othello_tokenizer
from lmscope.text.worlds.othello import Othello
from lmscope.text.worlds.source import GameSource, fewer_games


@pytest.mark.parametrize(("size", "length"), [(6, 32), (8, 60)])
def test_each_context_is_one_whole_game(size, length):
    corpus = Corpus.load(f"othello:{size}@40")
    contexts = corpus.contexts(othello_tokenizer(size), length, bos_id=None, drop_tail=True)
    assert len(contexts) == 40
    assert contexts.n_dropped_tokens == 0
    rows = contexts.rows(range(40))
    assert rows.mask.all()
    assert (rows.documents == rows.index[:, None]).all()
    for row, document in zip(rows.tokens, corpus.documents(), strict=True):
        names = [Othello(size).square_name(Othello(size).squares[token - 1]) for token in row]
        assert " ".join(names) == document.text
        assert len(parse_game(document.text, Othello(size))) == length


def test_more_games_begin_with_the_same_ones(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 16)
    few, many = ([d.text for d in GameSource.parse(f"othello:6@{n}").documents()] for n in (20, 50))
    assert len(few) == 20
    assert many[:20] == few
    assert len(set(many)) == len(many) == 50


def test_the_number_is_twenty_thousand_unless_said():
    assert GameSource.parse("othello:8").n_games == 20_000
    assert GameSource.parse("othello:6@1_000").n_games == 1000
    assert Corpus.load("othello:8").name == "othello:8@20000"


def test_fingerprints_name_the_games():
    sources = ("othello:6@10", "othello:6@11", "othello:8@10")
    assert len({Corpus.load(source).fingerprint for source in sources}) == 3
    assert Corpus.load("othello:6@10").fingerprint == Corpus.load("othello:6@10").fingerprint


def test_games_can_be_held_out():
    train, held_out = Corpus.load("othello:6@200").split(0.2, seed=0)
    sides = [{d.text for d in side.documents()} for side in (train, held_out)]
    assert not sides[0] & sides[1]
    assert len(sides[0]) + len(sides[1]) == 200
    assert 20 < len(sides[1]) < 60


@pytest.mark.parametrize("address", ["othello:", "othello:6@", "othello:6@0", "othello:six"])
def test_what_names_no_games_is_refused(address):
    with pytest.raises(DataError, match=r"names no games: .* e\.g\. othello:6@20000"):
        Corpus.load(address)


def test_other_boards_and_columns_are_refused():
    with pytest.raises(DataError, match="boards of 6 by 6 or 8 by 8 squares, not of 7"):
        Corpus.load("othello:7@10")
    with pytest.raises(DataError, match="has no columns and no separators"):
        Corpus.load("othello:6@10", column="text")


def test_fewer_games_are_the_first_of_more():
    assert fewer_games("othello:6@200_000", 3) == "othello:6@3"
    assert fewer_games("othello:8", 50_000) == "othello:8@20000"
    assert fewer_games("othello:8@5", 50_000) == "othello:8@5"
    assert fewer_games("sample", 3) == "sample"
    some, more = (list(GameSource.parse(f"othello:6@{n}").documents()) for n in (3, 9))
    assert [one.text for one in some] == [one.text for one in more[:3]]
