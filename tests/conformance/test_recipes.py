"""What every recipe that ships must do; one that is added is picked up by itself."""

import tomllib
from pathlib import Path

import pytest
from huggingface_hub import constants

from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.demo import DemoRecipe
from lmscope.jobs.evaluate import EvaluateRecipe
from lmscope.jobs.lm import LmRecipe, plan_lm
from lmscope.jobs.othello_circuit_report import FINDINGS
from lmscope.jobs.othello_circuits import OthelloCircuitsRecipe, plan_othello_circuits
from lmscope.jobs.othello_label_report import (
    DictionaryTruth,
    LatentTruth,
    OthelloTruthReport,
    StrongestFirings,
    TruthLabel,
)
from lmscope.jobs.othello_train import OthelloRecipe, plan_othello
from lmscope.jobs.plan import Machine, plan_training
from lmscope.jobs.train import TrainRecipe
from lmscope.models.catalog import CATALOG
from lmscope.models.fresh import fresh_model
from lmscope.runs.commands import command_of
from lmscope.runs.recipe import SHIPPED, read_recipe, shipped_recipes
from lmscope.text.hub import HubAddress
from lmscope.text.worlds.notation import othello_tokenizer
from lmscope.training.schedule import warmup_steps

JOBS = {
    kind.model_fields["job"].default: kind
    for kind in (
        *(TrainRecipe, EvaluateRecipe, DemoRecipe, LmRecipe),
        *(OthelloRecipe, OthelloCircuitsRecipe),
    )
}
N_DICTIONARIES = {
    "circuits-smollm2": 2 * 30,
    "demo": 1,
    "demo-gpu": 1,
    "scope-garden": 4 + 4,
    "scope-gpt2-small": 2 * 12,
    "scope-llama-3.1-8b": 4 * 32 * 2,
    "scope-othello-6x6": 4 + 4,
    "scope-othello-8x8": 6 + 6,
    "scope-pythia-160m": 4 * 12,
    "scope-smollm2": 4 * 30,
    "scope-smollm2-6": 6,
}
"""Kinds of site, layers, widths."""
MAKES_A_MODEL = {LmRecipe: plan_lm, OthelloRecipe: plan_othello}
"""Recipes that train a new model, and their plans."""
PLAYER = "./player"
"""In the place of a player, which a person names with --model."""


@pytest.fixture(params=shipped_recipes())
def name(request):
    return request.param


@pytest.fixture
def recipe(name):
    return JOBS[read_recipe(name)["job"]].load(name)


def test_the_demo_ships():
    assert {"demo", "demo-gpu"} <= set(shipped_recipes())


def test_every_job_has_a_recipe_class_and_the_command_of_its_name():
    commands = {path.stem for path in (Path(str(SHIPPED)).parent / "cli").glob("*.py")}
    assert {command_of(job).split()[0] for job in JOBS} <= commands


def test_it_loads_as_its_job_and_is_named_like_its_file(recipe, name):
    assert (recipe.job, recipe.name) == (read_recipe(name)["job"], name)


def test_writing_it_out_and_reading_it_again_changes_nothing(recipe, tmp_path):
    path = tmp_path / "again.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    again = type(recipe).load(path)
    assert again == recipe
    assert again.digest() == recipe.digest()
    assert type(recipe).from_mapping(tomllib.loads(recipe.to_toml())).digest() == recipe.digest()


def test_the_digest_follows_what_is_computed_and_not_the_label(recipe):
    assert recipe.model_copy(update={"name": "other"}).digest() == recipe.digest()
    assert recipe.model_copy(update={"seed": recipe.seed + 1}).digest() != recipe.digest()


def test_what_it_asks_for_exists(recipe):
    """The text comes with lmscope or from the hub; games are played; a player is for a person to name."""
    if isinstance(recipe, OthelloCircuitsRecipe):
        assert (recipe.model.name, recipe.dictionaries.sources) == (None, ())
        return
    plays = isinstance(recipe, OthelloRecipe) or recipe.text.source.startswith("othello:")
    if type(recipe) not in MAKES_A_MODEL:
        assert recipe.model.name in CATALOG or (plays and recipe.model.name == PLAYER)
    if not plays and recipe.text.source != "sample":
        HubAddress.parse(recipe.text.source)


def write_player(folder, size):
    """A player of random weights in the shape of the recipe for its board."""
    shape = JOBS["othello"].load(f"othello-{size}x{size}").shape
    made = fresh_model(shape, othello_tokenizer(size), name="player", seed=0)
    made.hf.save_pretrained(folder / "player")
    made.tokenizer.save_pretrained(folder / "player")
    return folder / "player"


@pytest.fixture
def small_player(tmp_path):
    return write_player(tmp_path, 6)


def labels_of(name, folder):
    """A file of labels that says of each latent of a dictionary that it tells a move."""
    label = TruthLabel(
        label="move a1", threshold=0.0, f1=0.9, precision=0.9, recall=0.9, chosen_f1=0.9
    )
    strongest = StrongestFirings(
        n=1, moves_made=1.0, empties=1.0, n_legal=1.0, n_flipped=1.0, black=0.0, board=(0.0,) * 36
    )
    latent = LatentTruth(
        latent=0, n_fired=1, max_activation=1.0, labels=(label,), strongest=strongest
    )
    counts = {"n_latents": 8, "n_firing": 1, "mean_l0": 1.0, "n_tokens": 1}
    one = DictionaryTruth(
        name=name, reads=SITE, writes=SITE, families=(), labels=(), latents=(latent,), **counts
    )
    about = {"model": "player", "weights_hash": "", "size": 6, "n_games": 4, "seed": 0}
    report = OthelloTruthReport(precision=0.95, min_f1=0.3, dictionaries=(one,), **about)
    report.save(folder / "labels.json")
    return str(folder / "labels.json")


SITE = "mlp_out@0"


def test_circuits_of_players_are_planned_for_dictionaries_that_a_person_names(
    small_player, tmp_path
):
    config = DictionaryConfig(
        reads=(SITE,),
        writes=(SITE,),
        d_read=96,
        d_write=96,
        n_latents=8,
        sparsity=ReLU(),
        normalisation="none",
        model=str(small_player),
    )
    Dictionary(config).save(tmp_path / "named")
    labels = labels_of("named", tmp_path)
    given = [f"dictionaries.sources=['{tmp_path / 'named'}']", f"labels.file='{labels}'"]
    plan = plan_othello_circuits(OthelloCircuitsRecipe.load("othello-circuits", given))
    found = plan.values["n_dictionaries"], plan.values["n_labelled"], plan.values["n_places"]
    assert found == (1, 1, 1000)
    assert plan.values["findings"] == ", ".join(FINDINGS)


def test_it_is_planned_without_network_weights_and_text(recipe, tmp_path, monkeypatch):
    """Model, sites, widths, sparsities, groups, schedule: all that a plan needs of them is right."""
    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if isinstance(recipe, OthelloCircuitsRecipe):
        assert plan_othello_circuits(recipe).values["findings"] == ", ".join(FINDINGS)
        return
    if plan := MAKES_A_MODEL.get(type(recipe)):
        n_steps = plan(recipe).values["n_steps"]
        assert n_steps > warmup_steps(n_steps, recipe.training.schedule)
        return
    longest: dict[str, object] = {"max_tokens": recipe.text.max_tokens or 1_000_000}
    if recipe.model.name == PLAYER:
        monkeypatch.chdir(write_player(tmp_path, 8).parent)
    if recipe.text.source.startswith("othello:"):
        longest = {"source": f"{recipe.text.source.partition('@')[0]}@2000"}
    recipe = recipe.model_copy(update={"text": recipe.text.model_copy(update=longest)})
    plan = plan_training(recipe, Machine(memory_bytes=80 * 2**30, devices=1, device_tflops=1.0))
    assert plan.values["fits"]
    assert plan.values["n_dictionaries"] == N_DICTIONARIES[recipe.name]
    for row in plan.tables["groups"]:
        assert row["steps"] > 0
        warmup_steps(row["steps"], recipe.training.schedule)
