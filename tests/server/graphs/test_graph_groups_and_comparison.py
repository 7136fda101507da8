"""Groups, comparisons and exports say what the library of circuits says."""

import json

import numpy as np
import pytest
from starlette.testclient import TestClient

from lmscope.circuits.exchange.graph_lint import lint_graph
from lmscope.circuits.graph import Graph
from lmscope.circuits.graph_comparison import compare_graphs
from lmscope.circuits.pruning import subgraph
from lmscope.circuits.supernodes import SupernodeOptions, decoder_similarity, supernodes
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.server.app import create_app
from lmscope.server.schemas.graph import GraphPage, GraphsCompared, NodeGroups
from lmscope.server.settings import ServeSettings


@pytest.fixture(scope="module")
def client(traced_library):
    app = create_app(ServeSettings(folders=(traced_library.root,)))
    with TestClient(app, base_url="http://127.0.0.1:8710") as client:
        yield client


@pytest.fixture(scope="module")
def graphs(traced_library):
    folder = traced_library.root / traced_library.stream / "artifacts" / "graphs"
    return [Graph.load(folder / f"{name}.graph") for name in traced_library.names]


@pytest.fixture(scope="module")
def addresses(traced_library):
    return [f"{traced_library.stream}/{name}" for name in traced_library.names]


def test_decoder_groups_are_those_of_the_weights(client, traced_library, graphs, addresses):
    answer = client.get(f"/api/graphs/{addresses[0]}/supernodes?by=decoder&share=1&least=0.3")
    found = NodeGroups.model_validate(answer.json())
    graph = graphs[0]
    nodes = [node for node in graph.nodes if node.kind == "feature"]
    folder = traced_library.small.train / "artifacts/dictionaries/resid_post-1-64-topk-4"
    rows = Dictionary.load(folder).W_dec.detach().numpy()[[node.latent for node in nodes]]
    part = subgraph(graph, [node.id for node in nodes])
    wanted = supernodes(part, decoder_similarity(rows), SupernodeOptions(least=0.3))
    assert [set(one.ids) for one in found.groups] == [set(one.members) for one in wanted]
    assert found.groups
    assert found.n_left_out == 0
    for one in found.groups:
        assert [graph.nodes[place].id for place in one.places] == one.ids


def test_latents_that_fire_at_the_same_positions_go_together(client, addresses):
    answer = client.get(f"/api/graphs/{addresses[0]}/supernodes?by=activation&share=1")
    found = NodeGroups.model_validate(answer.json())
    assert "2 prompts" in found.meaning
    # One latent at several positions fires with itself.
    page = GraphPage.model_validate(client.get(f"/api/graphs/{addresses[0]}").json())
    home = {id_: i for i, one in enumerate(found.groups) for id_ in one.ids}
    features = [
        (latent, attribution > 0, id_)
        for latent, attribution, id_, kind in zip(
            page.nodes.latent, page.nodes.attribution, page.nodes.id, page.nodes.kind, strict=True
        )
        if kind == "feature"
    ]
    for latent, sign, id_ in features:
        for other, other_sign, other_id in features:
            if latent == other and sign == other_sign and id_ != other_id:
                assert home[id_] == home[other_id]


def test_labels_that_are_equal_make_groups(client, addresses):
    answer = client.get(f"/api/graphs/{addresses[0]}/supernodes?by=label&share=1")
    found = NodeGroups.model_validate(answer.json())
    page = GraphPage.model_validate(client.get(f"/api/graphs/{addresses[0]}").json())
    labels = dict(zip(page.nodes.id, page.nodes.label, strict=True))
    for one in found.groups:
        assert len({labels[id_] for id_ in one.ids}) == 1
    n_features = page.nodes.kind.count("feature")
    assert found.n_left_out == n_features - sum(v is not None for v in labels.values())


@pytest.mark.parametrize("match", ["latent", "position", "from_end"])
def test_two_graphs_are_compared_as_the_library_compares_them(client, graphs, addresses, match):
    query = {"a": addresses[0], "b": addresses[1], "match": match}
    found = GraphsCompared.model_validate(client.get("/api/graphs/compare", params=query).json())
    wanted = compare_graphs(graphs[0], graphs[1], match)
    assert (found.n_shared, found.n_only_a, found.n_only_b) == (
        len(wanted.shared),
        len(wanted.only_a),
        len(wanted.only_b),
    )
    assert found.feature_overlap == wanted.feature_overlap
    assert found.nodes.key == [one.key for one in wanted.nodes]
    assert found.nodes.a == [one.a for one in wanted.nodes]
    assert found.n_links_all == len(wanted.edges)
    ids = {node.id for node in graphs[0].nodes}
    for own, value in zip(found.nodes.ids_a, found.nodes.a, strict=True):
        assert set(own) <= ids
        assert bool(own) == (value is not None)
    named = [*found.nodes.key, "target"]
    for source, goal, one in zip(found.links.source, found.links.goal, wanted.edges, strict=False):
        assert (named[source], named[goal]) == (one.source, one.goal)


def test_a_share_is_compared_of_either(client, graphs, addresses):
    query = {"a": addresses[0], "b": addresses[1], "share": 0.5}
    found = client.get("/api/graphs/compare", params=query).json()
    assert 0 < len(found["nodes"]["key"]) < len(compare_graphs(graphs[0], graphs[1]).nodes)


def test_graphs_of_different_models_are_not_compared(own_traces):
    folder = own_traces.root / own_traces.stream / "artifacts/graphs"
    graph = Graph.load(folder / f"{own_traces.names[1]}.graph")
    meta = graph.meta.model_copy(update={"weights_hash": "f" * 64})
    Graph(meta, graph.nodes, graph.source, graph.goal, graph.flow).save(
        folder / f"{own_traces.names[1]}.graph"
    )
    app = create_app(ServeSettings(folders=(own_traces.root,)))
    a, b = (f"{own_traces.stream}/{name}" for name in own_traces.names)
    with TestClient(app, base_url="http://127.0.0.1:8710") as client:
        answer = client.get("/api/graphs/compare", params={"a": a, "b": b})
    assert answer.status_code == 422
    assert "of different models" in answer.json()["error"]["message"]


def test_graphs_that_cannot_be_compared_say_why(client, traced_library, addresses):
    for a, b, status, sentence in (
        (addresses[0], addresses[0], 422, "with itself"),
        (addresses[0], "x", 422, "no address of a graph"),
        (addresses[0], "nowhere/x", 404, "no run 'nowhere'"),
        (addresses[0], f"{traced_library.stream}/x", 404, "has no graph 'x'"),
    ):
        answer = client.get("/api/graphs/compare", params={"a": a, "b": b})
        assert answer.status_code == status
        assert sentence in answer.json()["error"]["message"]


def test_exports_are_files_that_other_tools_read(client, graphs, addresses, tmp_path):
    address = f"/api/graphs/{addresses[0]}/export"
    answer = client.get(address, params={"as": "neuronpedia"})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert lint_graph(answer.json()) == []
    xml = client.get(address, params={"as": "graphml"})
    assert xml.content.startswith(b"<?xml")
    (tmp_path / "own.graph").write_bytes(client.get(address, params={"as": "graph"}).content)
    assert Graph.load(tmp_path / "own.graph").to_mapping() == graphs[0].to_mapping()
    assert client.get(address, params={"as": "html"}).status_code == 422


def test_the_python_of_a_page_gives_its_nodes(client, traced_library, capsys):
    address = f"/api/graphs/{traced_library.layers}/{traced_library.layered}?share=0.7"
    page = GraphPage.model_validate(client.get(address).json())
    program = next(one.text for one in page.provenance.snippets if one.language == "python")
    exec(program, {})
    ids = capsys.readouterr().out.strip().splitlines()[-1]
    assert json.loads(ids.replace("'", '"')) == page.nodes.id
    command = next(one.text for one in page.provenance.snippets if one.language == "shell")
    assert command.startswith("lmscope trace 'the sea hid'")
    assert np.isfinite(page.meta.value)
