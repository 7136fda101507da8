"""Circuits over prompts: a planted one is found, with honest intervals."""

import json

import numpy as np
import pytest

from lmscope.circuits.aggregation import AggregationOptions, aggregate
from lmscope.core.errors import ArtifactError, DataError

FIRST, SECOND = "mlp_out@1/2", "mlp_out@2/5"


@pytest.fixture(scope="module")
def batch(make_graph):
    """40 prompts: two features and their edge on all, another on each prompt alone."""
    draw = np.random.default_rng(0)
    graphs = []
    for prompt in range(40):
        noise = 0.1 * draw.standard_normal(2)
        lower, upper, own = f"{FIRST}@{prompt % 3 + 1}", f"{SECOND}@3", f"mlp_out@1/{50 + prompt}@1"
        graphs.append(
            make_graph(
                {lower: 0.5 + noise[0], own: 0.2, upper: 0.8 + noise[1], "token@1": 0.5},
                {
                    (lower, upper): 0.5 + noise[0],
                    (upper, "target"): 0.8 + noise[1],
                    (own, "target"): 0.2,
                    ("token@1", lower): 0.5,
                },
            )
        )
    return graphs


def test_what_recurs_is_told_from_what_does_not(batch):
    found = aggregate(batch, AggregationOptions(least_stability=0.5))
    features = [node for node in found.nodes if node.kind == "feature"]
    assert [node.key for node in features] == [SECOND, FIRST]
    assert all(node.stability == 1.0 and node.n_nodes == 1.0 for node in features)
    pairs = {(edge.source, edge.goal) for edge in found.edges}
    assert pairs == {(FIRST, SECOND), (SECOND, "target"), ("token:7", FIRST)}
    assert found.n_features == 42


def test_means_lie_in_their_intervals_and_intervals_hold_the_truth(batch):
    found = {node.key: node.attribution for node in aggregate(batch).nodes}
    # Noise of 0.1 over 40 prompts: a 95 % interval is about 0.06 wide.
    for key, truth in ((FIRST, 0.5), (SECOND, 0.8)):
        one = found[key]
        assert one.low < truth < one.high
        assert one.low < one.value < one.high
        assert 0.03 < one.high - one.low < 0.12
        assert one.n == 40


def test_a_part_of_one_prompt_has_the_mean_over_all(batch):
    found = {node.key: node for node in aggregate(batch).nodes}
    one = found["mlp_out@1/50"]
    assert one.attribution.value == pytest.approx(0.2 / 40)
    assert one.stability == pytest.approx(1 / 40)
    assert one.activation == 2.0


def test_overlap_by_hand(batch):
    # Two of four features are common to any two prompts.
    assert aggregate(batch).overlap == pytest.approx(0.5)


def test_positions_keep_nodes_apart_when_asked(batch):
    found = aggregate(batch, AggregationOptions(match="position", least_stability=0.9))
    assert [node.key for node in found.nodes if node.kind == "feature"] == [f"{SECOND}@3"]


def test_shares_count_prompts_alike_and_units_do_not(make_graph):
    def one(value):
        name = f"{FIRST}@1"
        return make_graph({name: value / 2}, {(name, "target"): value / 2}, value=value)

    graphs = [one(1.0), one(-9.0)]
    share = aggregate(graphs).nodes[0].attribution
    assert share.value == pytest.approx(0.5)
    assert share.low == pytest.approx(share.high)
    assert aggregate(graphs, AggregationOptions(units="target")).nodes[
        0
    ].attribution.value == pytest.approx(-2.0)


def test_equal_seeds_give_equal_circuits(batch):
    assert aggregate(batch).to_mapping() == aggregate(batch).to_mapping()
    other = aggregate(batch, AggregationOptions(seed=1))
    assert other.to_mapping() != aggregate(batch).to_mapping()
    json.dumps(other.to_mapping(), allow_nan=False)


def test_one_prompt_has_no_interval(batch):
    found = aggregate(batch[:1])
    assert found.nodes[0].attribution.low is None
    assert np.isnan(found.overlap)


def test_what_cannot_be_put_together_is_refused(make_graph):
    with pytest.raises(DataError, match="There is no graph"):
        aggregate([])
    with pytest.raises(DataError, match=r"is 0, so nothing is a share"):
        aggregate([make_graph({}, {}, value=0.0)])
    with pytest.raises(ArtifactError, match="different models"):
        aggregate([make_graph({}, {}), make_graph({}, {}, weights_hash="other")])
