"""What every search promises, for each kind of it."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import ArtifactError, RunError
from lmscope.core.tensor_files import read_tensors, write_tensors
from lmscope.prompting.config import BayesConfig, EvolutionConfig, RandomSearchConfig
from lmscope.prompting.search import Search, reflected
from lmscope.prompting.search_building import build_search
from lmscope.training.tensor_tree import put_together, take_apart

D = 6
FORMS = (
    ("diagonal", "csa", False, None),
    ("diagonal", "csa", True, None),
    ("diagonal", "tpa", False, None),
    ("diagonal", "tpa", True, None),
    ("diagonal", "tpa", False, 1.5),
    ("full", "csa", False, None),
    ("full", "tpa", True, None),
    ("full", "csa", False, 1.5),
    ("full", "tpa", False, 1.5),
)
EVOLUTIONS = {
    f"{covariance}-{step_size}{'-mirrors' * mirrors}{'-bound' * bool(bound)}": EvolutionConfig(
        popsize=8, covariance=covariance, step_size=step_size, mirrors=mirrors, bound=bound
    )
    for covariance, step_size, mirrors, bound in FORMS
}
CONFIGS = EVOLUTIONS | {
    "random": RandomSearchConfig(popsize=5),
    "random-bound": RandomSearchConfig(popsize=5, bound=1.5),
    "bayes": BayesConfig(n_random=4),
}
every_kind = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
every_evolution = pytest.mark.parametrize("config", EVOLUTIONS.values(), ids=EVOLUTIONS.keys())

every_evolution_without_bound = pytest.mark.parametrize(
    "config",
    [pytest.param(config, id=name) for name, config in EVOLUTIONS.items() if not config.bound],
)


def build(config, seed=3, name="x", start=None):
    return build_search(config, D, seed, name, start)


def loss(z):
    """Lowest where number i is i / 10; steeper in each next number."""
    return ((z - np.arange(D) / 10) ** 2 * np.arange(1, D + 1)).sum(-1)


def advance(search, n, objective=loss):
    """Candidates of n generations."""
    asked = []
    for _ in range(n):
        z = search.ask()
        search.tell(z, objective(z))
        asked.append(z)
    return np.concatenate(asked)


@every_kind
def test_a_search_has_what_its_callers_need(config):
    search = build(config)
    assert isinstance(search, Search)
    assert search.n_told == 0
    assert search.mean.tolist() == [0.0] * D
    z = search.ask()
    assert z.shape == (search.popsize, D)
    search.tell(z, loss(z))
    assert search.n_told == search.popsize


@every_kind
def test_candidates_stay_the_same_until_they_are_told(config):
    search = build(config)
    advance(search, 7)
    z, changed = search.ask(), search.ask()
    changed += 1
    assert np.array_equal(search.ask(), z)
    search.tell(z, loss(z))
    assert not np.isclose(search.ask(), z).any()


@every_kind
@pytest.mark.parametrize("asked", [False, True], ids=["told", "asked"])
def test_a_resumed_search_asks_for_the_same_candidates_to_the_last_bit(config, asked, tmp_path):
    search = build(config)
    advance(search, 7)
    if asked:
        search.ask()
    as_tensors = {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in search.state().items()
    }
    plain, tensors = take_apart(as_tensors)  # as checkpoints write it: JSON and safetensors
    write_tensors(tmp_path / "x.safetensors", tensors)
    plain = json.loads(json.dumps(plain))
    resumed = build(config)
    resumed.load_state(put_together(plain, [read_tensors(tmp_path / "x.safetensors")]))
    assert resumed.n_told == search.n_told
    assert resumed.best.loss == search.best.loss
    assert np.array_equal(resumed.latest_best.z, search.latest_best.z)
    assert np.array_equal(resumed.mean, search.mean)
    assert np.array_equal(advance(resumed, 4), advance(search, 4))
    assert np.array_equal(resumed.mean, search.mean)


@every_kind
def test_a_search_can_be_resumed_before_it_began(config):
    resumed = build(config)
    resumed.load_state(build(config).state())
    assert np.array_equal(advance(resumed, 3), advance(build(config), 3))


@every_kind
def test_numpys_own_generator_is_neither_read_nor_moved(config):
    np.random.seed(1)
    before = np.random.get_state()
    first = advance(build(config), 9)
    after = np.random.get_state()
    assert before[2:] == after[2:]
    assert np.array_equal(before[1], after[1])
    np.random.seed(2)
    assert np.array_equal(advance(build(config), 9), first)


@every_kind
def test_seeds_and_names_are_independent_streams(config):
    first, others = build(config).ask(), (build(config, seed=4), build(config, name="y"))
    assert all(not np.isclose(first, other.ask()).any() for other in others)
    assert np.array_equal(build(config).ask(), first)
    search = build(config)
    assert not np.isclose(advance(search, 1), search.ask()).any()


@every_kind
def test_the_best_is_the_lowest_loss_ever_and_the_latest_best_the_lowest_of_last_time(config):
    search = build(config)
    with pytest.raises(RunError, match="no loss was told yet"):
        _ = search.best
    for best, latest in ((5.0, 5.0), (2.0, 2.0), (2.0, 3.0)):
        z = search.ask()
        search.tell(z, latest + np.arange(len(z))[::-1] / 10)
        assert (search.best.loss, search.latest_best.loss) == (best, latest)
        assert np.array_equal(search.latest_best.z, z[-1])
    assert not np.array_equal(search.best.z, search.latest_best.z)


@every_kind
def test_what_was_not_asked_for_cannot_be_told(config):
    search = build(config)
    z = search.ask()
    with pytest.raises(RunError, match="did not propose"):
        search.tell(z + 1e-9, loss(z))
    search.tell(z, loss(z))
    with pytest.raises(RunError, match="did not propose"):
        search.tell(z, loss(z))


@every_kind
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_refused_and_nothing_learned(config, value):
    search, other = build(config), build(config)
    z = search.ask()
    losses = loss(z)
    losses[0] = value
    with pytest.raises(RunError, match=r"1 of . losses .* no finite numbers"):
        search.tell(z, losses)
    assert search.n_told == 0
    search.tell(z, loss(z))
    assert np.array_equal(search.ask(), advance(other, 2)[len(z) :])


@every_kind
def test_a_state_of_other_settings_is_refused(config):
    with pytest.raises(ArtifactError, match="does not fit 'y'"):
        build(config, name="y").load_state(build(config).state())


@every_kind
def test_what_is_handed_out_does_not_reach_back(config):
    search = build(config)
    advance(search, 2)
    expected = search.mean, search.best.z, search.state()
    for array in (search.mean, search.best.z, search.latest_best.z):
        array += 1
    for value in search.state().values():
        if isinstance(value, np.ndarray):
            value += 1
    assert np.array_equal(search.mean, expected[0])
    assert np.array_equal(search.best.z, expected[1])
    assert all(np.array_equal(v, expected[2][k]) for k, v in search.state().items())


@every_kind
def test_a_bound_holds(config):
    if config.bound is None:
        return
    search = build(config)
    z = advance(search, 12, lambda z: -np.abs(z).sum(-1))  # it pulls to the corners
    assert np.abs(z).max() <= config.bound
    assert np.abs(search.mean).max() <= config.bound


@every_evolution
def test_only_the_order_of_losses_counts(config):
    plain = advance(build(config), 25)
    assert np.array_equal(advance(build(config), 25, lambda z: np.exp(loss(z)) - 7), plain)


@every_evolution_without_bound
def test_the_first_step_size_is_only_a_unit(config):
    fifth = config.model_copy(update={"sigma": 0.2})
    ones = advance(build(config), 60)
    fifths = 5 * advance(build(fifth), 60, lambda z: loss(5 * z))
    assert np.abs(fifths - ones).max() <= 1e-9 * np.abs(ones).max()


@every_evolution_without_bound
def test_the_path_is_the_same_wherever_it_starts(config):
    start = np.linspace(-3, 4, D)
    moved = advance(build(config, start=start), 60, lambda z: loss(z - start)) - start
    assert np.abs(moved - advance(build(config), 60)).max() <= 1e-9


@every_evolution
def test_an_evolution_finds_a_planted_optimum(config):
    search = build(config)
    advance(search, 150)
    assert np.abs(search.mean - np.arange(D) / 10).max() < 1e-3


@every_evolution
def test_a_plateau_ends_nothing_and_breaks_nothing(config):
    search = build(config)
    advance(search, 60, lambda z: np.zeros(len(z)))
    assert np.isfinite(search.ask()).all()
    advance(search, 150)
    assert search.latest_best.loss < 0.1


def test_random_search_learns_nothing():
    config = RandomSearchConfig(popsize=50, sigma=0.5)
    start = np.full(D, 2.0)
    z = advance(build(config, start=start), 40)
    other = advance(build(config, start=start), 40, lambda z: -loss(z))
    assert np.array_equal(z, other)
    assert z.mean() == pytest.approx(2.0, abs=0.02)
    assert z.std() == pytest.approx(0.5, abs=0.02)


@given(st.floats(-50, 50), st.floats(0.1, 10))
def test_reflection_keeps_what_is_inside_and_folds_the_rest(x, bound):
    found = float(reflected(np.array([x]), bound)[0])
    assert abs(found) <= bound * (1 + 1e-12)
    if abs(x) <= bound:
        assert found == x
    # Steps beyond the wall come back as many.
    wall = reflected(np.array([bound + 0.05, -bound - 0.05]), bound)
    assert wall == pytest.approx([bound - 0.05, -bound + 0.05])
