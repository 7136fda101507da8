"""Batches of games: the same ones whatever the batch and wherever a run goes on."""

import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError, RunError
from lmscope.text.worlds import games as module
from lmscope.text.worlds.games import GameStream, game_batch
from lmscope.text.worlds.othello import Othello


@pytest.fixture
def world():
    return Othello(6)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of ten games, so that batches of eight stand across them."""
    monkeypatch.setattr(module, "_BLOCK", 10)


def stream(world, **choices):
    return GameStream(world, **({"batch_games": 8, "n_games": 45, "seed": 0} | choices))


def tokens_of(batches):
    return torch.cat([batch.tokens for batch in batches])


def test_batches_that_are_not_full_are_left_out(world):
    batches = list(stream(world))
    assert stream(world).total_batches == len(batches) == 5
    assert all(batch.tokens.shape == (8, 32) for batch in batches)


def test_games_are_the_same_in_batches_of_any_size(world):
    eights, fives = list(stream(world)), list(stream(world, batch_games=5))
    assert torch.equal(tokens_of(eights), tokens_of(fives)[:40])


def test_a_stream_that_goes_on_gives_what_would_have_come(world):
    whole = list(stream(world))
    first = stream(world)
    for _ in range(3):
        next(first)
    second = stream(world)
    second.load_state(first.state())
    rest = list(second)
    assert len(rest) == 2
    for one, other in zip(rest, whole[3:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_state_of_other_games_is_refused(world):
    for other in ({"seed": 1}, {"part": "held_out"}, {"batch_games": 4}, {"full": False}):
        with pytest.raises(RunError, match="not those that the run was started with"):
            stream(world).load_state(stream(world, **other).state())


def test_parts_and_seeds_share_no_game(world):
    kinds = [stream(world), stream(world, part="held_out"), stream(world, seed=1)]
    rows = torch.cat([tokens_of(list(kind)) for kind in kinds])
    assert len(torch.unique(rows, dim=0)) == len(rows) == 120


def test_legal_tokens_hold_the_move_that_follows_and_none_at_the_end(world):
    for batch in (*stream(world, full=False, n_games=400, batch_games=400),):
        assert torch.equal(batch.mask, batch.tokens != 0)
        follows = batch.tokens[:, 1:, None]
        held = batch.legal[:, :-1].gather(2, follows)[..., 0]
        assert torch.equal(held, batch.mask[:, 1:])
        assert not batch.legal[..., 0].any()
        assert not batch.legal[:, -1].any()
        assert not batch.legal[~batch.mask].any()
        ends = batch.mask.sum(1) - 1
        assert not batch.legal[torch.arange(400), ends].any()


def test_legal_tokens_are_those_of_the_board(world):
    games = stream(world).games(0, 20)
    legal = game_batch(games).legal.numpy()
    boards = world.bits(world.replay(games.moves).legal)
    assert (legal[..., 1:] == boards[..., world.squares]).all()
    assert legal.sum() == boards.sum()


def test_games_by_number_are_those_of_the_batches(world):
    assert (
        stream(world).games(7, 25).tokens() == tokens_of(list(stream(world)))[7:25].numpy()
    ).all()


def test_a_batch_larger_than_the_stream_is_refused(world):
    with pytest.raises(DataError, match="A batch of 46 games cannot be had from 45"):
        stream(world, batch_games=46)
    with pytest.raises(DataError, match="A batch of 0 games"):
        stream(world, batch_games=0)


def test_a_stream_of_many_blocks_holds_no_two_games_alike(monkeypatch, world):
    monkeypatch.setattr(module, "_BLOCK", 4096)
    rows = stream(world, n_games=20_000).games(0, 20_000).moves
    assert len(np.unique(rows, axis=0)) == 20_000
