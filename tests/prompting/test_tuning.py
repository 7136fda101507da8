"""Tuning: blocks in turn, a budget that holds, a choice by the dev examples, and stops that change nothing."""

from itertools import count

import numpy as np
import pytest
import torch

from lmscope.core.errors import BudgetError, RecipeError
from lmscope.jobs.running import Silent
from lmscope.models.miniature import miniature
from lmscope.prompting.blocks import BlockSearch, blocks_of
from lmscope.prompting.config import EvolutionConfig, ProjectionConfig
from lmscope.prompting.layouts import Level
from lmscope.prompting.method import MethodConfig, build_blocks, layer_moments, subspaces
from lmscope.prompting.oracle import Oracle
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import ModelScorer
from lmscope.prompting.search_building import build_search
from lmscope.prompting.tuning import ChoiceOptions, Tuner
from lmscope.training.checkpoint import Checkpoints

SEARCH = EvolutionConfig(popsize=4)
PROJECTION = ProjectionConfig(d_subspace=6)


class Heard(Silent):
    """A listener that keeps metrics."""

    def __init__(self) -> None:
        self.rows = []

    def on_metrics(self, step, metrics) -> None:
        self.rows.append((step, dict(metrics)))


def _made(method, random_rows, *, n_calls=64, dev=True, family="llama", place="behind", **options):
    """A tuner of a miniature."""
    model = miniature(family)
    rows = random_rows(model, place)
    spaces = subspaces(model, rows, method, PROJECTION, SEARCH, seed=3)
    held = ModelScorer(model, random_rows(model, place, seed=9)) if dev else None
    oracle = Oracle(train=ModelScorer(model, rows), dev=held, n_calls=n_calls)
    search = build_blocks(spaces, method, SEARCH)
    for name, value in options.items():
        setattr(search, name, value)
    return Tuner(search, oracle, method.chosen)


def test_methods_are_blocks_of_layers() -> None:
    assert blocks_of("bbt", 4) == ((0,),)
    assert blocks_of("joint", 4) == ((0, 1, 2, 3),)
    assert blocks_of("bbtv2", 3) == ((0,), (1,), (2,))
    assert blocks_of("bbtv2", 5, 2) == ((0, 1), (2, 3), (4,))
    with pytest.raises(RecipeError, match="only 'bbtv2' has groups"):
        blocks_of("joint", 4, 2)


@pytest.mark.parametrize("kind", ["bbt", "bbtv2", "joint"])
@pytest.mark.parametrize("n_calls", [16, 18, 23])
def test_the_budget_is_spent_in_whole_generations_and_never_exceeded(
    kind, n_calls, random_rows
) -> None:
    tuner, heard = _made(MethodConfig(kind=kind), random_rows, n_calls=n_calls), Heard()
    assert tuner.run(listener=heard)
    assert tuner.oracle.n_asked + tuner.oracle.n_remembered == n_calls // 4 * 4
    assert tuner.oracle.n_asked <= n_calls
    assert [row["n_calls"] for _, row in heard.rows] == [4.0, 8.0, 12.0, 16.0, 20.0][: n_calls // 4]
    with pytest.raises(BudgetError, match="A generation takes 4 calls"):
        tuner.search.step(tuner.oracle)


def test_a_budget_below_one_generation_is_refused(random_rows) -> None:
    tuner = _made(MethodConfig(), random_rows, n_calls=3)
    with pytest.raises(RecipeError, match="less than one generation of 4"):
        tuner.run(listener=Silent())


@pytest.mark.parametrize("place", ["ahead", "behind", "between"])
def test_beginning_at_the_layer_gives_the_losses_of_whole_passes(place, random_rows) -> None:
    method = MethodConfig(kind="bbtv2")
    fast = _made(method, random_rows, n_calls=48, place=place)
    plain = _made(method, random_rows, n_calls=48, place=place, resume=False)
    heard = [Heard(), Heard()]
    for tuner, listener in zip((fast, plain), heard, strict=True):
        tuner.run(listener=listener)
    for (_, one), (_, two) in zip(heard[0].rows, heard[1].rows, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
    assert fast.oracle.train.flops < 0.8 * plain.oracle.train.flops


@pytest.mark.parametrize("kind", ["bbt", "bbtv2", "joint"])
@pytest.mark.parametrize("stop_after", [1, 5])
def test_a_stopped_search_goes_on_as_if_it_had_not_been(
    kind, stop_after, random_rows, tmp_path
) -> None:
    method = MethodConfig(kind=kind, choice=ChoiceOptions(every_calls=8))
    whole, whole_heard = _made(method, random_rows), Heard()
    whole.run(listener=whole_heard)
    checkpoints, first, heard = Checkpoints(tmp_path), _made(method, random_rows), Heard()
    polls = count()
    assert not first.run(
        listener=heard, checkpoints=checkpoints, stop=lambda: next(polls) == stop_after
    )
    second = _made(method, random_rows)
    second.resume(checkpoints.latest())
    assert second.run(listener=heard, checkpoints=checkpoints)
    assert heard.rows == whole_heard.rows
    assert second.chosen is not None
    assert second.chosen.score == whole.chosen.score
    for one, two in zip(second.chosen.numbers, whole.chosen.numbers, strict=True):
        assert (one is None) == (two is None)
        assert one is None or np.array_equal(one, two)


class Separable:
    """Losses that are a sum of one part a layer, so that no layer changes another's best."""

    n_prompt = 2
    labels = torch.tensor([0])

    def __init__(self, layers: int) -> None:
        drawn = torch.Generator().manual_seed(5)
        self.goals = torch.randn(layers, 2, 3, generator=drawn)

    def scores(self, prompts: Prompts, level: Level | None = None) -> torch.Tensor:
        n = len(prompts)
        cost = torch.zeros(n, dtype=torch.float64)
        for layer, goal in enumerate(self.goals):
            rows = prompts.added.get(layer, torch.zeros(1, 2, 3))
            cost = cost + (rows - goal).double().square().sum((1, 2)).expand(n)
        # The loss of two classes whose scores differ by x is log(1 + exp(-x)): it rises with the cost.
        return torch.stack([-cost, torch.zeros_like(cost)], -1)[:, None]


def test_on_separable_losses_each_layer_searches_as_if_alone() -> None:
    layers, oracle_of = 3, lambda n: Oracle(train=Separable(layers), dev=None, n_calls=n)
    model = miniature("llama")
    method = MethodConfig(kind="bbtv2")

    def blocks() -> BlockSearch:
        moments = {str(i): (0.0, 1.0) for i in range(layers)}
        from lmscope.prompting.method import Subspaces

        spaces = Subspaces(
            blocks=blocks_of("bbtv2", layers),
            n_prompt=2,
            d_model=3,
            projection=PROJECTION,
            sigma=1.0,
            seed=0,
            moments=moments,
        )
        return build_blocks(spaces, method, SEARCH)

    together, rounds = blocks(), 5
    oracle = oracle_of(4 * layers * rounds)
    for _ in range(layers * rounds):
        together.step(oracle)
    for i, block in enumerate(blocks().blocks):
        alone = BlockSearch([block])
        own = oracle_of(4 * rounds)
        for _ in range(rounds):
            alone.step(own)
        assert np.array_equal(block.search.mean, together.blocks[i].search.mean)
    assert model.n_layers == layers


def test_layers_draw_other_candidates_through_other_matrices(random_rows) -> None:
    search = _made(MethodConfig(kind="bbtv2"), random_rows).search
    first, second = (block.search.ask() for block in search.blocks[:2])
    assert not np.allclose(first, second)
    one, two = (block.projections[i].matrix() for i, block in enumerate(search.blocks[:2]))
    assert not torch.allclose(one / one.std(), two / two.std())


def test_equal_seeds_give_equal_results_and_others_do_not(random_rows) -> None:
    losses = []
    for seed in (3, 3, 4):
        model = miniature("llama")
        rows = random_rows(model, "behind")
        spaces = subspaces(model, rows, MethodConfig(), PROJECTION, SEARCH, seed=seed)
        search = build_blocks(spaces, MethodConfig(), SEARCH)
        oracle = Oracle(train=ModelScorer(model, rows), dev=None, n_calls=8)
        losses.append([search.step(oracle).losses.tolist() for _ in range(2)])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_the_result_is_never_one_that_dev_examples_like_less_than_the_manual_prompt(
    random_rows,
) -> None:
    tuner = _made(MethodConfig(choice=ChoiceOptions(every_calls=4)), random_rows, n_calls=40)
    tuner.run(listener=Silent())
    (manual,) = tuner.oracle.choose_by(Prompts({}))
    assert tuner.chosen is not None
    assert not manual.better_than(tuner.chosen.score)
    found = tuner.oracle.choose_by(tuner.search.prompts_of(tuner.chosen.numbers))[0]
    assert found == tuner.chosen.score


def test_what_is_chosen_is_what_the_rule_names(random_rows) -> None:
    # every_calls = 6 with generations of 4: call 6 is the second candidate (number 1) of the second generation.
    method = MethodConfig(choice=ChoiceOptions(by="candidate", every_calls=6))
    tuner = _made(method, random_rows, n_calls=8)
    seen = []
    told = tuner.search.step

    def step(oracle):
        seen.append(told(oracle))
        return seen[-1]

    tuner.search.step = step
    tried = []
    out = tuner._try_out
    tuner._try_out = lambda numbers: tried.append(numbers) or out(numbers)
    tuner.run(listener=Silent())
    assert tried[0] == (None,)
    assert np.array_equal(tried[1][0], seen[1].numbers[1])


def test_without_dev_examples_the_middle_of_the_search_is_the_result(random_rows) -> None:
    tuner = _made(MethodConfig(), random_rows, n_calls=12, dev=False)
    tuner.run(listener=Silent())
    assert tuner.chosen is not None
    assert np.array_equal(tuner.chosen.numbers[0], tuner.search.blocks[0].search.mean)
    assert tuner.oracle.n_dev_asked == 0


def test_paper_faithful_says_what_it_replaces() -> None:
    faithful = MethodConfig(paper_faithful=True)
    assert (faithful.kept, faithful.chosen.by) == ("best", "candidate")
    with pytest.raises(RecipeError, match="paper_faithful says what 'keep' is"):
        MethodConfig.from_mapping({"paper_faithful": True, "keep": "mean"})
    with pytest.raises(RecipeError, match="has no groups of layers"):
        MethodConfig.from_mapping({"kind": "joint", "group": 2})


def test_layers_are_measured_without_padding_and_prompt(random_rows) -> None:
    model = miniature("llama")
    rows = random_rows(model, "between")
    found = layer_moments(model, rows, [0, 2])
    whole = layer_moments(model, rows, [0, 2], paper_faithful=True)
    assert found[0] == whole[0]
    assert found[0].std == pytest.approx(float(model.weights.W_E.double().std(correction=0)))
    assert found[2] != whole[2]


def test_rows_of_a_first_candidate_have_alpha_times_the_layers_spread(random_rows) -> None:
    model = miniature("llama")
    rows = random_rows(model, "behind", n_prompt=40)
    wide, search = ProjectionConfig(d_subspace=500, alpha=0.5), EvolutionConfig(sigma=0.2)
    spaces = subspaces(model, rows, MethodConfig(kind="joint"), wide, search, seed=0)
    drawn = build_search(search, 500, 0, "x").ask()
    block = build_blocks(spaces, MethodConfig(kind="joint"), search).blocks[0]
    for layer, rows_added in block.prompts(drawn).added.items():
        spread = spaces.moments[str(layer)][1]
        assert float(rows_added.std()) == pytest.approx(0.5 * spread, rel=0.02)
