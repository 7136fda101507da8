import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.prompting.cma_search import CmaSearch
from lmscope.prompting.config import EvolutionConfig
from lmscope.prompting.separable import Rates, SeparableSearch


def build(d=5, start=None, seed=1, **changes):
    config = EvolutionConfig(covariance="diagonal", **{"popsize": 6, **changes})
    return SeparableSearch(config, d, seed, "x", start)


def run(search, n, objective):
    """The best loss after each of n generations."""
    found = []
    for _ in range(n):
        z = search.ask()
        search.tell(z, objective(z))
        found.append(search.best.loss)
    return found


def test_parents_weigh_less_the_worse_they_are():
    # Six candidates, three parents: ln 3.5 - ln i = 1.2528, 0.5596, 0.1542, together 1.9665.
    rates = Rates.of(5, 6)
    assert rates.weights == pytest.approx([0.63704, 0.28457, 0.07839], abs=1e-5)
    assert rates.mu_eff == pytest.approx(1 / (0.63704**2 + 0.28457**2 + 0.07839**2), abs=1e-4)


def test_rates_are_those_of_the_table():
    # Of 7 numbers and 6 candidates, with mu_eff = 2.0286: path_sigma = 4.0286 / 14.0286; damping = 1 + path_sigma;
    # path_c = (1 + 1/7 + 0.2898) / (2.6458 + 1/7 + 0.5796); and 9 / 3 times the whole covariance's
    # 2 / (8.3^2 + 2.0286) and 2 * (2.0286 - 2 + 0.49295) / (9^2 + 2.0286).
    rates = Rates.of(7, 6)
    assert rates[1:] == pytest.approx(
        (2.0286, 0.28717, 1.28717, 0.42535, 0.08460, 0.03769), abs=2e-5
    )


def test_a_search_of_500_numbers_hardly_learns_a_covariance_in_16_generations():
    rates = Rates.of(500, 20)
    assert 16 * (rates.rank_one + rates.rank_mu) < 0.15


def plain(losses_of, n_generations, d, popsize, seed):
    """The means of sep-CMA-ES with cumulative step sizes, number by number."""
    mirror = build(d, seed=seed, popsize=popsize)
    r = mirror.rates
    mean, sigma, c, ps, pc = [0.0] * d, 1.0, [1.0] * d, [0.0] * d, [0.0] * d
    for g in range(n_generations):
        z = mirror.ask()
        steps = [[(z[k, i] - mean[i]) / sigma for i in range(d)] for k in range(popsize)]
        losses = losses_of(z)
        ranked = sorted(range(popsize), key=lambda k: losses[k])[: popsize // 2]
        step = [
            sum(w * steps[k][i] for w, k in zip(r.weights, ranked, strict=True)) for i in range(d)
        ]
        mean = [mean[i] + sigma * step[i] for i in range(d)]
        up = math.sqrt(r.path_sigma * (2 - r.path_sigma) * r.mu_eff)
        ps = [(1 - r.path_sigma) * ps[i] + up * step[i] / math.sqrt(c[i]) for i in range(d)]
        length = math.sqrt(sum(p * p for p in ps))
        usual = length**2 / d / (1 - (1 - r.path_sigma) ** (2 * g + 2)) < 2 + 4 / (d + 1)
        lost = 0.0 if usual else r.rank_one * r.path_c * (2 - r.path_c)
        up = math.sqrt(r.path_c * (2 - r.path_c) * r.mu_eff) if usual else 0.0
        pc = [(1 - r.path_c) * pc[i] + up * step[i] for i in range(d)]
        spread = [
            sum(w * steps[k][i] ** 2 for w, k in zip(r.weights, ranked, strict=True))
            for i in range(d)
        ]
        c = [
            (1 - r.rank_one - r.rank_mu + lost) * c[i]
            + r.rank_one * pc[i] ** 2
            + r.rank_mu * spread[i]
            for i in range(d)
        ]
        chi = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d * d))
        sigma *= math.exp(min(1, (length / chi - 1) * r.path_sigma / r.damping))
        mirror.tell(z, losses)
    return mirror, mean, sigma, c


@given(st.integers(1, 7), st.integers(4, 11), st.integers(0, 100))
def test_generations_equal_a_plain_loop(d, popsize, seed):
    # Steep towards large numbers: the path soon grows too long for the covariance to follow it.
    search, mean, sigma, c = plain(lambda z: -z.sum(1), 8, d, popsize, seed)
    assert search.mean == pytest.approx(mean, rel=1e-9)
    assert search.sigma == pytest.approx(sigma, rel=1e-9)
    assert search.variances == pytest.approx(c, rel=1e-9)


def test_the_first_candidates_are_the_streams_normal_numbers():
    # A golden value: another one means that no earlier search can be repeated.
    assert build().ask()[0, :3] == pytest.approx([-0.65054574, -0.62417891, 1.17918169])


def test_the_worst_of_the_freely_drawn_candidates_come_again_turned_around_the_mean():
    # 16 of 100 among 12 candidates: 2. Of the second generation, rows 0 and 1 are turned around and stay so.
    search = build(mirrors=True, popsize=12, start=np.full(5, 3.0))
    for turned, losses in (((4, 9), {4: 20.0, 9: 30.0}), ((2, 8), {0: 40.0, 2: 20.0, 8: 30.0})):
        before, z = search.mean, search.ask()
        told = np.arange(12) / 100
        for row, loss in losses.items():
            told[row] = loss
        search.tell(z, told)
        turns = search.ask()[:2] - search.mean
        for row, turn in zip(turned, turns, strict=True):
            away = z[row] - before
            assert turn / np.linalg.norm(turn) == pytest.approx(-away / np.linalg.norm(away))


def test_turned_candidates_are_of_the_length_of_any_others():
    search, lengths = build(40, mirrors=True, popsize=20), []
    for _ in range(60):
        search.tell(z := search.ask(), np.arange(20.0))
        z = (search.ask() - search.mean) / search.sigma / np.sqrt(search.variances)
        lengths.append(np.linalg.norm(z, axis=1))
    turned, others = np.array(lengths)[:, :3], np.array(lengths)[:, 3:]
    assert turned.mean() == pytest.approx(others.mean(), rel=0.02)
    assert turned.std() == pytest.approx(others.std(), rel=0.3)


@pytest.mark.parametrize("popsize", [4, 5, 7, 20])
@pytest.mark.parametrize("step_size", ["csa", "tpa"])
def test_generations_of_any_size_can_have_mirrors(popsize, step_size):
    search = build(mirrors=True, popsize=popsize, step_size=step_size)
    run(search, 300, lambda z: (z**2).sum(1))
    assert search.best.loss < 1e-6


def test_two_candidates_look_ahead_and_behind_the_last_step_of_the_mean():
    search = build(step_size="tpa")
    run(search, 1, lambda z: z[:, 0])
    moved, mean = search.mean, search.mean
    z = search.ask()
    ahead, behind = z[0] - mean, z[1] - mean
    assert ahead == pytest.approx(-behind)
    assert ahead / np.linalg.norm(ahead) == pytest.approx(moved / np.linalg.norm(moved))


def test_the_step_grows_when_ahead_is_best_and_behind_is_worst():
    # The ranks 1 and 6 differ by all there is, so a tenth of 3 enters: exp(0.3 / (0.7 + 2 ln 5)). Of equal losses
    # neither is ahead.
    grown, shrunk, equal = (build(step_size="tpa") for _ in range(3))
    for search, losses in (
        (grown, [1.0, 6.0, 2.0, 3.0, 4.0, 5.0]),
        (shrunk, [6.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (equal, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ):
        run(search, 1, lambda z: z[:, 0])
        search.tell(search.ask(), np.array(losses))
    factor = math.exp(0.3 / (0.7 + 2 * math.log(5)))
    assert (grown.sigma, shrunk.sigma, equal.sigma) == pytest.approx((factor, 1 / factor, 1.0))


def test_variances_learn_which_numbers_matter():
    weights = np.array([1.0, 1e2, 1e4])
    search = build(3, popsize=12)
    run(search, 120, lambda z: (z**2 * weights).sum(1))
    ratios = search.variances[:-1] / search.variances[1:]
    assert ((ratios > 20) & (ratios < 500)).all()


@pytest.mark.parametrize("step_size", ["csa", "tpa"])
@pytest.mark.parametrize(("condition", "n"), [(1.0, 150), (1e2, 200)])
def test_it_is_as_fast_as_the_package_cma(step_size, condition, n):
    # How many decades the median of 7 seeds falls in n generations; the package learns also from bad candidates.
    d = 40
    weights = condition ** (np.arange(d) / (d - 1))
    config = EvolutionConfig(sigma=0.2, popsize=0, step_size=step_size, covariance="diagonal")
    fallen = {}
    for kind in (SeparableSearch, CmaSearch):
        ends = [
            run(kind(config, d, seed, "x", np.ones(d)), n, lambda z: (z**2 * weights).sum(1))[-1]
            for seed in range(7)
        ]
        fallen[kind] = -math.log10(np.median(ends) / weights.sum())
    assert fallen[CmaSearch] > 3
    assert 0.8 < fallen[SeparableSearch] / fallen[CmaSearch] < 1.25
