"""Features of the board and of empty squares, planted above tokens of moves, and what replacing these does."""

import numpy as np
import pytest

from lmscope.circuits.config import ReplacementOptions
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.core.rng import numpy_generator
from lmscope.core.site import Site
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.jobs.othello_circuit_totals import (
    GameSums,
    Totals,
    empty_finding,
    state_finding,
)
from lmscope.jobs.othello_findings import Seen, empty_sums, state_sums
from lmscope.jobs.othello_nodes import Nodes, SiteLabels, drawn_places
from lmscope.text.worlds.flanks import by_next_player, makers
from lmscope.text.worlds.games import game_batch
from lmscope.text.worlds.othello import Othello

WORLD = Othello(6)
BELOW, ABOVE = Site("resid_pre", 0), Site("resid_mid", 0)


@pytest.fixture(scope="module")
def model(random_player):
    return random_player(mixing=0.01)  # so that places hardly mix


@pytest.fixture(scope="module")
def places(model, token_dictionary, square_labels):
    """Places of games whose last move took a square, by what the features above say."""
    games = WORLD.random_games(5, numpy_generator(4, "squares"))
    states, tokens = WORLD.replay(games.moves), game_batch(games).tokens

    def places(family, sign, bias, threshold=0.0):
        dictionaries = [token_dictionary(model, BELOW), token_dictionary(model, ABOVE, sign, bias)]
        replacement = Replacement(model, dictionaries, ReplacementOptions(dtype="float64"))
        told = {BELOW: square_labels("move"), ABOVE: square_labels(family, threshold)}
        labels = {site: SiteLabels.of(WORLD, WORLD.n_moves, one) for site, one in told.items()}
        for game in range(5):
            rng = numpy_generator(0, "places", game)
            for place in drawn_places(games, states, game, 3, 5, rng):
                frozen = freeze(replacement, tokens[game]).until(place.place + 1)
                made = makers(games, states, game, place.place)
                own = by_next_player(states, game, place.place)
                yield Seen(frozen, Nodes(frozen, labels), place, made, own, rng)

    return places


def test_a_board_feature_falls_silent_without_the_token_that_made_the_square_so(places):
    n = 0
    for seen in places("yours", 1.0, -0.5):
        found = state_sums(seen, 4)
        if not found["state"][0]:  # after a pass the last disc is the player's own
            continue
        n += 1
        tried, says, fell, control, moved, replaced, size = found["state edits"]
        assert (tried, says, control) == (1, 0, 1)
        assert moved == pytest.approx(0, abs=0.1)  # other places hardly matter
        share = 1 / len(seen.frozen.tokens)  # the mean of the game's tokens has so much of this one
        assert fell / size == pytest.approx(2 * (1 - share), abs=0.2)  # from 0.5 to nearly -0.5
        assert 1 <= replaced < len(seen.frozen.tokens)
    assert n > 5


def test_an_empty_cell_feature_speaks_again_without_the_token_that_took_the_square(places):
    n = 0
    for seen in places("empty", -1.0, 0.5):
        found = empty_sums(seen, 50)
        # A latent sees its own token alone, so only that of the last move is silent.
        assert found["empty"][0] == found["empty edits"][0] == 1
        length = len(seen.frozen.tokens)
        assert found["empty"][1] > 1 / length
        assert found["empty"][2:] == (pytest.approx(1 / length), 1.0)
        tried, says, fell, control, moved, replaced, size = found["empty edits"]
        assert (tried, says, control, replaced) == (1, 1, 0, 1)
        assert moved == pytest.approx(0, abs=0.1)
        assert fell / size == pytest.approx(
            -2 * (1 - 1 / length), abs=0.2
        )  # from -0.5 to nearly 0.5
        assert empty_sums(seen, 0) == {"empty": (0.0,) * 4, "empty edits": (0.0,) * 7}
        n += 1
    assert n > 5


def test_what_is_below_its_label_s_threshold_says_nothing(places):
    seen = next(iter(places("empty", -1.0, 0.5, threshold=0.6)))
    tried, says, *_ = empty_sums(seen, 1)["empty edits"]
    assert (tried, says) == (1, 0)  # 0.5 without the move that took it


def test_places_are_those_of_the_silent_latents(places):
    seen = next(iter(places("empty", -1.0, 0.5)))
    square = np.zeros(36, dtype=bool)
    square[WORLD.squares] = True
    last = int(seen.frozen.tokens[-1]) - 1
    found = seen.nodes.silent("empty", square, seen.place.place)
    assert found == [(ABOVE, last, int(WORLD.squares[last]))]
    assert seen.nodes.silent("mine", square, seen.place.place) == []


def test_shares_are_over_features_that_were_tried():
    sums = {
        "state": (4.0, 2.0, 1.0, 0.4, 0.2, 1.0, 0.5, 3.0),
        "state edits": (2.0, 1.0, 3.0, 2.0, 0.2, 7.0, 4.0),
        "empty": (4.0, 2.0, 1.0, 3.0),
        "empty edits": (2.0, 2.0, -6.0, 0.0, 0.2, 3.0, 4.0),
    }
    games = [GameSums(game=i, n_places=1, sums=sums) for i in range(3)]
    totals = Totals(games, BootstrapOptions(n_resamples=20), 0)
    state, empty = state_finding(totals), empty_finding(totals)
    assert (state.n_features, state.n_replaced) == (12, 1.75)
    assert [one.says.value for one in state.arms] == [0.5, 1.0]
    assert [one.moved.value for one in state.arms] == pytest.approx([0.75, 0.05])
    assert empty.n_features == 12
    assert (empty.taker.value, empty.even.value, empty.lowest_is_taker.value) == (0.5, 0.25, 0.75)
    assert [one.says.value for one in empty.arms] == [1.0, 0.0]
    assert [one.moved.value for one in empty.arms] == pytest.approx([-1.5, 0.05])
