import math

import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError, ModelError
from lmscope.core.rng import numpy_generator
from lmscope.evaluation.legal_moves import check_plays, score_games
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.models.fresh import ModelShape, fresh_model
from lmscope.models.miniature import miniature
from lmscope.text.worlds.games import GameBatch, game_batch
from lmscope.text.worlds.notation import othello_tokenizer
from lmscope.text.worlds.othello import Othello

WORLD = Othello(6)
FEW = BootstrapOptions(n_resamples=200)
SHAPE = ModelShape(family="gpt2", n_layers=1, d_model=16, n_heads=2, d_hidden=24, max_positions=32)


def player(size=6, **shape):
    made = SHAPE.model_copy(update=shape)
    model = fresh_model(made, othello_tokenizer(size), name="player", seed=1)
    with torch.no_grad():
        model.hf.lm_head.weight.mul_(50)
    return model


@pytest.fixture(scope="module")
def model():
    return player()


@pytest.fixture(scope="module")
def batches():
    """Twelve games in three batches, one of them over before the board is full."""
    games = WORLD.random_games(400, numpy_generator(3, "games"), full=False)
    short = np.flatnonzero(games.length < WORLD.n_moves)[:1]
    games = games.take(np.concatenate([short, np.flatnonzero(games.length == WORLD.n_moves)[:11]]))
    return [game_batch(games.take(slice(first, first + 4))) for first in (0, 4, 8)]


def rows(model, batches):
    """Every predicted move as a row (move, top1, mass, nats, floor, divergence, chance), by a loop."""
    found = []
    for batch in batches:
        for tokens, mask, legal in zip(*batch, strict=True):
            n = int(mask.sum())
            with torch.no_grad():
                p = model.hf(input_ids=tokens[None, :n]).logits[0].double().softmax(-1).numpy()
            for place in range(n - 1):
                allowed = np.flatnonzero(legal[place].numpy())
                law = np.full(len(allowed), 1 / len(allowed))
                found.append(
                    (
                        place + 2,
                        float(p[place].argmax() in allowed),
                        p[place][allowed].sum(),
                        -math.log(p[place][int(tokens[place + 1])]),
                        math.log(len(allowed)),
                        float((law * np.log(law / p[place][allowed])).sum()),
                        len(allowed) / (WORLD.n_moves - place - 1),
                    )
                )
    return np.array(found)


NAMES = ("legal_top1", "legal_mass", "nats_per_move", "floor_nats", "divergence_nats")


def test_figures_are_those_of_each_game_read_alone(model, batches):
    found, wanted = score_games(model, WORLD, batches, bootstrap=FEW), rows(model, batches)
    assert (found.n_games, found.n_moves) == (12, len(wanted))
    means = wanted.mean(0)
    assert [getattr(found, name).value for name in NAMES] == pytest.approx(means[1:6], rel=1e-5)
    assert found.legal_by_chance == pytest.approx(means[6])
    assert 0 < found.legal_top1.value < 1


def test_each_place_has_its_own_figures(model, batches):
    found, wanted = score_games(model, WORLD, batches, bootstrap=FEW), rows(model, batches)
    assert [score.move for score in found.by_move] == list(range(2, 33))
    for score in found.by_move:
        mine = wanted[wanted[:, 0] == score.move]
        assert score.n == len(mine)
        figures = [getattr(score, name) for name in NAMES]
        assert figures == pytest.approx(mine.mean(0)[1:6], rel=1e-4, abs=1e-6)


def test_after_the_first_move_three_squares_are_legal(model, batches):
    """Black's first disc turns one; white can take the square beside it, or one of the two on its diagonals."""
    assert score_games(model, WORLD, batches, bootstrap=FEW).by_move[0].floor_nats == (
        pytest.approx(math.log(3))
    )


def test_a_player_that_knows_the_rules_is_at_the_floor(model, batches):
    seen = iter(batches)

    def knows(logits, at):
        return next(seen).legal.float().log().clamp(min=-1e4)

    with model.edit({"logits": knows}):
        found = score_games(model, WORLD, batches, bootstrap=FEW)
    assert found.legal_top1.value == 1.0
    assert found.legal_mass.value == pytest.approx(1)
    assert found.divergence_nats.value == pytest.approx(0, abs=1e-6)
    assert found.nats_per_move.value == pytest.approx(found.floor_nats.value)


def test_a_player_that_breaks_every_rule_has_no_legal_move(model, batches):
    seen = iter(batches)

    def breaks(logits, at):
        return next(seen).legal.float() * -1e3

    with model.edit({"logits": breaks}):
        found = score_games(model, WORLD, batches, bootstrap=FEW)
    assert found.legal_top1.value == 0.0
    assert found.legal_mass.value == pytest.approx(0)


def test_intervals_hold_the_figure_and_groups_of_games_do_not_move_it(model, batches):
    alone = score_games(model, WORLD, batches, bootstrap=FEW)
    grouped = score_games(model, WORLD, batches, bootstrap=FEW.model_copy(update={"max_units": 5}))
    for score in (alone, grouped):
        for name in NAMES:
            estimate = getattr(score, name)
            assert estimate.low <= estimate.value <= estimate.high
    assert grouped.legal_mass.n == 5
    assert grouped.legal_mass.value == pytest.approx(alone.legal_mass.value)
    assert grouped.n_games == 12


def too_few_moves(batches):
    tokens, mask, legal = batches[0]
    first = torch.arange(32) < 1
    return [GameBatch(tokens * first, mask & first, legal & False)]


@pytest.mark.parametrize(
    ("games", "said"),
    [(lambda _: [], "There is no game to measure on"), (too_few_moves, "has a second move")],
)
def test_without_a_move_to_predict_there_is_no_score(model, batches, games, said):
    with pytest.raises(DataError, match=said):
        score_games(model, WORLD, games(batches), bootstrap=FEW)


@pytest.mark.parametrize(
    ("stranger", "said"),
    [
        (
            lambda: miniature("llama"),
            r"'miniature-llama' has a vocabulary of \d+ tokens, which are not the 33 of Othello on 6 by 6",
        ),
        (lambda: player(8), "a vocabulary of 61 tokens, .* `lmscope othello train othello-6x6`"),
        (lambda: player(max_positions=20), "positions for 20 moves, .* has up to 32"),
        (lambda: miniature("bert"), "predicts no next token, so it cannot play"),
    ],
)
def test_a_model_of_something_else_is_refused(stranger, said, batches):
    with pytest.raises(ModelError, match=said):
        score_games(stranger(), WORLD, batches, bootstrap=FEW)


def test_a_model_of_this_board_is_taken(model):
    check_plays(model, WORLD)
    check_plays(player(8, max_positions=60), Othello(8))
