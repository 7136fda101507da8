"""Two graphs side by side."""

import json

import pytest

from lmscope.circuits.graph import GraphDictionary
from lmscope.circuits.graph_comparison import compare_graphs
from lmscope.circuits.node_keys import merged, node_labels
from lmscope.core.errors import ArtifactError
from lmscope.core.feature import FeatureId


@pytest.fixture(scope="module")
def pair(make_graph):
    a = make_graph(
        {"mlp_out@1/2@1": 1.0, "mlp_out@1/2@3": 0.5, "mlp_out@1/3@3": 1.0, "token@1": 1.0},
        {("token@1", "mlp_out@1/2@1"): 1.0, ("mlp_out@1/2@1", "target"): 1.0},
    )
    b = make_graph(
        {"mlp_out@1/2@2": 1.0, "mlp_out@1/4@2": -2.0, "token@2": 1.0},
        {("token@2", "mlp_out@1/2@2"): 1.0, ("mlp_out@1/2@2", "target"): 3.0},
        tokens=(1, 9, 7),
    )
    return a, b


def test_latents_match_wherever_they_stand(pair):
    found = compare_graphs(*pair)
    nodes = {one.key: (one.a, one.b) for one in found.nodes}
    assert nodes == {
        "mlp_out@1/2": (1.5, 1.0),
        "mlp_out@1/3": (1.0, None),
        "mlp_out@1/4": (None, -2.0),
        "token:7": (1.0, 1.0),
    }
    assert [one.key for one in found.only_a] == ["mlp_out@1/3"]
    assert [one.key for one in found.only_b] == ["mlp_out@1/4"]
    assert {one.key for one in found.shared} == {"mlp_out@1/2", "token:7"}


def test_overlaps_by_hand(pair):
    found = compare_graphs(*pair)
    assert found.feature_overlap == pytest.approx(1 / 3)
    # smaller of 1.5 and 1; larger 1.5, and 1 and 2 that stand alone.
    assert found.weighted_overlap == pytest.approx(1.0 / 4.5)


def test_positions_match_from_the_start_or_from_the_end(pair):
    assert compare_graphs(*pair, match="position").feature_overlap == 0.0
    # The last but one of four and of three: 2@... in neither; latent 2 stands at -3 and -1, and at -1.
    found = compare_graphs(*pair, match="from_end")
    assert {one.key for one in found.shared} == {"mlp_out@1/2@-1"}


def test_edges_come_with_the_largest_difference_first(pair):
    edges = compare_graphs(*pair).edges
    assert (edges[0].source, edges[0].goal, edges[0].a, edges[0].b) == (
        "mlp_out@1/2",
        "target",
        1.0,
        3.0,
    )


def test_a_graph_equals_itself(traced):
    for match in ("latent", "position", "from_end"):
        found = compare_graphs(traced, traced, match)
        assert found.weighted_overlap == found.feature_overlap == 1.0
        assert not found.only_a
        assert not found.only_b
    json.dumps(found.to_mapping(), allow_nan=False)


def test_merging_loses_nothing(traced):
    for match in ("latent", "position", "from_end"):
        part = merged(traced, match)
        total = sum(node.attribution for node in traced.nodes)
        assert sum(n.attribution for n in part.nodes.values()) == pytest.approx(total)
        assert sum(part.edges.values()) == pytest.approx(float(traced.flow.sum()), abs=1e-4)


def test_other_models_and_dictionaries_are_refused(make_graph):
    one = make_graph({"mlp_out@1/2@1": 1.0}, {})
    with pytest.raises(ArtifactError, match="different models"):
        compare_graphs(one, make_graph({}, {}, weights_hash="other"))

    def with_digest(digest):
        known = GraphDictionary(
            site="mlp_out@1", reads="mlp_out@1", content_digest=digest, n_latents=9
        )
        return make_graph({"mlp_out@1/2@1": 1.0}, {}, dictionaries=[known])

    with pytest.raises(ArtifactError, match="different dictionaries at 'mlp_out@1'"):
        compare_graphs(with_digest("a"), with_digest("b"))


def test_labels_reach_nodes_by_the_names_of_dictionaries(make_graph):
    graph = make_graph({"mlp_out@1/2@1": 1.0, "mlp_out@1/3@1": 1.0, "token@1": 0.0}, {})
    labels = {FeatureId("dictionary-mlp_out@1", 2): "cities", FeatureId("elsewhere", 3): "no"}
    assert node_labels(graph, labels) == {"mlp_out@1/2@1": "cities"}
