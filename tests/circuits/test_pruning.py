"""Pruning: what is left holds what was asked for, and nothing hangs loose."""

import numpy as np
import pytest

from lmscope.circuits.graph import Graph
from lmscope.circuits.influence import cumulative, node_influence
from lmscope.circuits.pruning import PruningOptions, prune, subgraph
from lmscope.core.errors import DataError

UPPER, LOWER, WEAK = "mlp_out@2/1@3", "mlp_out@1/2@3", "mlp_out@1/3@3"


@pytest.fixture(scope="module")
def chain(make_graph):
    """target <- upper <- lower, weak; both <- tokens."""
    return make_graph(
        {WEAK: 0.1, LOWER: 0.9, UPPER: 1.0, "token@1": 0.9, "token@2": 0.1},
        {
            (UPPER, "target"): 1.0,
            (LOWER, UPPER): 0.9,
            (WEAK, UPPER): 0.1,
            ("token@1", LOWER): 0.9,
            ("token@2", WEAK): 0.1,
        },
    )


def ids(graph):
    return {node.id for node in graph.nodes}


def edges(graph):
    names = [node.id for node in graph.nodes]
    return {(names[a], names[b]) for a, b in zip(graph.source, graph.goal, strict=True)}


def test_the_most_influential_nodes_stay(chain):
    kept = prune(chain, PruningOptions(n_nodes=2))
    assert ids(kept) == {"target", UPPER, LOWER, "token@1", "token@2"}
    assert edges(kept) == {(UPPER, "target"), (LOWER, UPPER), ("token@1", LOWER)}


def test_a_share_keeps_the_fewest_that_hold_it(traced):
    whole = node_influence(traced)
    order = np.argsort(-whole, kind="stable")
    kept = ids(prune(traced, PruningOptions(node_share=0.5)))
    held = cumulative(whole)
    first_over = order[np.searchsorted(held[order], 0.5)]
    for place in order:
        node = traced.nodes[place]
        if node.kind in ("feature", "error", "leaf"):
            assert node.id not in kept or whole[place] >= whole[first_over]


def test_weak_edges_go_and_what_hangs_on_them(chain):
    kept = prune(chain, PruningOptions(edge_share=0.8))
    assert WEAK not in ids(kept)
    assert ("token@2", WEAK) not in edges(kept)
    assert (LOWER, UPPER) in edges(kept)


def test_a_feature_that_loses_all_inputs_goes_and_one_that_never_had_any_stays(make_graph):
    graph = make_graph(
        {UPPER: 1.0, WEAK: 1.0, LOWER: 0.01},
        {(UPPER, "target"): 1.0, (LOWER, UPPER): 0.01, (WEAK, "target"): 1.0},
    )
    assert ids(prune(graph, PruningOptions(n_nodes=2))) == {"target", WEAK}


@pytest.mark.parametrize("n", [0, 1, 5, 1000])
def test_every_node_left_leads_to_the_target(traced, n):
    kept = prune(traced, PruningOptions(n_nodes=n, edge_share=0.9))
    influence = node_influence(kept)
    cut = [node.kind in ("feature", "error", "leaf") for node in kept.nodes]
    assert sum(cut) <= n
    assert (influence[cut] > 0).all()


def test_a_pruned_graph_is_a_graph_and_says_so(traced, tmp_path):
    kept = prune(traced, PruningOptions(node_share=0.6))
    assert kept.meta.options["pruning"] == {"node_share": 0.6}
    assert kept.ledger == traced.ledger
    again = Graph.load(kept.save(tmp_path / "pruned.graph"))
    assert again.to_mapping() == kept.to_mapping()


def test_pruning_to_all_changes_no_node_or_edge(traced):
    kept = prune(traced, PruningOptions(node_share=1.0, edge_share=1.0))
    flows = {
        pair: flow
        for pair, flow in zip(
            zip(traced.source, traced.goal, strict=True), traced.flow, strict=True
        )
        if flow
    }
    assert len(kept) == len(traced)
    assert len(kept.flow) >= len(flows)


def test_pruning_without_a_limit_is_refused(traced):
    with pytest.raises(DataError, match="needs a limit"):
        prune(traced, PruningOptions())


def test_a_subgraph_has_the_chosen_nodes_and_the_target(chain):
    part = subgraph(chain, [UPPER, "token@1"])
    assert ids(part) == {"target", UPPER, "token@1"}
    assert edges(part) == {(UPPER, "target")}
    with pytest.raises(DataError, match="no node 'token@9'"):
        subgraph(chain, ["token@9"])
