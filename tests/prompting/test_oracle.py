"""An oracle counts every call, goes no further than its budget, and knows what it said before."""

import numpy as np
import pytest
import torch

from lmscope.core.errors import BudgetError, RunError
from lmscope.prompting.layouts import Level
from lmscope.prompting.oracle import DevScore, Oracle
from lmscope.prompting.prompts import Prompts


class Sums:
    """Two examples of two classes whose scores are what a candidate adds, summed; counts what it ran."""

    n_prompt = 1

    def __init__(self, worth: float = 1.0) -> None:
        self.labels = torch.tensor([0, 1])
        self.ran = 0
        self.worth = worth

    def scores(self, prompts: Prompts, level: Level | None = None) -> torch.Tensor:
        self.ran += len(prompts)
        total = torch.zeros(len(prompts))
        for rows in prompts.added.values():
            total = total + rows.sum((1, 2))
        zero = torch.zeros_like(total)
        rows = [torch.stack([total, zero], -1), torch.stack([zero, total], -1)]
        return torch.stack(rows, 1) * self.worth


def _prompts(*values: float, layer: int = 0) -> Prompts:
    return Prompts({layer: torch.tensor(values).view(-1, 1, 1)})


def test_a_call_is_one_candidate_on_all_examples() -> None:
    oracle = Oracle(train=Sums(), dev=None, n_calls=5)
    losses = oracle.losses(_prompts(0.0, 1.0, 2.0))
    assert losses == pytest.approx([np.log1p(np.exp(-x)) for x in (0.0, 1.0, 2.0)])
    assert (oracle.n_asked, oracle.n_left) == (3, 2)


def test_the_budget_is_never_exceeded_by_one_call() -> None:
    train = Sums()
    oracle = Oracle(train=train, dev=None, n_calls=4)
    oracle.losses(_prompts(1.0, 2.0, 3.0))
    with pytest.raises(BudgetError, match="2 candidates were asked for and 1 of 4 calls are left"):
        oracle.losses(_prompts(4.0, 5.0))
    assert (oracle.n_asked, train.ran) == (3, 3)
    oracle.losses(_prompts(4.0))
    assert oracle.n_left == 0


def test_a_candidate_that_was_asked_for_before_costs_nothing() -> None:
    train = Sums()
    oracle = Oracle(train=train, dev=None, n_calls=4)
    first = oracle.losses(_prompts(1.0, 2.0, 1.0))
    again = oracle.losses(_prompts(2.0, 1.0))
    assert again.tolist() == [first[1], first[0]]
    assert (oracle.n_asked, oracle.n_remembered, train.ran) == (2, 3, 2)


def test_equal_rows_at_other_layers_are_other_candidates_and_nothing_added_is_none() -> None:
    oracle = Oracle(train=Sums(), dev=None, n_calls=9)
    oracle.losses(_prompts(1.0, layer=0))
    oracle.losses(_prompts(1.0, layer=1))
    assert oracle.n_asked == 2
    oracle.losses(Prompts({}))
    oracle.losses(_prompts(0.0, layer=3))
    assert (oracle.n_asked, oracle.n_remembered) == (3, 1)


def test_what_lies_below_a_level_belongs_to_the_candidate() -> None:
    oracle = Oracle(train=Sums(), dev=None, n_calls=9)
    levels = [Level(1, (), None, _prompts(below)) for below in (1.0, 2.0)]
    for level in levels:
        oracle.losses(_prompts(5.0, layer=1), level)
    assert oracle.n_asked == 2
    both = Prompts({0: torch.tensor([[[1.0]]]), 1: torch.tensor([[[5.0]]])})
    oracle.losses(both, levels[0])
    assert (oracle.n_asked, oracle.n_remembered) == (2, 1)


def test_calls_for_choosing_are_counted_apart() -> None:
    oracle = Oracle(train=Sums(), dev=Sums(), n_calls=4)
    found = oracle.choose_by(_prompts(1.0, -1.0))
    assert [score.metric for score in found] == [1.0, 0.0]
    assert (oracle.n_asked, oracle.n_dev_asked) == (0, 2)
    with pytest.raises(RunError, match="no examples to choose by"):
        Oracle(train=Sums(), dev=None, n_calls=4).choose_by(_prompts(1.0))


def test_a_score_that_is_no_number_is_said_and_not_learned() -> None:
    oracle = Oracle(train=Sums(worth=float("nan")), dev=None, n_calls=4)
    with pytest.raises(RunError, match="no number"):
        oracle.losses(_prompts(1.0))


def test_a_restored_oracle_counts_on_and_remembers() -> None:
    oracle = Oracle(train=Sums(), dev=Sums(), n_calls=4)
    oracle.losses(_prompts(1.0, 2.0))
    oracle.choose_by(_prompts(1.0))
    other = Oracle(train=Sums(), dev=Sums(), n_calls=4)
    other.load_state(oracle.state())
    other.losses(_prompts(2.0, 3.0))
    assert (other.n_asked, other.n_dev_asked, other.n_remembered) == (3, 1, 1)


def test_the_metric_decides_and_the_loss_between_equals() -> None:
    assert DevScore(0.5, 9.0).better_than(None)
    assert DevScore(0.6, 9.0).better_than(DevScore(0.5, 1.0))
    assert DevScore(0.5, 0.9).better_than(DevScore(0.5, 1.0))
    assert not DevScore(0.5, 1.0).better_than(DevScore(0.5, 1.0))
