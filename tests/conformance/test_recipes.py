"""What every recipe that ships must do; one that is added is picked up by itself."""

import tomllib
from pathlib import Path

import pytest
from huggingface_hub import constants

from lmscope.jobs.demo import DemoRecipe
from lmscope.jobs.evaluate import EvaluateRecipe
from lmscope.jobs.lm import LmRecipe, plan_lm
from lmscope.jobs.othello_train import OthelloRecipe, plan_othello
from lmscope.jobs.plan import Machine, plan_training
from lmscope.jobs.train import TrainRecipe
from lmscope.models.catalog import CATALOG
from lmscope.runs.recipe import SHIPPED, read_recipe, shipped_recipes
from lmscope.text.hub import HubAddress
from lmscope.training.schedule import warmup_steps

JOBS = {
    kind.model_fields["job"].default: kind
    for kind in (TrainRecipe, EvaluateRecipe, DemoRecipe, LmRecipe, OthelloRecipe)
}
N_DICTIONARIES = {
    "circuits-smollm2": 2 * 30,
    "demo": 1,
    "demo-gpu": 1,
    "scope-garden": 4 + 4,
    "scope-gpt2-small": 2 * 12,
    "scope-llama-3.1-8b": 4 * 32 * 2,
    "scope-pythia-160m": 4 * 12,
    "scope-smollm2": 4 * 30,
    "scope-smollm2-6": 6,
}
"""Kinds of site, layers, widths."""
MAKES_A_MODEL = {LmRecipe: plan_lm, OthelloRecipe: plan_othello}
"""Recipes that train a new model, and their plans."""


@pytest.fixture(params=shipped_recipes())
def name(request):
    return request.param


@pytest.fixture
def recipe(name):
    return JOBS[read_recipe(name)["job"]].load(name)


def test_the_demo_ships():
    assert {"demo", "demo-gpu"} <= set(shipped_recipes())


def test_every_job_has_a_recipe_class_and_the_command_of_its_name():
    jobs = {path.stem for path in (Path(str(SHIPPED)).parent / "cli").glob("*.py")}
    assert set(JOBS) <= jobs


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
    """The text comes with lmscope or from the hub; games are played."""
    if type(recipe) not in MAKES_A_MODEL:
        assert recipe.model.name in CATALOG
    if not isinstance(recipe, OthelloRecipe) and recipe.text.source != "sample":
        HubAddress.parse(recipe.text.source)


def test_it_is_planned_without_network_weights_and_text(recipe, tmp_path, monkeypatch):
    """Model, sites, widths, sparsities, groups, schedule: all that a plan needs of them is right."""
    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if plan := MAKES_A_MODEL.get(type(recipe)):
        n_steps = plan(recipe).values["n_steps"]
        assert n_steps > warmup_steps(n_steps, recipe.training.schedule)
        return
    longest = {"max_tokens": recipe.text.max_tokens or 1_000_000}
    recipe = recipe.model_copy(update={"text": recipe.text.model_copy(update=longest)})
    plan = plan_training(recipe, Machine(memory_bytes=80 * 2**30, devices=1, device_tflops=1.0))
    assert plan.values["fits"]
    assert plan.values["n_dictionaries"] == N_DICTIONARIES[recipe.name]
    for row in plan.tables["groups"]:
        assert row["steps"] > 0
        warmup_steps(row["steps"], recipe.training.schedule)
