import subprocess
import sys

import pytest

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.prompting.config import (
    BayesConfig,
    EvolutionConfig,
    ProjectionConfig,
    RandomSearchConfig,
    SearchConfig,
)


class Holder(Config):
    search: SearchConfig = EvolutionConfig()
    projection: ProjectionConfig = ProjectionConfig()


@pytest.mark.parametrize(
    "search", [EvolutionConfig(bound=5.0), RandomSearchConfig(), BayesConfig()]
)
def test_settings_survive_writing(search):
    held = Holder(search=search)
    assert Holder.from_mapping(held.to_mapping()) == held


def test_a_generation_is_as_large_as_asked_or_as_the_numbers_want():
    # 4 + 3 ln(500) = 22.6, 4 + 3 ln(8) = 10.2.
    assert EvolutionConfig().n_candidates(500) == 20
    assert EvolutionConfig(popsize=0).n_candidates(500) == 22
    assert EvolutionConfig(popsize=0).n_candidates(8) == 10


def test_the_covariance_is_whole_where_it_is_small_or_asked_for():
    assert EvolutionConfig().is_full(199)
    assert not EvolutionConfig().is_full(200)
    assert EvolutionConfig(covariance="full").is_full(500)
    assert not EvolutionConfig(covariance="diagonal").is_full(8)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"search": {"kind": "evolution", "popsize": 3}}, "3 candidates is too small"),
        ({"search": {"kind": "evolutoin"}}, "Did you mean evolution"),
        ({"search": {"kind": "bayes", "sigma": 1.0}}, "'search.sigma' is not an option"),
        ({"projection": {"law": "formula2022", "alpha": 2.0}}, "alpha = 2.0 has no effect"),
        ({"projection": {"storage": "dense", "memory_mib": 5}}, "memory_mib has no effect"),
        ({"projection": {"alpha": 0.0}}, "projection.alpha"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(table, message):
    with pytest.raises(RecipeError, match=message):
        Holder.from_mapping(table)


def test_settings_need_no_torch():
    code = (
        "import sys, lmscope.prompting.config; print({'torch', 'cma', 'scipy'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "set()", result.stderr
