"""The page of a graph says what its file holds, and any part of it."""

import json

import pytest
from starlette.testclient import TestClient

from lmscope.circuits.graph import Graph
from lmscope.circuits.influence import cumulative, node_influence
from lmscope.circuits.pruning import PruningOptions, prune
from lmscope.server.app import create_app
from lmscope.server.schemas.graph import GraphPage, Graphs, NodeLinks, NodePage
from lmscope.server.settings import ServeSettings


@pytest.fixture(scope="module")
def client(traced_library):
    app = create_app(ServeSettings(folders=(traced_library.root,)))
    with TestClient(app, base_url="http://127.0.0.1:8710") as client:
        yield client


@pytest.fixture(scope="module")
def graph(traced_library):
    library = traced_library
    folder = library.root / library.layers / "artifacts" / "graphs"
    return Graph.load(folder / f"{library.layered}.graph")


@pytest.fixture(scope="module")
def ask(client, traced_library):
    """`ask(path="", **query)`: an answer about the graph of all layers."""

    def ask(path="", **query):
        address = f"/api/graphs/{traced_library.layers}/{traced_library.layered}{path}"
        return client.get(address, params=query)

    return ask


def page_of(answer) -> GraphPage:
    assert answer.status_code == 200, answer.text
    return GraphPage.model_validate(answer.json())


def test_the_list_has_every_graph_the_newest_run_first(client, traced_library):
    found = Graphs.model_validate(client.get("/api/graphs").json())
    assert [(one.run, one.name) for one in found.graphs] == [
        (traced_library.layers, traced_library.layered),
        *((traced_library.stream, name) for name in traced_library.names),
    ]
    assert found.problems == []
    assert found.graphs[0].model == str(traced_library.small.model)
    assert found.graphs[2].prompt == "the <b>sea</b> rose"


def test_the_whole_graph_is_what_its_file_holds(ask, graph):
    page = page_of(ask(links=200_000))
    kept = [node for node in graph.nodes if node.kind != "bias"]
    assert page.nodes.id == [node.id for node in kept]
    assert page.nodes.attribution == [node.attribution for node in kept]
    assert page.nodes.activation == [node.activation for node in kept]
    assert page.n_nodes_all == len(kept)
    assert page.n_links_all == page.n_links_shown == len(graph.flow)
    ids = page.nodes.id
    links = zip(page.links.source, page.links.goal, page.links.flow, strict=True)
    found = {(ids[s], ids[g]): pytest.approx(flow) for s, g, flow in links}
    own = zip(graph.source.tolist(), graph.goal.tolist(), graph.flow.tolist(), strict=True)
    assert {(graph.nodes[s].id, graph.nodes[g].id): flow for s, g, flow in own} == found
    sizes = [abs(flow) for flow in page.links.flow]
    assert sizes == sorted(sizes, reverse=True)


def test_tokens_stand_below_layers_and_the_logit_above(ask):
    nodes = page_of(ask()).nodes
    rows = dict(zip(nodes.id, nodes.row, strict=True))
    assert rows["target"] == 7
    assert {row for id_, row in rows.items() if id_.startswith("token@")} == {0}
    features = {id_.partition("/")[0]: row for id_, row in rows.items() if "/" in id_}
    assert features == {"mlp_out@0": 2, "mlp_out@1": 4, "mlp_out@2": 6}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 0.95])
def test_a_share_shows_the_fewest_nodes_that_hold_it(ask, graph, share):
    page = page_of(ask(share=share))
    influence = node_influence(graph)
    places = [p for p, k in zip(page.nodes.place, page.nodes.kind, strict=True) if k != "target"]
    held = influence[places].sum() / influence.sum()
    assert held >= share - 1e-9
    free = [p for p in places if graph.nodes[p].kind not in ("token", "position")]
    if free:
        least = min(influence[p] for p in free)
        more = [p for p in range(len(graph)) if influence[p] >= least]
        assert (influence[more].sum() - least) / influence.sum() < share
    steps = dict(zip(page.shares.share, page.shares.n_nodes, strict=True))
    assert steps.get(share, len(page.nodes.id)) == len(page.nodes.id)
    assert page.nodes.influence == [
        pytest.approx(v) for v in cumulative(influence)[page.nodes.place]
    ]
    pruned = prune(graph, PruningOptions(node_share=share))
    assert {node.id for node in pruned.nodes if node.kind != "bias"} <= set(page.nodes.id)


def test_the_ledger_sums_to_the_target_in_the_order_of_drawing(ask, graph):
    ledger = page_of(ask()).ledger
    assert [one.name for one in ledger.parts] == [
        "tokens",
        "positions",
        "errors",
        "leaves",
        "biases",
        "cut",
    ]
    total = sum(one.value for one in ledger.parts) + ledger.residual
    assert total == pytest.approx(ledger.target, abs=1e-6)
    assert abs(ledger.residual) <= ledger.tolerance
    errors = next(one for one in ledger.parts if one.name == "errors")
    assert sum(value for _, value in errors.inner) == pytest.approx(errors.value, abs=1e-6)
    assert ledger.target == graph.meta.value


def test_links_are_cut_at_the_number_that_was_asked_for(ask):
    page = page_of(ask(links=5))
    assert len(page.links.flow) == 5
    assert page.n_links_shown > 5
    assert page_of(ask(links=0)).links.flow == []


def test_links_of_a_node_are_all_that_end_at_it(ask, graph):
    page = page_of(ask())
    for place in page.nodes.place[:12]:
        links = NodeLinks.model_validate(ask("/links", node=place).json())
        ends = list(zip(links.source, links.goal, strict=True))
        own = zip(graph.source.tolist(), graph.goal.tolist(), strict=True)
        assert sorted(ends) == sorted(pair for pair in own if place in pair)
        assert all(place in pair for pair in ends)
    shown = set(page_of(ask(share=0.5)).nodes.place)
    some = NodeLinks.model_validate(ask("/links", node=0, share=0.5).json())
    assert some.source
    assert set(some.source) <= shown


def test_the_ends_of_a_node_are_its_links_strongest_first(ask, graph):
    node = NodePage.model_validate(ask("/node", node=0).json())
    assert (node.kind, node.id, node.n_outgoing) == ("target", "target", 0)
    flows = [abs(one.flow) for one in node.incoming]
    assert flows == sorted(flows, reverse=True)
    into = graph.flow[graph.goal == 0]
    assert node.n_incoming == len(into)
    assert flows == pytest.approx(sorted(abs(into).tolist(), reverse=True)[:50])
    token = NodePage.model_validate(ask("/node", node=places(ask)["token@1"]).json())
    assert token.token is not None
    assert (token.token.text, token.n_incoming) == (graph.meta.texts[1], 0)


def places(ask):
    nodes = page_of(ask()).nodes
    return dict(zip(nodes.id, nodes.place, strict=True))


def test_a_feature_shows_what_its_atlas_knows(client, traced_library):
    address = f"/api/graphs/{traced_library.stream}/{traced_library.names[0]}"
    page = page_of(client.get(address))
    assert page.meta.dictionaries[0].id == traced_library.small.narrow
    assert page.live
    found = [p for p, k in zip(page.nodes.place, page.nodes.kind, strict=True) if k == "feature"]
    assert found
    for place in found:
        node = NodePage.model_validate(client.get(f"{address}/node", params={"node": place}).json())
        own = client.get(f"/api/dictionaries/{node.dictionary}/features/{node.latent}").json()
        assert node.feature is not None
        assert node.feature.density == own["density"]
        assert [one.model_dump() for one in node.feature.top_logits] == own["top_logits"][:10]
        assert [one.model_dump() for one in node.feature.sources] == own["sources"]
        assert (node.label or "") == (own["label"] if own["known"] else "")
        assert node.label_known == own["known"]
        assert node.tests == []


def test_an_unchanged_page_costs_nothing(client, traced_library):
    address = f"/api/graphs/{traced_library.layers}/{traced_library.layered}?share=0.8"
    first = client.get(address)
    again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_texts_that_look_like_code_stay_texts(client, traced_library):
    address = f"/api/graphs/{traced_library.stream}/{traced_library.names[1]}"
    answer = client.get(address)
    assert answer.headers["content-type"] == "application/json"
    page = page_of(answer)
    assert "".join(one.text for one in page.meta.tokens).endswith("the <b>sea</b> rose")


@pytest.mark.parametrize(
    ("path", "query", "status", "sentence"),
    [
        ("", {"share": 2}, 422, "'share' is wrong"),
        ("/links", {"node": 10**6}, 404, "no node 1000000"),
        ("/node", {"node": 10**6}, 404, "no node 1000000"),
        ("/node", {}, 422, "'node' is wrong"),
    ],
)
def test_wrong_questions_are_refused_in_a_sentence(ask, path, query, status, sentence):
    answer = ask(path, **query)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]["message"]


def test_graphs_and_runs_that_are_not_there_are_named(client, traced_library):
    nowhere = client.get(f"/api/graphs/{traced_library.stream}/0000-the-sea")
    assert nowhere.status_code == 404
    assert "0000-the-sea-hid-a-stone" in json.dumps(nowhere.json())
    assert client.get("/api/graphs/nowhere/x").status_code == 404
    train = traced_library.small.train.name
    answer = client.get(f"/api/graphs/{train}/x").json()["error"]
    assert "no graph at all" in f"{answer['message']} {answer['hint']}"
