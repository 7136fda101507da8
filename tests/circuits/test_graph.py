"""Graphs: built from an attribution, written, read back."""

import json

import numpy as np
import pytest

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.graph import Graph
from lmscope.circuits.graph_building import build_graph
from lmscope.circuits.targets import LogitTarget
from lmscope.core.errors import ArtifactError

OPTIONS = TraceOptions(threshold=0.03)


@pytest.fixture(scope="session")
def found(frozen):
    return attribute(frozen, LogitTarget(9), OPTIONS)


@pytest.fixture(scope="session")
def graph(found, tokens):
    return build_graph(found, OPTIONS, prompt="a prompt", texts=[chr(60 + t) for t in tokens])


def test_ids_are_unique_and_edges_go_up(graph):
    ids = [node.id for node in graph.nodes]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "target"
    assert (graph.goal != graph.source).all()
    assert 0 not in graph.source


def test_every_kept_feature_is_a_node_with_its_attribution(graph, found):
    nodes = {node.id: node for node in graph.nodes if node.kind == "feature"}
    assert len(nodes) == found.n_kept
    for site, one in found.sites.items():
        for i in one.kept.nonzero().squeeze(-1).tolist():
            latent, position = int(one.features.latent[i]), int(one.features.position[i])
            node = nodes[f"{site}/{latent}@{position}"]
            assert node.attribution == pytest.approx(float(one.attribution[i]))
            assert node.activation == pytest.approx(float(one.features.value[i]))


def test_what_flows_out_of_a_node_is_its_attribution(graph):
    out = np.bincount(graph.source, weights=graph.flow, minlength=len(graph))
    for place, node in enumerate(graph.nodes):
        if node.kind in ("feature", "token", "position", "error", "leaf"):
            assert out[place] == pytest.approx(node.attribution, abs=1e-5)


def test_written_and_read_back_it_is_equal(graph, tmp_path):
    again = Graph.load(graph.save(tmp_path / "one.graph"))
    assert again.to_mapping() == graph.to_mapping()
    graph.save(tmp_path / "two.graph")
    assert (tmp_path / "one.graph").read_bytes() == (tmp_path / "two.graph").read_bytes()
    json.dumps(graph.to_mapping(), allow_nan=False)


def test_what_is_no_graph_is_refused(graph, tmp_path):
    with pytest.raises(ArtifactError, match="There is no graph at"):
        Graph.load(tmp_path / "none.graph")
    (tmp_path / "text.graph").write_text("{}")
    with pytest.raises(ArtifactError, match="is no whole graph"):
        Graph.load(tmp_path / "text.graph")
    values = graph.to_mapping()
    for change in ({"format_version": 99}, {"nodes": [{"id": 3}]}):
        with pytest.raises(ArtifactError):
            Graph.from_mapping({**values, **change})


@pytest.mark.parametrize(
    "edges",
    [
        [[0, 10**6, 1.0]],
        [[-1, 0, 1.0]],
        [[float("nan"), 0, 1.0]],
        [[0, 1], [1, 2], [2, 3]],
        [[0, 1, 1.0], [1]],
        [[0, 1, "x"]],
        [[0, 10**400, 1.0]],
        [[[0, 1, 1.0]]],
        [0, 1, 1.0],
        7,
        {"source": "AAAAAA==", "goal": "AQAAAA=="},
        {"source": "AAAAAA==", "goal": "AQAAAA==", "flow": "AAAA"},
        {"source": "AAAAAA==", "goal": "AQAAAA==", "flow": "AACAfw=="},
        {"source": "AAAAAA==", "goal": "AQAAAAEAAAA=", "flow": "AACAPw=="},
        {"source": "AAAAAA==", "goal": "////fw==", "flow": "AACAPw=="},
        {"source": "no base64", "goal": "AQAAAA==", "flow": "AACAPw=="},
        {"source": 3, "goal": "AQAAAA==", "flow": "AACAPw=="},
    ],
)
def test_edges_that_are_none_are_refused(graph, edges):
    with pytest.raises(ArtifactError, match="is no whole graph"):
        Graph.from_mapping({**graph.to_mapping(), "edges": edges})


def test_columns_of_edges_are_those_edges(graph):
    columns = {"source": "AQAAAAIAAAA=", "goal": "AAAAAAEAAAA=", "flow": "AACAPwAAAL8="}
    found = Graph.from_mapping({**graph.to_mapping(), "edges": columns})
    assert found.to_mapping()["edges"] == [[1, 0, 1.0], [2, 1, -0.5]]


def test_a_graph_without_edges_is_one(graph):
    again = Graph.from_mapping({**graph.to_mapping(), "edges": []})
    assert (len(again), again.source.shape, again.flow.dtype) == (len(graph), (0,), np.float32)
