"""Circuits of players of Othello: planted features, and rules by loops."""

import numpy as np
import pytest
import torch

from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.score_groups import ScoreGroups
from lmscope.circuits.scores import head_pattern
from lmscope.core.errors import ArtifactError, DataError
from lmscope.core.rng import numpy_generator
from lmscope.core.site import Site
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.jobs.othello_circuit_totals import (
    GameSums,
    Totals,
    ablation_finding,
    threshold_finding,
)
from lmscope.jobs.othello_findings import (
    MET,
    Seen,
    ablation_sets,
    ablation_sums,
    attention_sums,
    logit_sums,
    pairs_met,
    state_sums,
    threshold_sums,
)
from lmscope.jobs.othello_nodes import LatentLabel, Nodes, Place, SiteLabels, drawn_places
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel
from lmscope.text.worlds.flanks import by_next_player, flanking_lines, makers
from lmscope.text.worlds.games import game_batch
from lmscope.text.worlds.othello import Othello

WORLD = Othello(6)
SITE = Site("resid_pre", 0)
ALL = TraceOptions(threshold=0.0)


@pytest.fixture(scope="module")
def model(player_folder):
    return LanguageModel.load(str(player_folder / "model"), device="cpu")


@pytest.fixture
def planted(model, token_dictionary):
    return token_dictionary(model, SITE)


@pytest.fixture(scope="module")
def games():
    return WORLD.random_games(6, numpy_generator(3, "circuits"))


@pytest.fixture(scope="module")
def seen(model, games, token_dictionary, square_labels):
    """Places of games, as a function of what latents say."""
    replacement = Replacement(
        model, [token_dictionary(model, SITE)], ReplacementOptions(dtype="float64")
    )
    states = WORLD.replay(games.moves)
    tokens = game_batch(games).tokens

    def seen(family, game=0, n=3):
        labels = {SITE: SiteLabels.of(WORLD, WORLD.n_moves, square_labels(family))}
        rng = numpy_generator(0, "seen", game)
        for place in drawn_places(games, states, game, n, 5, rng):
            frozen = freeze(replacement, tokens[game]).until(place.place + 1)
            made = makers(games, states, game, place.place)
            own = by_next_player(states, game, place.place)
            yield Seen(frozen, Nodes(frozen, labels), place, made, own, rng)

    return seen


def test_places_are_legal_moves_with_their_lines(games):
    states = WORLD.replay(games.moves)
    found = list(drawn_places(games, states, 2, 4, 5, numpy_generator(0, "x")))
    assert len({one.place for one in found}) == 4
    for one in found:
        assert one.place >= 4
        legal = WORLD.names(states.legal[2, one.place])
        assert WORLD.square_name(one.move) in legal
        assert len(legal) == len(one.others) + 1 >= 2
        assert one.lines == flanking_lines(WORLD, one.move, one.mine, one.yours) != ()
        squares = {square for line in one.lines for square in line.squares}
        assert set(np.flatnonzero(one.on_line)) == squares
        assert not (one.turned & one.anchors).any()
    assert list(drawn_places(games, states, 2, 0, 5, numpy_generator(0, "x"))) == []


def test_nodes_speak_of_the_squares_of_their_labels_where_they_are_active_enough(
    model, games, planted, square_labels
):
    frozen = freeze(Replacement(model, [planted]), game_batch(games).tokens[0, :8])
    labels = square_labels("mine")
    quiet = int(WORLD.token_of[games.moves[0, 3]]) - 1
    labels[quiet] = (LatentLabel(labels[quiet][0].label, threshold=2.0),)
    nodes = Nodes(frozen, {SITE: SiteLabels.of(WORLD, WORLD.n_moves, labels)})
    # One feature a move; none at the first, where dictionaries do not stand.
    assert nodes.position.tolist() == [1, 2, 3, 4, 5, 6, 7]
    expected = [-1 if t == 3 else int(games.moves[0, t]) for t in range(1, 8)]
    told = [np.flatnonzero(nodes.squares(i, "mine")).tolist() for i in range(7)]
    assert told == [[] if square < 0 else [square] for square in expected]
    assert nodes.speaks.tolist() == [square >= 0 for square in expected]
    where = np.zeros(36, dtype=bool)
    where[games.moves[0, 5]] = True
    assert np.flatnonzero(nodes.of_squares(where)).tolist() == [4]
    assert not nodes.says("yours", where).any()
    assert nodes.name(4) == (SITE, int(WORLD.token_of[games.moves[0, 5]]) - 1)
    masks = nodes.masks(nodes.says("mine", where))
    assert masks[SITE].nonzero().tolist() == [[5, int(WORLD.token_of[games.moves[0, 5]]) - 1]]


def test_random_features_stand_where_the_others_do(model, games, planted):
    with torch.no_grad():
        planted.b_enc.fill_(0.5)  # so that every latent fires everywhere
    frozen = freeze(Replacement(model, [planted]), game_batch(games).tokens[0, :5])
    nodes = Nodes(frozen, {})
    assert len(nodes) == 4 * WORLD.n_moves
    rng = numpy_generator(0, "drawn")
    chosen = nodes.drawn(40, rng)
    assert chosen.sum() == 40
    alike = nodes.drawn_alike(chosen, rng, among=~chosen)
    assert not (alike & chosen).any()
    counts = [np.bincount(nodes.position[mask], minlength=5).tolist() for mask in (chosen, alike)]
    assert counts[0] == counts[1]
    assert (nodes.drawn_alike(chosen, rng) != alike).any()
    assert nodes.drawn(10**6, rng).all()


def test_a_label_of_another_world_is_refused():
    for text in ("corner a1", ""):
        with pytest.raises(ArtifactError, match="labels of this world begin with move, mine"):
            SiteLabels.of(WORLD, 4, {0: [LatentLabel(text)]})
    with pytest.raises(ArtifactError, match="Latent 4 of 4"):
        SiteLabels.of(WORLD, 4, {4: [LatentLabel("mine a1")]})
    with pytest.raises(DataError, match="h8"):
        SiteLabels.of(WORLD, 4, {0: [LatentLabel("mine h8")]})
    said = SiteLabels.of(
        WORLD, 2, {0: [LatentLabel("black to move", 0.5)], 1: [LatentLabel("position 3")]}
    )
    assert np.isinf(said.threshold).all()
    assert said.any_threshold.tolist() == [0.5, 0]


def test_a_latent_may_say_several_things_each_from_its_own_threshold_on():
    two = [LatentLabel("mine a1", 1.0, tells=False), LatentLabel("yours b1", 2.0)]
    said = SiteLabels.of(WORLD, 2, {1: [*two, LatentLabel("mine a1", 3.0, tells=False)]})
    assert np.argwhere(np.isfinite(said.threshold)).tolist() == [[1, 1, 0], [1, 2, 1]]
    assert (said.threshold[1, 1, 0], said.threshold[1, 2, 1]) == (1.0, 2.0)
    assert said.any_threshold.tolist() == [np.inf, 1.0]
    assert np.argwhere(said.tells).tolist() == [[1, 2, 1]]


def test_a_whole_circuit_has_what_earlier_moves_say_of_the_lines(seen, games):
    states = 0
    for game in range(3):
        for one in seen("yours", game, 9):
            found = logit_sums(one, ALL, 3)
            place = one.place
            # All features are kept; they are the moves behind the first, so loops over moves know the answer.
            moves = [int(games.moves[game, t]) for t in range(1, place.place + 1)]
            squares = {s for line in place.lines for s in line.squares}
            between = {s for line in place.lines for s in line.turned}
            n_line = sum(move in squares for move in moves)
            n_state = int(moves[-1] in between)
            states += n_state
            assert found["logit circuit nodes"] == (len(moves),)
            assert found["logit circuit of"] == (n_line, n_state, 0)
            assert found["logit circuit has"] == (float(n_line > 0), n_state, 0)
            # As many as there are, so that random sets are the same.
            assert found["logit anywhere of"] == pytest.approx(found["logit circuit of"])
            assert found["logit same places of"] == pytest.approx(found["logit circuit of"])
    assert 0 < states < 27


def test_a_legal_move_feature_counts_at_the_place_alone(seen):
    (one,) = seen("legal", 1, 1)
    lines = one.nodes.of_lines(one.place)
    assert not lines["legal"].any()  # latents say that squares are legal that are taken
    place = Place(
        WORLD,
        1,
        one.place.place,
        int(one.nodes.squares(len(one.nodes) - 1, "legal").argmax()),
        (),
        0,
        0,
        one.place.legal,
    )
    assert np.flatnonzero(one.nodes.of_lines(place)["legal"]).tolist() == [len(one.nodes) - 1]


def test_taking_features_out_is_taking_their_embeddings_out(seen, model):
    tried = 0
    for game in range(4):
        for one in seen("mine", game):
            found = ablation_sums(one, 1e-9, everywhere=True)
            place, tokens = one.place, one.frozen.tokens
            sets = ablation_sets(one, everywhere=True)
            assert found["ablation legal before"] == (1.0,)
            assert found["ablation fires"] == (float(sets["line"].any()),)
            if not sets["line"].any():
                assert found["ablation line"] == (0.0,) * 5
                continue
            tried += 1
            rows = torch.zeros(len(tokens), dtype=torch.bool)
            rows[torch.from_numpy(one.nodes.position[sets["line"]])] = True

            def gone(x, _at, rows=rows):
                return x.masked_fill(rows[:, None], 0.0)

            batch = Batch(tokens=tokens[None])
            before = model(batch).logits[0, -1].double().softmax(-1)
            with model.edit({SITE: gone}):
                after = model(batch).logits[0, -1].double().softmax(-1)
            below, behind, both, lost, n = found["ablation line"]
            assert lost == pytest.approx(float((before - after)[place.token]), abs=1e-5)
            assert n == sets["line"].sum()
            assert below == 0.0
            assert behind == float(after[place.token] < after[place.others].min())
            assert both == 0.0
            # With this threshold all that is above it is told legal.
            assert found["ablation told"] == (len(place.others) + 1, 0)
    assert tried > 3


def test_a_move_below_the_threshold_is_not_tried(seen):
    one = next(iter(seen("mine")))
    found = ablation_sums(one, 0.999, everywhere=True)
    assert found["ablation legal before"] == found["ablation n"] == (0.0,)
    assert found["ablation line"] == (0.0,) * 5
    assert found["ablation told"] == (0, WORLD.n_moves - len(one.place.legal))


def test_features_that_are_taken_out_speak_of_the_lines_and_the_others_do_not(seen):
    for one in seen("flipped", 2):
        sets = ablation_sets(one, everywhere=True)
        line = set(np.flatnonzero(one.place.on_line))
        assert set(np.flatnonzero(one.nodes.told_squares(sets["line"]))) <= line
        assert not set(np.flatnonzero(one.nodes.told_squares(sets["other squares"]))) & line
        assert not (sets["same places"] & sets["line"]).any()
        here = ablation_sets(one, everywhere=False)["line"]
        assert set(one.nodes.position[here]) <= {one.place.place}


def test_a_feature_of_a_token_comes_from_the_move_that_was_made(seen, games):
    # The disc that was just put is the other player's, so its latent says so truly; it reads its token alone.
    n = 0
    for game in range(4):
        for one in seen("yours", game):
            sums = state_sums(one, 4)
            found = sums["state"]
            tried, _, fell, control, moved, _, size = sums["state edits"]
            assert (tried, control) == (1, 1)  # it reads its own token alone
            assert moved == pytest.approx(0, abs=1e-9)
            assert fell > 0.5 * size
            if not found[0]:  # after a pass it is the player's own
                continue
            n += 1
            assert found[0] == 1
            t = one.place.place
            made = one.made[games.moves[game, t]]
            assert found[1] == pytest.approx(1, abs=1e-9)  # all on makers
            assert found[2] == pytest.approx(made.mean())
            assert found[5] == pytest.approx(float(np.flatnonzero(made)[-1] == t))
            assert found[6] == pytest.approx(1 / (t + 1))
            assert found[7] == 1
            assert state_sums(one, 0)["state"] == (0.0,) * 8
    assert n > 5


def test_attention_is_that_of_the_model_and_its_pairs_explain_all_of_the_scores(seen):
    for one in seen("mine", 1):
        found = attention_sums(one)
        assert found["attention n"] == (1.0, one.own.mean(), 1 / len(one.own))
        for head in range(2):
            pattern = head_pattern(one.frozen, 0, head)[-1].numpy()
            assert found["attention mine"][head] == pytest.approx(pattern[one.own].sum())
            assert found["attention self"][head] == pytest.approx(pattern[-1])
            parts = {name: found[f"attention of {name}"][head] for name in MET}
            assert sum(parts.values()) == pytest.approx(found["attention variance"][head])
            # There are no position embeddings, so that they alone attend evenly.
            assert parts["position x position"] == parts["position x feature"] == 0
            alone = found["attention mine by positions alone"][head]
            assert alone == pytest.approx(one.own.mean())
            assert found["attention mine without positions"][head] == pytest.approx(
                found["attention mine"][head]
            )


def test_pairs_are_put_together_by_what_meets():
    # Token, position, feature, other, constant: pair i, j is 5 i + j, and all 25 sum to 300.
    met = pairs_met(ScoreGroups(torch.tensor([300.0]), torch.arange(25.0).view(5, 5, 1)))
    assert {name: float(value[0]) for name, value in met.items()} == {
        "position x position": 6,
        "position x feature": 7 + 11,
        "feature x feature": 12,
        "token": 0 + 1 + 2 + 5 + 10,
        "other": 300 - 6 - 18 - 12 - 18,
    }


def test_thresholds_of_nothing_and_of_all_have_the_recall_of_none_and_of_all(seen):
    for one in seen("move", 2):
        found = threshold_sums(one, (1e6, 0.0), TraceOptions())
        n_true, n_squares, n_tokens, n_nodes, n_all = found["tau totals"]
        assert n_nodes == len(one.nodes)
        assert n_all == one.place.place + 1
        for method in ("hierarchical", "standard", "random"):
            of = {
                name: found[f"tau {method} {name}"]
                for name in ("kept", "said", "true", "squares", "tokens", "true tokens")
            }
            assert [of[name][0] for name in of] == [0] * 6
            assert (of["kept"][1], of["said"][1], of["true"][1]) == (n_nodes, n_nodes, n_true)
            assert (of["tokens"][1], of["true tokens"][1]) == (n_all, n_tokens)
            told = one.nodes.told_squares(np.ones(len(one.nodes), dtype=bool))
            assert of["squares"][1] == (told & one.place.on_line).sum()
            assert n_squares == one.place.on_line.sum()


def test_circuits_of_all_ways_are_of_one_size(seen):
    one = next(iter(seen("move", 3)))
    found = threshold_sums(one, (0.2, 1e-4), TraceOptions())
    sizes = {found[f"tau {m} kept"] for m in ("hierarchical", "standard", "random")}
    tokens = {found[f"tau {m} tokens"] for m in ("hierarchical", "standard", "random")}
    assert len(sizes) == len(tokens) == 1
    ((few, many),) = sizes
    assert 0 < few < many


def test_what_was_never_tried_has_no_estimate(seen):
    one = next(iter(seen("mine")))
    sums = ablation_sums(one, 0.999, everywhere=True)
    totals = Totals([GameSums(game=0, n_places=1, sums=sums)], BootstrapOptions(n_resamples=5), 0)
    found = ablation_finding(totals, 0.999)
    assert (found.n_places, found.n_tried) == (1, 0)
    assert found.arms[0].below is None
    none = threshold_sums(one, (1e6,), TraceOptions())
    totals = Totals([GameSums(game=0, n_places=1, sums=none)], BootstrapOptions(n_resamples=5), 0)
    row = threshold_finding(totals, (1e6,), 1).methods["hierarchical"][0]
    assert "precision" not in row.figures
    assert row.figures["squares"].value == 0
