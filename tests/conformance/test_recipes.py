"""What every recipe that ships must do; one that is added is picked up by itself."""

import tomllib
from pathlib import Path

import pytest

from lmscope.core.site import parse_pattern
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.jobs.demo import DemoRecipe
from lmscope.jobs.evaluate import EvaluateRecipe
from lmscope.jobs.train import TrainRecipe
from lmscope.models.catalog import CATALOG
from lmscope.runs.recipe import SHIPPED, read_recipe, shipped_recipes

JOBS = {
    kind.model_fields["job"].default: kind for kind in (TrainRecipe, EvaluateRecipe, DemoRecipe)
}


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
    """Model, sites and widths, as far as that can be said without the model."""
    assert recipe.model.name in CATALOG
    assert recipe.text.source == "sample", "a shipped recipe needs no text of its own"
    choice = recipe.dictionary
    assert choice.sites or choice.transcoders
    for site in choice.sites:
        parse_pattern(site)
        for n_latents in choice.n_latents:
            for sparsity in choice.sparsity:
                DictionaryConfig(
                    reads=(site,),
                    writes=(site,),
                    d_read=576,
                    d_write=576,
                    n_latents=n_latents,
                    sparsity=sparsity,
                )
