"""The toy of the paper's authors, worked out by hand (ge2024circuits)."""

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.edges import flow_edges
from lmscope.circuits.linear_model import run_linear
from lmscope.circuits.targets import DirectionTarget
from lmscope.core.site import Site

FIRST, SECOND = Site("mlp_out", 0), Site("mlp_out", 1)
OUT = DirectionTarget(Site("resid_post", 1), 0, torch.ones(1, dtype=torch.float64))


def column(*values):
    return torch.tensor([[value] for value in values], dtype=torch.float64)


@pytest.fixture
def toy(frozen_by_hand):
    """y = x + (x W1) W2 and out = y + (y W3) W4, with x = 1."""
    none = torch.zeros(2, dtype=torch.float64)
    first = (column(1, 2), none, column(1, 1), None)
    second = (column(1, 1), none, column(2, 1), None)
    return frozen_by_hand(column(1), [first, second])


def traced(toy, threshold, rule="abs"):
    return attribute(toy, OUT, TraceOptions(threshold=threshold, relative=False, rule=rule))


def test_the_output_is_16(toy):
    assert OUT.start(toy).value == 16
    assert float(run_linear(toy).value(OUT.start(toy))) == 16


def test_all_of_it(toy):
    found = traced(toy, 0.0)
    assert found.sites[SECOND].attribution.tolist() == [8, 4]
    assert found.sites[FIRST].attribution.tolist() == [4, 8]
    assert found.ledger.summary()["tokens"] == 16
    assert found.ledger.recovered == 1


@pytest.mark.parametrize("rule", ["abs", "signed"])
def test_below_5_is_cut(toy, rule):
    found = traced(toy, 5.0, rule)
    assert found.sites[SECOND].attribution.tolist() == [8, 4]
    assert found.sites[SECOND].kept.tolist() == [True, False]
    assert found.sites[FIRST].attribution.tolist() == [3, 6]
    assert found.sites[FIRST].kept.tolist() == [False, True]
    assert found.ledger.cut == 4 + 3
    assert found.ledger.summary()["tokens"] == 9


@pytest.mark.parametrize(("rule", "kept"), [("abs", True), ("signed", False)])
def test_what_equals_the_threshold_is_kept_unless_the_rule_is_the_published_one(toy, rule, kept):
    assert traced(toy, 8.0, rule).sites[SECOND].kept.tolist() == [kept, False]


def test_a_share_of_the_target_is_the_same_threshold(toy):
    share = attribute(toy, OUT, TraceOptions(threshold=5 / 16))
    assert share.threshold == 5
    assert share.ledger.summary() == traced(toy, 5.0).ledger.summary()


def test_flows(toy):
    edges = flow_edges(traced(toy, 5.0))
    # 0 is the second feature below, 1 the first above; the target is -1.
    assert edges.sites == (FIRST, SECOND)
    assert edges.node.tolist() == [1, 0]
    flows = dict(
        zip(
            zip(edges.source.tolist(), edges.goal.tolist(), strict=True),
            edges.flow.tolist(),
            strict=True,
        )
    )
    assert flows == {(0, 1): 4, (0, -1): 2, (1, -1): 8}
    assert edges.tokens.squeeze(1).tolist() == [6, 2, 1]
