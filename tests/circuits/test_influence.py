"""Influence and scores: worked out by hand, and against dense matrices."""

import numpy as np
import pytest

from lmscope.circuits.influence import (
    cumulative,
    edge_influence,
    graph_scores,
    least_to_hold,
    node_influence,
)
from lmscope.core.errors import DataError


@pytest.fixture(scope="module")
def small(make_graph):
    """target <- f (3), error (-1); f <- token@1 (2), token@2 (-2)."""
    return make_graph(
        {"mlp_out@1/4@3": 3.0, "token@1": 2.0, "token@2": -2.0, "error:mlp_out@1@3": -1.0},
        {
            ("mlp_out@1/4@3", "target"): 3.0,
            ("error:mlp_out@1@3", "target"): -1.0,
            ("token@1", "mlp_out@1/4@3"): 2.0,
            ("token@2", "mlp_out@1/4@3"): -2.0,
        },
    )


def dense(graph):
    """Rows are goals; sizes of flows, each row summing to 1 or to 0."""
    matrix = np.zeros((len(graph), len(graph)))
    np.add.at(matrix, (graph.goal, graph.source), np.abs(graph.flow.astype(float)))
    return matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-30)


def dense_influence(graph):
    matrix = dense(graph)
    start = np.array([float(node.kind == "target") for node in graph.nodes])
    return start @ np.linalg.inv(np.eye(len(graph)) - matrix) - start


def test_influence_by_hand(small):
    # f has 3 of 4 of the sizes, the error 1 of 4; each token half of what f has.
    assert node_influence(small).tolist() == [0.0, 0.75, 0.375, 0.375, 0.25]
    assert edge_influence(small).tolist() == [0.75, 0.25, 0.375, 0.375]


def test_influence_is_the_sum_of_all_powers(traced):
    np.testing.assert_allclose(node_influence(traced), dense_influence(traced), atol=1e-12)


def test_influence_that_arrives_at_ends_is_whole(traced):
    influence = node_influence(traced)
    ends = np.bincount(traced.goal, minlength=len(traced)) == 0
    assert influence[ends].sum() == pytest.approx(1.0)


def test_cumulative_shares_begin_with_the_most_influential():
    np.testing.assert_allclose(cumulative(np.array([1.0, 5.0, 0.0, 4.0])), [1.0, 0.5, 1.0, 0.9])
    assert cumulative(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("share", "least"), [(0.0, 5.0), (0.5, 5.0), (0.51, 4.0), (1.0, 0.0)])
def test_the_least_that_holds_a_share(share, least):
    kept = least_to_hold(np.array([1.0, 5.0, 0.0, 4.0]), share)
    assert kept == (1.0 if share == 1.0 else least)


def test_scores_by_hand(small):
    # Ends: tokens 0.75, error 0.25. Inputs: of the target (weight 1) a quarter is error; f's (0.75) are
    # tokens, and ends count as complete: 0.375 + 0.375 + 0.25.
    scores = graph_scores(small)
    assert scores.replacement == pytest.approx(0.75)
    assert scores.completeness == pytest.approx((0.75 + 0.75 + 1.0) / 2.75)


def test_features_that_are_not_chosen_count_as_errors(small):
    scores = graph_scores(small, chosen=[])
    assert scores.replacement == 0.0
    assert graph_scores(small, chosen=["mlp_out@1/4@3"]) == graph_scores(small)


def test_scores_agree_with_dense_matrices(traced):
    matrix, influence = dense(traced), dense_influence(traced)
    kinds = np.array([node.kind for node in traced.nodes])
    errors, inputs = np.isin(kinds, ["error", "leaf"]), np.isin(kinds, ["token", "position"])
    weights = influence + (kinds == "target")
    scores = graph_scores(traced)
    assert scores.replacement == pytest.approx(
        influence[inputs].sum() / (influence[inputs].sum() + influence[errors].sum())
    )
    whole = ((1 - matrix[:, errors].sum(1)) * weights).sum() / weights.sum()
    assert scores.completeness == pytest.approx(whole)


def test_a_circle_is_refused(make_graph):
    round_ = make_graph(
        {"mlp_out@1/4@3": 1.0, "mlp_out@2/5@3": 1.0},
        {
            ("mlp_out@1/4@3", "target"): 1.0,
            ("mlp_out@1/4@3", "mlp_out@2/5@3"): 1.0,
            ("mlp_out@2/5@3", "mlp_out@1/4@3"): 1.0,
        },
    )
    with pytest.raises(DataError, match="go in a circle"):
        node_influence(round_)


def test_an_unknown_choice_is_refused_with_near_names(small):
    with pytest.raises(DataError, match=r"no node 'mlp_out@1/5@3'. Did you mean mlp_out@1/4@3"):
        graph_scores(small, chosen=["mlp_out@1/5@3"])


def test_what_flows_into_a_feature_that_is_not_chosen_does_not_count(make_graph):
    """target <- f alone <- error alone: chosen, all of f's input is error; not chosen, f is an end."""
    name, error = "mlp_out@1/4@3", "error:mlp_out@0@3"
    graph = make_graph({name: 1.0, error: 1.0}, {(name, "target"): 1.0, (error, name): 1.0})
    # Weights 1 each of target, f, error. Chosen: f misses all. Not chosen: the target does.
    assert graph_scores(graph).completeness == pytest.approx(2 / 3)
    assert graph_scores(graph, chosen=[]).completeness == pytest.approx(1 / 2)
