from typing import Literal

import pytest

from lmscope.core.errors import RecipeError
from lmscope.runs.recipe import Recipe, read_recipe, shipped_recipes


class Small(Recipe):
    job: Literal["small"] = "small"
    size: int = 3


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.toml").write_text('job = "small"\nsize = 4\n')
    (tmp_path / "notes.md").write_text("")
    return tmp_path


def test_shipped_recipes_are_found_by_name(folder):
    assert shipped_recipes(folder) == ("tiny",)
    assert read_recipe("tiny", ["size=5"], folder=folder) == {
        "job": "small",
        "size": 5,
        "name": "tiny",
    }


def test_every_shipped_recipe_can_be_read():
    for name in shipped_recipes():
        assert read_recipe(name)["job"]


def test_an_unknown_name_names_near_ones(folder):
    with pytest.raises(RecipeError, match=r"No recipe is called 'tinny'.* Did you mean tiny\?"):
        read_recipe("tinny", folder=folder)


def test_a_path_loads_as_the_class_that_was_asked(folder):
    recipe = Small.load(folder / "tiny.toml", ["seed=7"])
    assert (recipe.name, recipe.size, recipe.seed) == ("tiny", 4, 7)


def test_another_jobs_recipe_is_refused(folder):
    with pytest.raises(RecipeError, match=r"'job' of recipe .* is wrong"):
        Small.load(folder / "tiny.toml", ["job=large"])


def test_an_override_of_nothing_is_refused(folder):
    with pytest.raises(RecipeError, match=r"'sise' is not an option .* Did you mean size\?"):
        Small.load(folder / "tiny.toml", ["sise=1"])


def test_the_digest_ignores_the_label_and_nothing_else():
    recipe = Small(name="a")
    assert recipe.digest() == Small(name="b").digest()
    assert recipe.digest() != Small(name="a", seed=1).digest()
    assert recipe.digest() != Small(name="a", size=4).digest()
