"""GraphML: networkx reads all of it, and hostile texts stay texts."""

import xml.etree.ElementTree as ET

import networkx
import numpy as np
import pytest

from lmscope.circuits.exchange.graphml import save_graphml
from lmscope.circuits.influence import cumulative, node_influence


def test_networkx_reads_every_node_and_flow(traced, tmp_path):
    found = networkx.read_graphml(save_graphml(traced, tmp_path / "a.graphml"))
    assert found.is_directed()
    assert list(found.nodes) == [node.id for node in traced.nodes]
    assert found.number_of_edges() == len(traced.flow)
    names = [node.id for node in traced.nodes]
    for source, goal, flow in zip(traced.source, traced.goal, traced.flow, strict=True):
        assert found.edges[names[source], names[goal]]["flow"] == pytest.approx(float(flow))
    shares = cumulative(node_influence(traced))
    for node, share in zip(traced.nodes, shares, strict=True):
        there = found.nodes[node.id]
        assert there["kind"] == node.kind
        assert there["attribution"] == node.attribution
        assert there["influence"] == pytest.approx(share)
        assert there.get("latent") == node.latent
    assert found.graph["value"] == traced.meta.value


def test_paths_in_networkx_carry_the_target(traced, tmp_path):
    found = networkx.read_graphml(save_graphml(traced, tmp_path / "a.graphml"))
    assert networkx.is_directed_acyclic_graph(found)
    into = sum(flow for _, _, flow in found.in_edges("target", data="flow"))
    expected = traced.flow[traced.goal == 0].astype(np.float64).sum()
    assert into == pytest.approx(float(expected), abs=1e-4)


def test_hostile_texts_stay_texts(make_graph, tmp_path):
    hostile = "]]><evil a='1'>&x;\0\x0b\ufffe\ud800\u202e\""
    graph = make_graph(
        {"mlp_out@1/4@3": 1.0},
        {("mlp_out@1/4@3", "target"): 1.0},
        texts=("a", "b", "c", hostile),
        prompt=hostile,
    )
    path = save_graphml(graph, tmp_path / "a.graphml", {"mlp_out@1/4@3": hostile})
    root = ET.parse(path).getroot()
    assert not [element for element in root.iter() if "evil" in element.tag]
    found = networkx.read_graphml(path)
    label = found.nodes["mlp_out@1/4@3"]["label"]
    assert label.startswith("]]><evil a='1'>&x;")
    assert not set(label) & set("\0\x0b\ufffe\u202e")
    assert found.number_of_nodes() == 2


def test_equal_graphs_give_equal_files(traced, tmp_path):
    one, two = (save_graphml(traced, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert one == two
