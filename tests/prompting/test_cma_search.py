import numpy as np
import pytest

from lmscope.core.errors import ArtifactError
from lmscope.prompting.cma_search import CmaSearch
from lmscope.prompting.config import EvolutionConfig


def build(d=6, **changes):
    config = EvolutionConfig(**{"covariance": "full", "popsize": 8, **changes})
    return CmaSearch(config, d, 3, "x")


def run(search, n, objective):
    for _ in range(n):
        z = search.ask()
        search.tell(z, objective(z))
    return search


def test_a_whole_covariance_is_learned():
    # A valley along a diagonal, 1000 times as long as wide: no single number's variance shows it.
    def valley(z):
        return (z[:, 0] + z[:, 1] - 2) ** 2 * 1e6 + (z[:, 0] - z[:, 1]) ** 2

    full = run(build(2), 120, valley)
    diagonal = run(build(2, covariance="diagonal"), 120, valley)
    assert full.best.loss < 1e-6
    assert diagonal.best.loss > 1e-6


def test_no_rule_of_the_package_stops_a_search():
    search = run(build(), 400, lambda z: np.round((z**2).sum(1)))
    assert search.n_told == 400 * 8
    assert search.best.loss == 0.0
    assert search._strategy.stop() == {}


def test_a_file_of_the_packages_name_has_no_power(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cma_signals.in").write_text("{'timeout': 0}")
    search = run(build(), 3, lambda z: (z**2).sum(1))
    assert search._strategy.stop() == {}


def test_the_step_size_rule_is_the_one_asked_for():
    names = {
        rule: type(build(step_size=rule)._strategy.adapt_sigma).__name__ for rule in ("csa", "tpa")
    }
    assert names == {"csa": "CMAAdaptSigmaCSA", "tpa": "_TwoPoint"}


def test_mirrors_and_bounds_reach_the_package():
    search = run(build(mirrors=True, bound=2.0), 2, lambda z: (z**2).sum(1))
    assert search._strategy.sp.lam_mirr == 2
    assert search._strategy.opts["bounds"] == [-2.0, 2.0]


def test_a_state_is_little_more_than_losses():
    search = run(build(), 10, lambda z: (z**2).sum(1))
    state = search.state()
    assert state["losses"].shape == (10, 8)
    assert {k for k, v in state.items() if isinstance(v, np.ndarray)} == {
        "losses",
        "best_z",
        "latest_best_z",
    }


def test_a_search_that_comes_to_another_point_is_refused():
    state = run(build(), 5, lambda z: (z**2).sum(1)).state()
    state["losses"][2] = state["losses"][2][::-1]
    with pytest.raises(ArtifactError, match=r"'x' cannot go on: .* cma 4"):
        build().load_state(state)
