"""CmaSearch: the evolution strategy of the package cma, which learns the whole covariance."""

import hashlib
from typing import Any

import cma
import numpy as np
from cma.sigma_adaptation import CMAAdaptSigmaCSA, CMAAdaptSigmaTPA
from jaxtyping import Float64

from lmscope.core.errors import ArtifactError
from lmscope.core.rng import numpy_generator
from lmscope.prompting.config import EvolutionConfig
from lmscope.prompting.search import Search, array_of


class CmaSearch(Search):
    """CMA-ES of the package cma (hansen2016cma), stopped by nothing but its caller.

    The package keeps its state in objects that can only be pickled, so a state here is the list of all
    losses: a search goes on by being told them again, at some milliseconds a generation, and then shows
    by a digest that it stands where it stood.

    Args:
        config: Its settings; with a diagonal covariance it is what SeparableSearch is measured against.
        n_dims: Numbers of a candidate.
        seed: The recipe's seed.
        name: Names its stream of random numbers.
        start: Middle of the first generation; absent: zeros.
    """

    def __init__(
        self,
        config: EvolutionConfig,
        n_dims: int,
        seed: int,
        name: str,
        start: Float64[np.ndarray, "subspace"] | None = None,
    ) -> None:
        super().__init__(config, n_dims, seed, name)
        self.config = config
        self._start = np.zeros(n_dims) if start is None else start.copy()
        self._normal = np.random.default_rng(0)
        self._strategy = self._begin()
        self._solutions: list[Any] = []
        self._losses: list[Float64[np.ndarray, "candidate"]] = []

    @property
    def popsize(self) -> int:
        """Candidates of a generation."""
        return self.config.n_candidates(self.n_dims)

    @property
    def mean(self) -> Float64[np.ndarray, "subspace"]:
        """Middle of the next generation."""
        es = self._strategy
        repair = es.boundary_handler.repair
        return np.array(es.gp.pheno(es.mean, into_bounds=repair), dtype=np.float64)

    @property
    def sigma(self) -> float:
        """The step size."""
        return float(self._strategy.sigma)

    def _begin(self) -> Any:
        two_point = self.config.step_size == "tpa"
        options = {
            "popsize": self.popsize,
            "AdaptSigma": _TwoPoint if two_point else CMAAdaptSigmaCSA,
            "CMA_diagonal": not self.config.is_full(self.n_dims),
            "CMA_mirrors": self.config.mirrors,
            "randn": lambda *shape: self._normal.standard_normal(shape),
            "seed": np.nan,  # NumPy's global generator is left alone
            "verbose": -9,
            "signals_filename": "",
            "maxiter": np.inf,
            "tolx": 0,
            "tolfun": 0,
            "tolfunhist": 0,
            "tolflatfitness": 1e9,
            "tolstagnation": 10**9,
            "tolfacupx": np.inf,
            "tolupsigma": np.inf,
            "tolconditioncov": np.inf,
            "tolxstagnation": False,
        }
        if self.config.bound is not None:
            options["bounds"] = [-self.config.bound, self.config.bound]
        return cma.CMAEvolutionStrategy(self._start, self.config.sigma, options)

    def _propose(self) -> Float64[np.ndarray, "candidate subspace"]:
        if not self._solutions:
            self._draw(self._n_generations)
        return np.array(self._solutions, dtype=np.float64)

    def _draw(self, generation: int) -> None:
        self._normal = numpy_generator(self.seed, "search", self.name, generation)
        self._solutions = self._strategy.ask()

    def _learn(
        self,
        z: Float64[np.ndarray, "candidate subspace"],
        losses: Float64[np.ndarray, "candidate"],
    ) -> None:
        self._strategy.tell(self._solutions, losses.tolist())
        self._solutions = []
        self._losses.append(losses.copy())

    def _own_state(self) -> dict[str, Any]:
        losses = np.array(self._losses, dtype=np.float64).reshape(-1, self.popsize)
        return {"losses": losses, "mean_digest": self._digest(), "cma_version": cma.__version__}

    def _load_own_state(self, state: dict[str, Any]) -> None:
        self._strategy, self._solutions, self._losses = self._begin(), [], []
        for generation, losses in enumerate(array_of(state, "losses").reshape(-1, self.popsize)):
            self._draw(generation)
            self._learn(np.array(self._solutions), losses)
        if self._digest() != state["mean_digest"]:
            raise ArtifactError(
                f"The search '{self.name}' cannot go on: told the same losses again, cma {cma.__version__} came "
                f"to another point than cma {state['cma_version']} did then. Use the packages and the number of "
                "threads of the first run, or start anew."
            )

    def _digest(self) -> str:
        sigma = np.float64(self._strategy.sigma).tobytes()
        mean = np.asarray(self._strategy.mean, dtype=np.float64).tobytes()
        return hashlib.blake2b(mean + sigma, digest_size=16).hexdigest()


class _TwoPoint(CMAAdaptSigmaTPA):
    """Two-point adaptation without the package's check of itself, which draws from NumPy's global generator."""

    def check_consistency(self, es: Any) -> None:
        """Check nothing."""
