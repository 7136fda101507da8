"""Building the search that a config names."""

import importlib.util

import numpy as np
from jaxtyping import Float64

from lmscope.core.errors import RecipeError
from lmscope.prompting.bayes import BayesSearch
from lmscope.prompting.config import (
    BayesConfig,
    EvolutionConfig,
    RandomSearchConfig,
    SearchConfig,
)
from lmscope.prompting.random_search import RandomSearch
from lmscope.prompting.search import Search
from lmscope.prompting.separable import SeparableSearch


def build_search(
    config: SearchConfig,
    n_dims: int,
    seed: int,
    name: str,
    start: Float64[np.ndarray, "subspace"] | None = None,
) -> Search:
    """A search at its beginning.

    Args:
        config: Which one.
        n_dims: Numbers of a candidate.
        seed: The recipe's seed.
        name: Names its stream of random numbers, e.g. a site; searches of different names are independent.
        start: Middle of the first candidates; absent: zeros.

    Raises:
        RecipeError: The start has other numbers, lies outside the bound or is not for this search, or the
            package cma is asked for and absent.
    """
    if start is not None:
        _check_start(config, n_dims, start)
    match config:
        case RandomSearchConfig():
            return RandomSearch(config, n_dims, seed, name, start)
        case BayesConfig():
            return BayesSearch(config, n_dims, seed, name)
        case EvolutionConfig():
            if not config.is_full(n_dims):
                return SeparableSearch(config, n_dims, seed, name, start)
    if importlib.util.find_spec("cma") is None:
        raise RecipeError(
            f"A full covariance of {n_dims} numbers needs the package cma, which is not installed: pip install "
            "'lmscope[prompting]', or set covariance = \"diagonal\"."
        )
    from lmscope.prompting.cma_search import CmaSearch  # it loads a plotting library

    return CmaSearch(config, n_dims, seed, name, start)


def _check_start(config: SearchConfig, n_dims: int, start: Float64[np.ndarray, "subspace"]) -> None:
    if isinstance(config, BayesConfig):
        raise RecipeError(
            "A search of the kind 'bayes' has no start: it begins with draws from its box. Leave the start out."
        )
    if len(start) != n_dims:
        raise RecipeError(f"The start has {len(start)} numbers and the search {n_dims}.")
    if config.bound is not None and np.abs(start).max() > config.bound:
        raise RecipeError(
            f"The start reaches {np.abs(start).max():.3g} and the bound is {config.bound:.3g}: raise the bound."
        )
