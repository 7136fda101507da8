import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.spatial.distance import cdist

from lmscope.prompting.bayes import BayesSearch, Process, fit, matern, surprise
from lmscope.prompting.config import BayesConfig

SEEDS = st.integers(0, 1000)


def told(seed, n=12, d=3):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-5, 5, (n, d))
    y = np.sin(x).sum(1)
    return x, (y - y.mean()) / y.std()


def run(search, n, objective):
    for _ in range(n):
        z = search.ask()
        search.tell(z, objective(z))
    return search


def test_the_kernel_has_the_values_of_its_formula():
    # At a distance of 2 lengths: r = 2 sqrt(5) = 4.4721, (1 + r + r^2 / 3) exp(-r) = 12.1388 * 0.011423.
    value, slope = matern(np.array([0.0, 6.0]), 3.0)
    assert value == pytest.approx([1.0, 0.13866], abs=1e-5)
    change = (matern(np.array([6.001]), 3.0)[0] - matern(np.array([5.999]), 3.0)[0]) / 0.002
    assert slope[1] * 6.0 == pytest.approx(change[0], rel=1e-5)


@given(SEEDS, st.floats(0.5, 10), st.floats(1e-4, 1))
def test_the_process_equals_its_formulas_solved_plainly(seed, length, noise):
    x, y = told(seed)
    process = Process.given(x, y, length, noise)
    points = np.random.default_rng(seed + 1).uniform(-5, 5, (4, 3))

    def kernel(a, b):
        return matern(np.linalg.norm(a[:, None] - b, axis=-1), length)[0]

    covariance = kernel(x, x) + noise * np.eye(len(x))
    scale = y @ np.linalg.solve(covariance, y) / len(x)
    expected = kernel(points, x) @ np.linalg.solve(covariance, y)
    explained = kernel(points, x) @ np.linalg.solve(covariance, kernel(x, points))
    found = process.at(points)
    assert found.mean == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert found.deviation**2 == pytest.approx(scale * (1 - np.diag(explained)), rel=1e-5)
    # -log N(y; 0, scale * covariance), less what does not depend on length and noise.
    likely = (np.linalg.slogdet(covariance)[1] + len(x) * math.log(scale)) / 2
    assert surprise(np.log([length, noise]), cdist(x, x), y)[0] == pytest.approx(likely)


@given(SEEDS, st.floats(0, 4))
def test_the_slope_of_the_confidence_bound_is_its_derivative(seed, kappa):
    process = Process.given(*told(seed), 3.0, 1e-3)
    point = np.random.default_rng(seed + 1).uniform(-5, 5, 3)
    value, slope = process.bound_and_slope(point, kappa)
    there = process.at(point[None])
    assert value == pytest.approx(float(there.mean[0] - kappa * there.deviation[0]))
    numerical = approx_fprime(point, lambda p: process.bound_and_slope(p, kappa)[0], 1e-6)
    assert slope == pytest.approx(numerical, rel=1e-3, abs=1e-4)


@given(SEEDS, st.floats(0.5, 10), st.floats(1e-3, 1))
def test_the_slope_of_the_likelihood_is_its_derivative(seed, length, noise):
    x, y = told(seed)
    logs = np.log([length, noise])
    numerical = approx_fprime(logs, lambda at: surprise(at, cdist(x, x), y)[0], 1e-6)
    assert surprise(logs, cdist(x, x), y)[1] == pytest.approx(numerical, rel=1e-3, abs=1e-3)


def test_a_process_without_noise_goes_through_what_was_told():
    x, y = told(0)
    found = Process.given(x, y, 3.0, 1e-10).at(x)
    assert found.mean == pytest.approx(y, abs=1e-6)
    assert found.deviation.max() < 1e-3


def test_the_length_of_a_drawn_process_is_found_again():
    rng = np.random.default_rng(0)
    x = rng.uniform(-5, 5, (150, 2))
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    covariance = matern(distances, 2.0)[0] + 0.01 * np.eye(150)
    y = np.linalg.cholesky(covariance) @ rng.normal(size=150)
    found = fit(x, y, 5 * math.sqrt(2))
    assert 1.3 < found.length < 3.0
    assert 0.003 < found.noise < 0.03


def mixture(seed):
    """Routing as sun2023mp2's: how far a mixture of 8 modules is from a wanted one, by 8 logits."""
    rng = np.random.default_rng(seed)
    modules = rng.normal(size=(8, 20))
    wanted = rng.dirichlet(np.full(8, 0.5)) @ modules

    def objective(z):
        weights = 1 / (1 + np.exp(-z))
        return (((weights / weights.sum(1, keepdims=True)) @ modules - wanted) ** 2).mean(1)

    return objective


def test_routers_are_found_better_than_by_chance_at_equal_calls():
    n, searched, drawn = 35, [], []
    for seed in range(5):
        objective, search = mixture(seed), BayesSearch(BayesConfig(n_random=10), 8, seed, "x")
        searched.append(run(search, n, objective).best.loss)
        even = np.random.default_rng(100 + seed).uniform(-5, 5, (n, 8))
        drawn.append(float(objective(even).min()))
    assert np.median(searched) < 0.7 * np.median(drawn)


def test_the_first_candidates_fill_the_box_evenly():
    search = BayesSearch(BayesConfig(n_random=300, bound=2.0), 4, 0, "x")
    asked = []
    run(search, 300, lambda z: asked.append(z) or z[:, 0])
    z = np.concatenate(asked)
    assert np.abs(z).max() <= 2.0
    assert z.mean() == pytest.approx(0.0, abs=0.1)
    assert z.std() == pytest.approx(4 / math.sqrt(12), abs=0.05)


def test_a_larger_kappa_looks_farther_away():
    away = []
    for kappa in (0.0, 10.0):
        search = BayesSearch(BayesConfig(kappa=kappa, n_random=15), 2, 1, "x")
        run(search, 15, lambda z: (z**2).sum(1))
        away.append(np.linalg.norm(search.ask()[0]))
    assert away[0] < 1.5
    assert away[1] > 3.0


def test_the_mean_does_not_trust_one_lucky_loss():
    # The losses of 40 points around the middle fall towards it, one far away was lucky.
    search = BayesSearch(BayesConfig(n_random=60), 2, 0, "x")
    run(search, 40, lambda z: (z**2).sum(1))
    lucky = search.ask()
    while np.abs(lucky).max() < 4:
        search.tell(lucky, (lucky**2).sum(1))
        lucky = search.ask()
    search.tell(lucky, np.array([-1.0]))
    run(search, 2, lambda z: (z**2).sum(1))
    assert np.array_equal(search.best.z, lucky[0])
    assert np.linalg.norm(search.mean) < 2.5


def test_equal_losses_break_nothing():
    search = run(BayesSearch(BayesConfig(n_random=3), 2, 0, "x"), 8, lambda z: np.ones(len(z)))
    assert np.isfinite(search.ask()).all()
    assert np.isfinite(search.mean).all()
