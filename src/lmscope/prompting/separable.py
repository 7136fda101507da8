"""SeparableSearch: an evolution strategy with one variance a number, and nothing that cannot be written down."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata

from lmscope.core.rng import numpy_generator
from lmscope.prompting.config import EvolutionConfig
from lmscope.prompting.search import Search, array_of, reflected


class Rates(NamedTuple):
    """How fast the parts of the strategy learn (hansen2016cma, table 1; ros2008separable, section 2)."""

    weights: Float64[np.ndarray, "parent"]
    """Of the better half, best first; their sum is 1."""
    mu_eff: float
    """How many equally weighted parents they are worth."""
    path_sigma: float
    damping: float
    path_c: float
    rank_one: float
    rank_mu: float

    @classmethod
    def of(cls, n_dims: int, popsize: int) -> "Rates":
        """The standard rates for so many numbers and candidates."""
        n, n_parents = n_dims, popsize // 2
        raw = np.log((popsize + 1) / 2) - np.log(np.arange(1, n_parents + 1))
        weights = raw / raw.sum()
        mu_eff = float(1 / (weights**2).sum())
        path_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        damping = 1 + path_sigma + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1)
        # A variance a number instead of a matrix: (n + 2) / 3 times fewer to learn, so that much faster.
        faster = (n + 2) / 3
        rank_one = min(0.5, faster * 2 / ((n + 1.3) ** 2 + mu_eff))
        rank_mu = faster * 2 * (mu_eff - 2 + 1 / mu_eff) / ((n + 2) ** 2 + mu_eff)
        path_c = (1 + 1 / n + mu_eff / n) / (math.sqrt(n) + 1 / n + 2 * mu_eff / n)
        return cls(
            weights, mu_eff, path_sigma, damping, path_c, rank_one, min(1 - rank_one, rank_mu)
        )


class SeparableSearch(Search):
    """CMA-ES with a diagonal covariance (ros2008separable), of cumulative or two-point step size.

    Only the order of losses counts. With mirrors, the worst candidates of a generation come again in the
    next, turned around the mean and of another length (auger2011mirrored).

    Differs: the path of the covariance forgets over about sqrt(d) generations instead of d / 4, which suits
    variances that are learned in about d generations.

    Args:
        config: Its settings; `covariance` is not looked at.
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
        self.rates = Rates.of(n_dims, config.n_candidates(n_dims))
        self.sigma = config.sigma
        self._mean = np.zeros(n_dims) if start is None else start.copy()
        self._shift = np.zeros(n_dims)
        self._variances = np.ones(n_dims)
        self._path_sigma = np.zeros(n_dims)
        self._path_c = np.zeros(n_dims)
        self._two_point = 0.0
        self._turned = np.zeros((0, n_dims))
        self._steps: Float64[np.ndarray, "candidate subspace"] | None = None

    @property
    def popsize(self) -> int:
        """Candidates of a generation."""
        return self.config.n_candidates(self.n_dims)

    @property
    def mean(self) -> Float64[np.ndarray, "subspace"]:
        """Middle of the next generation."""
        return reflected(self._mean.copy(), self.config.bound)

    @property
    def variances(self) -> Float64[np.ndarray, "subspace"]:
        """What the step size does not say: relative variances of the numbers."""
        return self._variances.copy()

    def _propose(self) -> Float64[np.ndarray, "candidate subspace"]:
        normal = numpy_generator(self.seed, "search", self.name, self._n_generations).normal
        drawn = normal(size=(self.popsize, self.n_dims))
        deviations = np.sqrt(self._variances)
        self._steps = deviations * drawn
        directions = self._directions()
        if n := len(directions):
            lengths = np.linalg.norm(drawn[:n], axis=1)
            if self._n_line():
                lengths[1] = lengths[0]
            lengths /= np.linalg.norm(directions / deviations, axis=1)
            self._steps[:n] = lengths[:, None] * directions
        return reflected(self._mean + self.sigma * self._steps, self.config.bound)

    def _directions(self) -> Float64[np.ndarray, "direction subspace"]:
        """Where the first candidates lie, whose lengths alone are drawn: ahead, behind, and opposite to bad ones."""
        line = [self._shift, -self._shift] if self._n_line() else []
        return np.array([*line, *self._turned]).reshape(-1, self.n_dims)

    def _n_line(self) -> int:
        """How many candidates lie on the line of the mean's last step."""
        return 2 if self.config.step_size == "tpa" and self._shift.any() else 0

    def _learn(
        self,
        z: Float64[np.ndarray, "candidate subspace"],
        losses: Float64[np.ndarray, "candidate"],
    ) -> None:
        assert self._steps is not None  # `tell` follows `ask`
        n_line, steps = self._n_line(), self._steps
        order = losses.argsort(kind="stable")
        if self.config.mirrors:
            # Of those drawn freely: what was turned around is not turned back.
            worst = order[order >= n_line + len(self._turned)][-_n_mirrors(self.popsize) :]
            self._turned = -steps[worst]
        parents = steps[order[: len(self.rates.weights)]]
        step = self.rates.weights @ parents
        self._shift = self.sigma * step
        self._mean = self._mean + self._shift
        self._learn_variances(parents, step)
        self._learn_sigma(losses, n_line)
        self._steps = None

    def _learn_variances(
        self,
        parents: Float64[np.ndarray, "parent subspace"],
        step: Float64[np.ndarray, "subspace"],
    ) -> None:
        rates, n = self.rates, self.n_dims
        remain = 1 - rates.path_sigma
        push = math.sqrt(rates.path_sigma * (2 - rates.path_sigma) * rates.mu_eff)
        self._path_sigma = remain * self._path_sigma + push * step / np.sqrt(self._variances)
        squared = (self._path_sigma**2).sum() / (1 - remain ** (2 * (self._n_generations + 1)))
        # A path that is too long is the step size's to mend, not the covariance's.
        usual = bool(squared / n < 2 + 4 / (n + 1))
        both = rates.path_c * (2 - rates.path_c)
        pushed = math.sqrt(both * rates.mu_eff) * step if usual else 0.0
        self._path_c = (1 - rates.path_c) * self._path_c + pushed
        kept = 1 - rates.rank_one * (1 if usual else 1 - both) - rates.rank_mu
        self._variances = (
            kept * self._variances
            + rates.rank_one * self._path_c**2
            + rates.rank_mu * (rates.weights @ parents**2)
        )

    def _learn_sigma(self, losses: Float64[np.ndarray, "candidate"], n_line: int) -> None:
        if self.config.step_size == "csa":
            n = self.n_dims
            expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
            longer = float(np.linalg.norm(self._path_sigma)) / expected - 1
            change = min(1.0, longer * self.rates.path_sigma / self.rates.damping)
        elif n_line:
            ahead, behind = rankdata(losses)[:2]
            by = float(behind - ahead) / (len(losses) - 1)
            self._two_point = 0.7 * self._two_point + 0.3 * math.copysign(math.sqrt(abs(by)), by)
            change = self._two_point / (0.7 + 2 * math.log(self.n_dims))
        else:
            change = 0.0
        self.sigma *= math.exp(change)
        if self.config.bound is not None:  # beyond, all places of the box are alike
            widest = float(np.sqrt(self._variances.max()))
            self.sigma = min(self.sigma, self.config.bound / widest)

    def _own_state(self) -> dict[str, Any]:
        return {
            "sigma": self.sigma,
            "two_point": self._two_point,
            "mean": self._mean.copy(),
            "shift": self._shift.copy(),
            "variances": self._variances.copy(),
            "path_sigma": self._path_sigma.copy(),
            "path_c": self._path_c.copy(),
            "turned": self._turned.copy(),
        }

    def _load_own_state(self, state: dict[str, Any]) -> None:
        self.sigma, self._two_point = float(state["sigma"]), float(state["two_point"])
        self._mean, self._shift = array_of(state, "mean"), array_of(state, "shift")
        self._variances = array_of(state, "variances")
        self._path_sigma, self._path_c = array_of(state, "path_sigma"), array_of(state, "path_c")
        self._turned = array_of(state, "turned").reshape(-1, self.n_dims)
        self._steps = None


def _n_mirrors(popsize: int) -> int:
    """How many candidates are turned around: about 16 of 100, as in the package cma."""
    return max(1, round(0.16 * popsize))
