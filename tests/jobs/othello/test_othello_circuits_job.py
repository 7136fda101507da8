"""The job that finds circuits of a player of Othello: its labels, its report, and going on after a stop."""

import json
from functools import partial
from pathlib import Path

import pytest

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.site import Site
from lmscope.jobs import othello_circuits as job
from lmscope.jobs.evaluate import OtherModel
from lmscope.jobs.othello_label_report import (
    DictionaryTruth,
    LatentTruth,
    OthelloTruthReport,
    StrongestFirings,
    TruthLabel,
)
from lmscope.jobs.othello_nodes import LatentLabel
from lmscope.jobs.trace_dictionaries import CircuitDictionaries, find_parts
from lmscope.runs.signals import Interrupted

SITE = Site("resid_pre", 0)


def truth_file(labels, path, name="planted", f1=0.9):
    """A file as `lmscope othello label` writes it, by hand."""
    strongest = StrongestFirings(
        n=1, moves_made=1, empties=1, n_legal=1, n_flipped=1, black=0, board=(0.0,) * 36
    )
    latents = tuple(
        LatentTruth(
            latent=latent,
            n_fired=1,
            max_activation=1.0,
            labels=(
                TruthLabel(
                    label=one.label, threshold=0.0, f1=f1, precision=f1, recall=f1, chosen_f1=f1
                ),
            ),
            strongest=strongest,
        )
        for latent, (one,) in labels.items()
    )
    dictionary = DictionaryTruth(
        name=name, reads=str(SITE), writes=str(SITE), n_latents=32, n_firing=32, mean_l0=1.0,
        n_tokens=9, families=(), labels=(), latents=latents,
    )  # fmt: skip
    report = OthelloTruthReport(
        model="player", weights_hash="0", size=6, n_games=4, seed=0, precision=0.95, min_f1=0.3,
        dictionaries=(dictionary,),
    )  # fmt: skip
    report.save(path)
    return str(path)


@pytest.fixture(scope="session")
def write_truth(square_labels):
    return partial(truth_file, square_labels("yours"))


@pytest.fixture(scope="module")
def asked(player_folder, write_truth, tmp_path_factory):
    file = write_truth(tmp_path_factory.mktemp("labels") / "labels.json")

    def asked(**changes):
        values = {
            "dictionaries": {"sources": [str(player_folder / "planted")], "calibration_tokens": 0},
            "model": {"name": str(player_folder / "model"), "device": "cpu"},
            "labels": {"file": file},
            "places": {"n_games": 4, "places_per_game": 2},
            "thresholds": [0.1, 0.0],
            "bootstrap": {"n_resamples": 20},
        }
        return job.OthelloCircuitsRecipe.from_mapping({**values, **changes})

    return asked


@pytest.fixture(scope="module")
def done(asked, tmp_path_factory):
    return job.find_othello_circuits(asked(), root=tmp_path_factory.mktemp("circuits"))


def test_a_run_holds_all_findings_and_tables_of_them(done):
    found = job.read_othello_circuits(done)
    assert (found.n_games, found.n_places, found.n_labelled, found.size) == (4, 8, 32, 6)
    assert None not in (found.logit, found.ablation, found.state, found.attention, found.thresholds)
    assert found.logit.n_places == found.attention.n_places == 8
    assert len(found.attention.heads) == 2
    whole = found.thresholds.methods["hierarchical"][1]
    assert whole.figures["recall"].value == 1
    assert whole.figures["precision"].value == pytest.approx(
        found.thresholds.even["precision"].value
    )
    assert len(found.tables()) == 2 + 1 + 2 + 2 + 2 + 3
    for table in found.tables():
        assert table.rows
        assert table.to_markdown()


def test_a_stopped_run_goes_on_and_finds_the_same(asked, done, tmp_path, monkeypatch):
    real, looked = job._Games.of, []

    def stops(self, game):
        if len(looked) == 2:
            raise Interrupted(2)
        looked.append(game)
        return real(self, game)

    monkeypatch.setattr(job._Games, "of", stops)
    with pytest.raises(BaseException):  # noqa: B017, PT011 (as a signal does)
        job.find_othello_circuits(asked(), root=tmp_path)
    (path,) = tmp_path.iterdir()
    again = []
    monkeypatch.setattr(job._Games, "of", lambda self, game: again.append(game) or real(self, game))
    resumed = job.find_othello_circuits(asked(), root=tmp_path, resume=path)
    assert (looked, again) == ([0, 1], [2, 3])
    assert job.read_othello_circuits(resumed) == job.read_othello_circuits(done)


def test_without_labels_attention_is_looked_at_alone(asked, player_folder, tmp_path):
    recipe = asked(labels={}, dictionaries={"sources": ["none"]})
    found = job.read_othello_circuits(job.find_othello_circuits(recipe, root=tmp_path))
    assert found.attention is not None
    assert found.logit is None
    assert found.dictionaries == ()
    plan = job.plan_othello_circuits(recipe).values
    assert (plan["findings"], plan["n_places"]) == ("attention", 8)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_latents_say_precisely_is_said_beside_their_best_labels(
    player_folder, write_truth, tmp_path
):
    path = Path(write_truth(tmp_path / "labels.json", f1=0.6))
    values = json.loads(path.read_text())
    precise = {"label": "mine a1", "threshold": 0.5, "precision": 0.97, "n_fired": 12}
    values["dictionaries"][0]["latents"][3]["precise"] = [precise]
    path.write_text(json.dumps(values))
    parts = find_parts(
        CircuitDictionaries(sources=(str(player_folder / "planted"),)),
        OtherModel(name=str(player_folder / "model")),
    )
    poor = job.LabelChoice(file=str(path))
    told = {3: (LatentLabel("mine a1", 0.5, tells=False),)}
    assert job.read_labels(poor, parts) == {"planted": told}
    both = job.read_labels(poor.model_copy(update={"least_f1": 0.5}), parts)["planted"][3]
    assert [one.tells for one in both] == [True, False]
    best = poor.model_copy(update={"least_f1": 0.5, "precise": False})
    assert len(job.read_labels(best, parts)["planted"][3]) == 1


def test_labels_in_the_artifacts_of_a_run_need_not_be_named(asked, write_truth, tmp_path):
    (tmp_path / "artifacts").mkdir()
    recipe = asked(labels={}, dictionaries={"sources": [str(tmp_path)]})
    assert job.chosen_labels(recipe).file is None
    write_truth(tmp_path / "artifacts" / "labels.json")
    assert job.chosen_labels(recipe).file == str(tmp_path / "artifacts" / "labels.json")
    assert "logit" in job.chosen_findings(recipe)
    named = asked(dictionaries={"sources": [str(tmp_path)]})
    assert job.chosen_labels(named) == named.labels


def test_what_cannot_be_asked_is_refused_in_a_sentence(asked, write_truth, tmp_path):
    with pytest.raises(RecipeError, match="nobody knows which features speak of a line"):
        job.plan_othello_circuits(asked(labels={}, findings=["logit"]))
    with pytest.raises(RecipeError, match="no feature that labels could be of"):
        job.plan_othello_circuits(asked(dictionaries={"sources": ["none"]}))
    with pytest.raises(ArtifactError, match="no labels of Othello features"):
        job.plan_othello_circuits(asked(labels={"file": str(tmp_path / "absent.json")}))
    other = write_truth(tmp_path / "other.json", name="plante")
    with pytest.raises(ArtifactError, match=r"has no labels of 'planted'.*Did you mean plante"):
        job.plan_othello_circuits(asked(labels={"file": other}))
    poor = write_truth(tmp_path / "poor.json", f1=0.6)
    with pytest.raises(ArtifactError, match=r"No latent of .* has a label with F1 of 0\.7 or more"):
        job.plan_othello_circuits(asked(labels={"file": poor}))
    assert job.plan_othello_circuits(asked(labels={"file": poor, "least_f1": 0.5}))
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"model": 3}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="no labels of Othello features"):
        job.plan_othello_circuits(asked(labels={"file": str(broken)}))
