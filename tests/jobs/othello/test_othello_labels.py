import numpy as np
import pytest
import torch

from lmscope.core.errors import ArtifactError, DataError, LmscopeError, ModelError, RecipeError
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.othello_label_report import OthelloTruthReport
from lmscope.jobs.othello_labels import TruthChoice, label_othello
from lmscope.jobs.othello_reading import firings_of, held_out, read_games, truths, world_of
from lmscope.models.fresh import ModelShape, fresh_model
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.text.worlds.notation import othello_tokenizer
from lmscope.text.worlds.othello import Othello

WORLD = Othello(6)


class Silent:
    def on_event(self, event, fields): ...
    def on_metrics(self, step, metrics): ...
    def on_progress(self, phase, done, total, fields): ...


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A player of random weights; its 40 coordinates tell its 32 moves apart."""
    shape = ModelShape(
        family="gpt2", n_layers=1, d_model=40, n_heads=2, d_hidden=16, max_positions=32
    )
    fresh = fresh_model(shape, othello_tokenizer(6), name="player", seed=0)
    folder = tmp_path_factory.mktemp("player") / "model"
    fresh.hf.save_pretrained(folder)
    fresh.tokenizer.save_pretrained(folder)
    return LanguageModel.load(str(folder), device="cpu")


def dictionary(model, site, n_latents, *, silent=False):
    """At `embed`, latent i fires on the move of token i + 1 and on no other; the rest is noise."""
    config = DictionaryConfig(
        reads=(site,),
        writes=(site,),
        d_read=model.d_model,
        d_write=model.d_model,
        n_latents=n_latents,
        sparsity=ReLU(),
        normalisation="none",
        model=model.name,
    )
    made, draw = Dictionary(config), torch.Generator().manual_seed(0)
    embeddings = model.hf.get_input_embeddings().weight.detach().float()[1:]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
        made.W_enc[:32] = torch.linalg.pinv(embeddings).T
        made.W_enc[32:] *= 10
        made.b_enc.fill_(-0.5)
        made.b_dec.zero_()
        if silent:
            made.W_enc.zero_()
    return made


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("dictionaries") / "planted"
    dictionary(model, "embed", 36).save(path)
    return path


def choice(*folders, **options):
    values = {
        "sources": [str(folder) for folder in folders],
        "n_games": 60,
        "scores": {"n_permutations": 2},
        "bootstrap": {"n_resamples": 50},
        **options,
    }
    return TruthChoice.from_mapping(values)


@pytest.fixture(scope="module")
def report(folder):
    return label_othello(choice(folder), Silent())


def test_planted_moves_are_found(report):
    (found,) = report.dictionaries
    assert (report.size, report.n_games, found.n_firing) == (6, 60, 36)
    moves = {one.label: one for one in found.labels if one.family == "move"}
    assert set(moves) == {f"move {WORLD.square_name(square)}" for square in WORLD.squares}
    for token, square in enumerate(WORLD.squares):
        one = moves[f"move {WORLD.square_name(square)}"]
        assert one.latent == token
        assert (one.best.f1, one.best.precision, one.best.recall) == (1.0, 1.0, 1.0)
        assert one.probe_f1 == 1.0
        assert one.null_f1 is not None
        assert one.null_f1 < 0.5
    family = next(one for one in found.families if one.family == "move")
    assert family.n_labels == 32
    assert family.n_above_90 >= 32  # noise may single a token out as well
    assert family.coverage == 1.0


def test_what_embeddings_cannot_know_is_not_found(report):
    families = {one.family: one for one in report.dictionaries[0].families}
    assert families["legal"].n_above_90 == 0
    assert families["position"].n_above_90 == 0
    assert families["legal"].coverage < 0.7
    assert set(families) >= {"mine", "yours", "empty", "flipped", "black", "turning"}


def test_a_latent_lists_its_labels_and_its_boards(report):
    (found,) = report.dictionaries
    latent = next(one for one in found.latents if one.latent == 0)  # the move a1
    assert latent.labels[0].label == "move a1"
    assert all(
        before.chosen_f1 >= after.chosen_f1
        for before, after in zip(latent.labels, latent.labels[1:], strict=False)
    )
    a1, strongest = 0, latent.strongest
    assert -1 <= strongest.board[a1] < -0.8  # the other one moves next, but after forced passes
    assert len(strongest.board) == 36
    assert strongest.empties == pytest.approx(32 - strongest.moves_made, abs=0.01)
    assert report.labels_of("planted")[0] == latent.labels


def test_what_a_latent_says_precisely_is_told_of_squares_alone(report):
    said = report.precise_of("planted")
    for token, square in enumerate(WORLD.squares):
        labels = {one.label: one for one in said[token]}
        move = labels[f"move {WORLD.square_name(square)}"]
        assert move.precision == 1.0
        assert 10 <= move.n_fired <= 30
        assert f"legal {WORLD.square_name(square)}" not in labels
    assert all(one.precision >= 0.95 and one.n_fired >= 10 for own in said.values() for one in own)
    families = {one.label.split()[0] for own in said.values() for one in own}
    assert families <= {"move", "mine", "yours", "legal", "flipped"}


def test_one_site_may_have_several_dictionaries(model, folder, tmp_path):
    dictionary(model, "embed", 36).save(tmp_path / "other")
    found = label_othello(choice(folder, tmp_path / "other", families=["black"]), Silent())
    assert [one.name for one in found.dictionaries] == ["planted", "other"]


def test_no_label_is_listed_that_chance_tells_as_well(report):
    (found,) = report.dictionaries
    nulls = {one.label: max(one.null_f1 or 0, one.always_f1) for one in found.labels}
    listed = [label for latent in found.latents for label in latent.labels]
    assert listed
    assert all(one.f1 > nulls[one.label] and one.f1 >= 0.3 for one in listed)


def test_the_board_is_told_by_votes_and_probes(report):
    board = report.dictionaries[0].board
    assert 0 < board.f1.value < board.probe_f1 <= 1
    assert board.f1.low <= board.f1.value <= board.f1.high
    assert board.precision > 0.85  # asked on one half: 0.95
    assert 1 / 3 < board.by_place_f1 < 1


def test_the_board_of_probes_is_the_likeliest_after_each_move(report):
    """Embeddings tell moves apart and no more, so least squares gives the mean of each move."""
    games = held_out(WORLD, 60, 0)
    states = WORLD.replay(games.moves)
    board = WORLD.bits(states.mine).astype(int) - WORLD.bits(states.yours)
    counts = np.zeros((36, 36, 3))
    for game in range(0, 60, 2):
        for t in range(1, 32):
            counts[games.moves[game, t], range(36), board[game, t] + 1] += 1
    right = [
        (counts[games.moves[game, t]].argmax(1) - 1 == board[game, t]).mean()
        for game in range(1, 60, 2)
        for t in range(1, 32)
    ]
    found = report.dictionaries[0].board.probe_f1
    assert found == pytest.approx(np.mean(right), abs=0.01)


def test_f1_is_that_of_activations_and_rules_by_loops(report, folder, model):
    """One label by hand: what latent 7 says of `flipped c3`, on games of odd number."""
    found = Dictionary.load(folder)
    games = held_out(WORLD, 60, 0)
    states = WORLD.replay(games.moves)
    square = WORLD.square_of("c3")
    one = next(o for o in report.dictionaries[0].labels if o.label == "flipped c3")
    says = hits = true = 0
    for game in range(1, 60, 2):
        tokens = torch.from_numpy(games.tokens()[game])
        x = model.hf.get_input_embeddings().weight.detach()[tokens]
        fires = found.encode(x)[:, one.latent] > one.best.threshold
        for t in range(1, 32):  # the first move is left out
            holds = bool(int(states.flipped[game, t]) >> square & 1)
            says, true, hits = (
                says + bool(fires[t]),
                true + holds,
                hits + (holds and bool(fires[t])),
            )
    assert one.n_true == true
    assert one.best.f1 == pytest.approx(2 * hits / (says + true), abs=1e-6)
    assert one.best.precision == pytest.approx(hits / says, abs=1e-6)


def test_tokens_stand_at_their_places(model):
    games = held_out(WORLD, 5, 3)
    made = dictionary(model, "embed", 36)
    site = made.config.read_site
    seen = read_games(model, games, [site], Silent())
    assert (np.flatnonzero(~seen.counts[site]) == np.arange(5) * 32).all()
    firings = firings_of(made, seen)
    assert len(firings.text) == 5 * 31
    moves = games.moves[:, 1:].reshape(-1)
    planted = firings.latent < 32
    np.testing.assert_array_equal(
        WORLD.squares[firings.latent[planted]], moves[firings.token[planted]]
    )


def test_a_report_is_read_as_it_was_written(report, tmp_path):
    report.save(tmp_path / "labels.json")
    assert OthelloTruthReport.load(tmp_path / "labels.json") == report
    assert "latents" not in report.summary()["dictionaries"][0]
    assert "latents" in report.to_mapping()["dictionaries"][0]


def test_equal_choices_give_equal_reports_and_seeds_others(folder, report):
    assert label_othello(choice(folder), Silent()) == report
    assert label_othello(choice(folder, seed=1), Silent()) != report


def test_only_families_that_are_asked_for(folder):
    found = label_othello(choice(folder, families=["black", "turning"]), Silent())
    assert [one.family for one in found.dictionaries[0].families] == ["black", "turning"]
    assert found.dictionaries[0].board is None
    assert len(found.tables()) == 4


def test_tables_have_a_row_a_dictionary(report):
    tables = report.tables()
    assert len(tables) == 5
    assert [table.rows[0][0] for table in tables] == ["planted"] * 5
    assert tables[0].rows[0][1] >= 32


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"families": ["mime"]}, DataError, "'mime' is no family of labels. Did you mean mine"),
        ({"families": []}, DataError, "No family of labels was named"),
        ({"only": ["mlp-*"]}, RecipeError, "No dictionary is called 'mlp-\\*'"),
        ({"sources": ["none"], "model": {"name": "x"}}, RecipeError, "no latent to label"),
        ({"sources": ["/nowhere"]}, ArtifactError, "There is no dictionary at '/nowhere'"),
    ],
)
def test_each_wrong_choice_is_one_sentence(folder, options, error, said):
    with pytest.raises(error, match=said):
        label_othello(choice(folder, **options), Silent())


def test_a_model_of_text_is_refused():
    with pytest.raises(
        ModelError, match="plays no Othello, its 100 tokens are neither the 33 of a"
    ):
        world_of(miniature("gpt2"))


def test_dictionaries_of_other_weights_are_refused(model, tmp_path):
    made = dictionary(model, "embed", 32)
    values = {**made.config.to_mapping(), "model_hash": "0" * 64}
    other = Dictionary(DictionaryConfig.from_mapping(values))
    other.load_state_dict(made.state_dict())
    other.save(tmp_path / "other")
    with pytest.raises(ArtifactError, match="was trained on"):
        label_othello(choice(tmp_path / "other"), Silent())
    label_othello(choice(tmp_path / "other", other_model=True, families=["move"]), Silent())


def test_a_silent_dictionary_is_refused(model, tmp_path):
    dictionary(model, "embed", 32, silent=True).save(tmp_path / "silent")
    with pytest.raises(LmscopeError, match="No latent of 'silent' fires on 60 games"):
        label_othello(choice(tmp_path / "silent"), Silent())


@pytest.mark.parametrize("text", [None, "{", "[]", '{"model": 3}'])
def test_a_damaged_report_is_one_sentence(text, tmp_path):
    path = tmp_path / "labels.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match="holds no labels of Othello features"):
        OthelloTruthReport.load(path)


def test_an_unknown_dictionary_has_no_labels(report):
    with pytest.raises(ArtifactError, match="no labels of 'mlp', only of planted"):
        report.labels_of("mlp")


def test_truths_are_those_of_the_rules():
    games = held_out(WORLD, 8, 0)
    found = truths(games, WORLD.replay(games.moves), ("mine", "yours", "empty", "turning", "move"))
    on_board = found.values[:, found.columns("mine", "yours", "empty")]
    assert (on_board.sum(1) == 36).all()  # each square has exactly one state
    assert (found.values[:, found.columns("turning")].sum(1) > 0).all()  # a move turns something
    assert (found.values[:, found.columns("move")].sum(1) == 1).all()
