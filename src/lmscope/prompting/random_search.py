"""RandomSearch: candidates that nothing is learned from, the floor that a search must beat."""

from typing import Any

import numpy as np
from jaxtyping import Float64

from lmscope.core.rng import numpy_generator
from lmscope.prompting.config import RandomSearchConfig
from lmscope.prompting.search import Search, reflected


class RandomSearch(Search):
    """Normal candidates around the start, as many as other searches ask for.

    Args:
        config: Its settings.
        n_dims: Numbers of a candidate.
        seed: The recipe's seed.
        name: Names its stream of random numbers.
        start: Middle of the candidates; absent: zeros.
    """

    def __init__(
        self,
        config: RandomSearchConfig,
        n_dims: int,
        seed: int,
        name: str,
        start: Float64[np.ndarray, "subspace"] | None = None,
    ) -> None:
        super().__init__(config, n_dims, seed, name)
        self.config = config
        self._start = np.zeros(n_dims) if start is None else start.copy()

    @property
    def popsize(self) -> int:
        """Candidates of a generation."""
        return self.config.popsize

    @property
    def mean(self) -> Float64[np.ndarray, "subspace"]:
        """The best candidate, once there is one: nothing else is known."""
        return self.best.z if self.n_told else self._start.copy()

    def _propose(self) -> Float64[np.ndarray, "candidate subspace"]:
        normal = numpy_generator(self.seed, "search", self.name, self._n_generations)
        drawn = normal.normal(size=(self.popsize, self.n_dims))
        return reflected(self._start + self.config.sigma * drawn, self.config.bound)

    def _learn(
        self,
        z: Float64[np.ndarray, "candidate subspace"],
        losses: Float64[np.ndarray, "candidate"],
    ) -> None:
        pass

    def _own_state(self) -> dict[str, Any]:
        return {}

    def _load_own_state(self, state: dict[str, Any]) -> None:
        pass
