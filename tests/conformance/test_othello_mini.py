"""The player of Othello that comes with lmscope: its rules, its dictionaries, and what its features say of the board."""

import json

import numpy as np
import pytest
import torch

from lmscope.circuits.replacement import Replacement
from lmscope.cli.main import main
from lmscope.core import shipped
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.evaluation.legal_moves import score_games
from lmscope.jobs.evaluation_task import trained_dictionaries
from lmscope.jobs.othello_label_report import OthelloTruthReport
from lmscope.models import store
from lmscope.models.catalog import CATALOG
from lmscope.models.language_model import LanguageModel
from lmscope.runs.run import Run
from lmscope.text.worlds.games import game_batch
from lmscope.text.worlds.othello import Othello

NAME = "othello-mini"
MOST_BYTES = 5_000_000
"""Of the model with its dictionaries."""
MOST_LABEL_BYTES = 2_000_000
RUN = shipped.shipped_run(NAME)
LABELS = RUN / "artifacts" / "labels.json"
PLAYER = shipped.shipped_run("othello-mini-player")


@pytest.fixture(scope="module")
def model():
    return LanguageModel.load(NAME)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path / "empty-cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_small():
    sizes = {path: path.stat().st_size for root in (RUN, PLAYER) for path in root.rglob("*.*")}
    labels = sizes.pop(LABELS)
    assert sum(sizes.values()) < MOST_BYTES
    assert labels < MOST_LABEL_BYTES


def test_its_weights_are_those_of_the_catalog_and_of_the_run_that_trained_it(model):
    assert model.weights_hash == CATALOG[NAME].weights_hash
    assert store.verify(NAME).weights_hash == model.weights_hash
    for run in (RUN, PLAYER):
        assert set(Run.open(run).record.weights.values()) == {model.weights_hash}
    assert main(["models", "list"]) == 0


def test_its_moves_are_legal_in_games_that_nobody_drew_before():
    player, world = LanguageModel.load(NAME, dtype="float32"), Othello(6)
    games = world.random_games(150, np.random.default_rng(12345))
    score = score_games(player, world, [game_batch(games)])
    said = json.loads((PLAYER / "artifacts" / "model" / "held_out.json").read_text())
    assert score.legal_top1.value > 0.97
    assert score.legal_top1.value == pytest.approx(said["legal_top1"]["value"], abs=0.01)
    assert score.legal_mass.value == pytest.approx(said["legal_mass"]["value"], abs=0.02)


def test_every_output_of_a_layer_has_a_dictionary(model):
    found = [Dictionary.load(folder) for folder in trained_dictionaries(RUN).values()]
    assert {one.config.model_hash for one in found} == {model.weights_hash}
    assert {one.config.n_latents for one in found} == {1024}
    assert {one.W_dec.dtype for one in found} == {torch.float16}
    replacement = Replacement(model, found)
    assert replacement.missing() == ()
    assert len(replacement.dictionaries) == 2 * model.n_layers


def test_a_game_is_traced_with_nothing_but_the_model_named(desk, capsys):
    assert main(["trace", "c2 d2 e2 d1 e4", "--model", NAME, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["traces"]
    assert (found["model"], found["missing"]) == (NAME, [])
    assert abs(row["ledger"]["residual"]) <= row["ledger"]["tolerance"]
    assert {node["kind"] for node in row["nodes"]} >= {"feature", "token"}


def test_its_labels_are_of_its_dictionaries_and_true_on_new_games(desk, capsys):
    report = OthelloTruthReport.load(LABELS)
    assert report.weights_hash == CATALOG[NAME].weights_hash
    assert {one.name for one in report.dictionaries} == set(trained_dictionaries(RUN))
    name, told = max(
        ((one.name, report.labels_of(one.name)) for one in report.dictionaries),
        key=lambda pair: sum(labels[0].f1 > 0.9 for labels in pair[1].values()),
    )
    out = desk / "again.json"
    words = ["--n", "100", "--seed", "9", "--permutations", "1", "--family", "move", "--family"]
    assert main(["othello", "label", "--only", name, *words, "yours", "--out", str(out)]) == 0
    again = OthelloTruthReport.load(out).labels_of(name)
    best = {
        latent: labels[0]
        for latent, labels in told.items()
        if labels[0].f1 > 0.9 and labels[0].label.split()[0] in ("move", "yours")
    }
    assert best
    same = [
        latent
        for latent, label in best.items()
        if any(one.label == label.label and one.f1 > 0.8 for one in again.get(latent, ()))
    ]
    assert len(same) >= 0.9 * len(best)


def test_circuits_are_found_without_naming_anything(desk, capsys):
    few = ["--games", "2", "--places", "1", "--set", "bootstrap.n_resamples=10"]
    assert main(["othello", "circuits", *few, "--set", "lines.n_draws=2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["n_places"]) == (NAME, 2)
    assert all(found[one] for one in ("logit", "ablation", "state", "attention", "thresholds"))


@pytest.mark.parametrize("name", [NAME, "othello-mini-player"])
def test_the_runs_go_by_their_names(desk, name, capsys):
    assert main(["runs", "show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "done"
