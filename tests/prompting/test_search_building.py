import importlib.util

import numpy as np
import pytest

from lmscope.core.errors import RecipeError
from lmscope.prompting.bayes import BayesSearch
from lmscope.prompting.cma_search import CmaSearch
from lmscope.prompting.config import BayesConfig, EvolutionConfig, RandomSearchConfig
from lmscope.prompting.random_search import RandomSearch
from lmscope.prompting.search_building import build_search
from lmscope.prompting.separable import SeparableSearch


@pytest.mark.parametrize(
    ("config", "n_dims", "kind"),
    [
        (EvolutionConfig(), 500, SeparableSearch),
        (EvolutionConfig(), 20, CmaSearch),
        (EvolutionConfig(covariance="full"), 300, CmaSearch),
        (EvolutionConfig(covariance="diagonal"), 20, SeparableSearch),
        (RandomSearchConfig(), 20, RandomSearch),
        (BayesConfig(), 8, BayesSearch),
    ],
)
def test_each_config_has_its_search(config, n_dims, kind):
    assert type(build_search(config, n_dims, 0, "x")) is kind


@pytest.mark.parametrize(
    "config",
    [EvolutionConfig(), EvolutionConfig(covariance="diagonal"), RandomSearchConfig(popsize=400)],
)
def test_candidates_lie_around_the_start(config):
    start = np.full(30, 40.0)
    search = build_search(config, 30, 0, "x", start)
    start += 5  # it was copied
    assert search.mean.tolist() == [40.0] * 30
    assert search.ask().mean() == pytest.approx(40.0, abs=0.2)


@pytest.mark.parametrize(
    ("config", "start", "message"),
    [
        (BayesConfig(), np.zeros(8), "'bayes' has no start"),
        (EvolutionConfig(), np.zeros(7), "7 numbers and the search 8"),
        (EvolutionConfig(bound=1.0), np.full(8, -1.5), "reaches 1.5 and the bound is 1"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(config, start, message):
    with pytest.raises(RecipeError, match=message):
        build_search(config, 8, 0, "x", start)


def test_without_the_package_cma_the_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        RecipeError, match=r"pip install 'lmscope\[prompting\]', or .* \"diagonal\""
    ):
        build_search(EvolutionConfig(), 20, 0, "x")
    assert isinstance(build_search(EvolutionConfig(), 500, 0, "x"), SeparableSearch)
