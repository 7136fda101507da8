"""BayesSearch: a Gaussian process learns the loss, the most promising point is asked for next."""

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from lmscope.core.rng import numpy_generator
from lmscope.prompting.config import BayesConfig
from lmscope.prompting.search import Search, array_of

_LENGTHS: Final = (0.05, 20.0)  # in half diagonals of the box
_NOISES: Final = (1e-6, 10.0)  # in variances of the process
_STARTS: Final = ((0.3, 1e-3), (1.5, 1e-1))
_LEAST: Final = 1e-12
_N_EVEN: Final = 2000
_N_NEAR: Final = 500
_N_POLISHED: Final = 3


class Posterior(NamedTuple):
    """What is expected at points, in standard deviations of the told losses."""

    mean: Float64[np.ndarray, "point"]
    deviation: Float64[np.ndarray, "point"]


@dataclass(frozen=True)
class Process:
    """A Gaussian process of losses with a Matern 5/2 kernel and noise (rasmussen2006gp, chapters 2 and 5).

    Attributes:
        x: Points that were told.
        length: Distance over which losses resemble each other.
        noise: Variance of a told loss around the process, which itself has variance 1.
        factor: Lower Cholesky factor of the told losses' covariance.
        solved: Its inverse times the losses.
        scale: Variance of the process, of the standardised losses.
    """

    x: Float64[np.ndarray, "point subspace"]
    length: float
    noise: float
    factor: Float64[np.ndarray, "point point"]
    solved: Float64[np.ndarray, "point"]
    scale: float

    @classmethod
    def given(
        cls,
        x: Float64[np.ndarray, "point subspace"],
        y: Float64[np.ndarray, "point"],
        length: float,
        noise: float,
    ) -> "Process":
        """The process after losses were told; its variance is the most likely one."""
        kernel = matern(cdist(x, x), length)[0] + noise * np.eye(len(x))
        factor = cholesky(kernel, lower=True)
        solved = cho_solve((factor, True), y)
        scale = max(float(y @ solved) / len(x), _LEAST)
        return cls(x, length, noise, factor, solved, scale)

    def at(self, points: Float64[np.ndarray, "point subspace"]) -> Posterior:
        """What is expected at points, without noise."""
        cross = matern(cdist(points, self.x), self.length)[0]
        explained = solve_triangular(self.factor, cross.T, lower=True)
        variance = np.maximum(1 - (explained**2).sum(0), _LEAST)
        return Posterior(cross @ self.solved, np.sqrt(self.scale * variance))

    def bound_and_slope(
        self, point: Float64[np.ndarray, "subspace"], kappa: float
    ) -> tuple[float, Float64[np.ndarray, "subspace"]]:
        """The lower confidence bound at a point, and its gradient (srinivas2010ucb)."""
        away = point - self.x
        cross, slope = matern(np.linalg.norm(away, axis=1), self.length)
        back = cho_solve((self.factor, True), cross)
        variance = max(1 - float(cross @ back), _LEAST)
        deviation = math.sqrt(self.scale * variance)
        slopes = slope[:, None] * away
        down = self.solved @ slopes + kappa * self.scale / deviation * (back @ slopes)
        return float(cross @ self.solved) - kappa * deviation, down


def matern(
    distance: Float64[np.ndarray, "*shape"], length: float
) -> tuple[Float64[np.ndarray, "*shape"], Float64[np.ndarray, "*shape"]]:
    """Matern 5/2 kernel, and its derivative by the distance divided by the distance (rasmussen2006gp, eq. 4.17)."""
    r = math.sqrt(5) / length * distance
    decay = np.exp(-r)
    return (1 + r + r**2 / 3) * decay, -5 / (3 * length**2) * (1 + r) * decay


def fit(
    x: Float64[np.ndarray, "point subspace"], y: Float64[np.ndarray, "point"], width: float
) -> Process:
    """The process whose length and noise make what was told most likely.

    Args:
        x: Points.
        y: Their losses, standardised.
        width: A distance that is usual in the box; lengths are looked for around it.
    """
    limits = np.log([[width * _LENGTHS[0], width * _LENGTHS[1]], _NOISES])
    found = [
        minimize(
            surprise,
            np.log([width * length, noise]),
            args=(cdist(x, x), y),
            jac=True,
            method="L-BFGS-B",
            bounds=limits,
        )
        for length, noise in _STARTS
    ]
    best = min(found, key=lambda one: float(one.fun))
    return Process.given(x, y, *np.exp(best.x).tolist())


def surprise(
    logs: Float64[np.ndarray, "2"],
    distances: Float64[np.ndarray, "point point"],
    y: Float64[np.ndarray, "point"],
) -> tuple[float, Float64[np.ndarray, "2"]]:
    """Negative log likelihood of losses up to a constant, and its gradient (rasmussen2006gp, eq. 5.8 and 5.9).

    Args:
        logs: Logarithms of length and noise; the variance of the process is the most likely one.
        distances: Between points.
        y: Their losses, standardised.
    """
    n, (length, noise) = len(y), np.exp(logs).tolist()
    kernel, slope = matern(distances, length)
    factor = cholesky(kernel + noise * np.eye(n), lower=True)
    inverse = cho_solve((factor, True), np.eye(n))
    solved = inverse @ y
    fitted = max(float(y @ solved), _LEAST * n)
    value = float(np.log(np.diag(factor)).sum()) + n / 2 * math.log(fitted / n)
    # By the logarithm of the length the kernel grows as it falls by that of the distance.
    by_length = -slope * distances**2
    falls = ((inverse * by_length).sum(), noise * np.trace(inverse))
    rises = (solved @ by_length @ solved, noise * (solved @ solved))
    return value, np.array(falls) / 2 - n / 2 * np.array(rises) / fitted


class BayesSearch(Search):
    """Bayesian optimisation of few numbers in a box, one candidate at a time (sun2023mp2, srinivas2010ucb).

    Nothing is kept but what was told; the process is fitted anew for every candidate.

    Args:
        config: Its settings.
        n_dims: Numbers of a candidate; beyond a few tens it is hardly better than chance.
        seed: The recipe's seed.
        name: Names its stream of random numbers.
    """

    def __init__(self, config: BayesConfig, n_dims: int, seed: int, name: str) -> None:
        super().__init__(config, n_dims, seed, name)
        self.config = config
        self._x = np.zeros((0, n_dims))
        self._y = np.zeros(0)
        self._process: Process | None = None

    @property
    def popsize(self) -> int:
        """Always 1: each candidate depends on the one before."""
        return 1

    @property
    def mean(self) -> Float64[np.ndarray, "subspace"]:
        """The told candidate whose expected loss is lowest, once there are three; before, the middle of the box."""
        if len(self._y) < 3:
            return np.zeros(self.n_dims)
        return self._x[self._fitted().at(self._x).mean.argmin()].copy()

    def _propose(self) -> Float64[np.ndarray, "candidate subspace"]:
        rng = numpy_generator(self.seed, "search", self.name, self._n_generations)
        bound = self.config.bound
        if len(self._y) < max(3, self.config.n_random):
            return rng.uniform(-bound, bound, (1, self.n_dims))
        process = self._fitted()
        best = self._x[self._y.argmin()]
        near = best + 0.1 * bound * rng.normal(size=(_N_NEAR, self.n_dims))
        even = rng.uniform(-bound, bound, (_N_EVEN, self.n_dims))
        tried = np.vstack([even, near.clip(-bound, bound)])
        expected = process.at(tried)
        order = (expected.mean - self.config.kappa * expected.deviation).argsort(kind="stable")
        polished = [self._polish(process, tried[i]) for i in order[:_N_POLISHED]]
        return min(polished, key=lambda one: one[0])[1][None]

    def _polish(
        self, process: Process, point: Float64[np.ndarray, "subspace"]
    ) -> tuple[float, Float64[np.ndarray, "subspace"]]:
        """The lowest confidence bound that a descent from a point reaches, and where."""
        bound = self.config.bound
        found = minimize(
            process.bound_and_slope,
            point,
            args=(self.config.kappa,),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-bound, bound)] * self.n_dims,
            options={"maxiter": 30},
        )
        return float(found.fun), np.asarray(found.x, dtype=np.float64).clip(-bound, bound)

    def _fitted(self) -> Process:
        if self._process is None:
            spread = float(self._y.std())
            losses = (self._y - self._y.mean()) / (spread if spread > 0 else 1.0)
            self._process = fit(self._x, losses, self.config.bound * math.sqrt(self.n_dims))
        return self._process

    def _learn(
        self,
        z: Float64[np.ndarray, "candidate subspace"],
        losses: Float64[np.ndarray, "candidate"],
    ) -> None:
        self._x, self._y = np.vstack([self._x, z]), np.concatenate([self._y, losses])
        self._process = None

    def _own_state(self) -> dict[str, Any]:
        return {"x": self._x.copy(), "y": self._y.copy()}

    def _load_own_state(self, state: dict[str, Any]) -> None:
        self._x = array_of(state, "x").reshape(-1, self.n_dims)
        self._y = array_of(state, "y").reshape(-1)
        self._process = None
