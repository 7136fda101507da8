"""Claims tried, scores taken apart and prompts traced, through the addresses, on the miniature model."""

import json

import pytest
from starlette.testclient import TestClient

from lmscope.circuits.feature_sets import FeatureNode
from lmscope.circuits.frozen import freeze
from lmscope.circuits.graph import Graph
from lmscope.circuits.interventions import FeatureChange, intervene
from lmscope.circuits.scores import score_pairs
from lmscope.circuits.targets import LogitTarget
from lmscope.jobs.running import Silent
from lmscope.jobs.trace import TraceRecipe, Tracing
from lmscope.jobs.trace_dictionaries import find_parts
from lmscope.runs.run import Run
from lmscope.server.app import create_app
from lmscope.server.live.process import Worker
from lmscope.server.live.protocol import line, read_line, refusal_of
from lmscope.server.schemas.graph import ClaimTest, ClaimTests, GraphPage
from lmscope.server.schemas.graph_live import ScorePanel
from lmscope.server.settings import ServeSettings

WRITE = {"X-Lmscope": "1"}


class Within:
    """The process with the model, in this process."""

    def __init__(self):
        self.said = []
        self.worker = Worker(lambda text: self.said.append(read_line(text)))

    async def ask(self, kind, payload):
        self.worker.do(read_line(line({"request": 1, "kind": kind, "payload": payload})))
        found = self.said[-1]
        if "refused" in found:
            raise refusal_of(found)
        assert "answer" in found, found
        return found["value"]

    async def close(self):
        """Nothing to end."""


@pytest.fixture(scope="module")
def within():
    return Within()


@pytest.fixture
def served(within):
    """`served(root)`: a client of a server whose model answers in this process."""
    clients = []

    def served(root, **settings):
        app = create_app(ServeSettings(folders=(root,), **settings))
        app.state.context.live = within
        clients.append(TestClient(app, base_url="http://127.0.0.1:8710", headers=WRITE))
        return clients[-1]

    yield served
    for client in clients:
        client.app.state.context.library.close()
        client.close()


@pytest.fixture
def client(served, own_traces):
    return served(own_traces.root)


@pytest.fixture
def address(own_traces):
    return f"/api/graphs/{own_traces.layers}/{own_traces.layered}"


@pytest.fixture(scope="module")
def opened(traced_library):
    """Graph, frozen run and tracing of the prompt with transcoders, made by hand."""
    run = Run.open(traced_library.root / traced_library.layers)
    recipe = TraceRecipe.from_mapping(run.recipe_values)
    parts = find_parts(recipe.dictionaries, recipe.model)
    tracing = Tracing.open(recipe, parts, Silent())
    graph = Graph.load(run.artifacts / "graphs" / f"{traced_library.layered}.graph")
    return graph, freeze(tracing.replacement, list(graph.meta.tokens))


def strongest(graph, kind="feature"):
    found = [node for node in graph.nodes if node.kind == kind]
    return sorted(found, key=lambda node: -abs(node.attribution))


def said(answer) -> str:
    error = answer.json()["error"]
    return f"{error['message']} {error['hint'] or ''}".strip()


def test_a_claim_is_tried_in_both_models_and_kept_beside_it(client, address, opened):
    graph, frozen = opened
    nodes = strongest(graph)[:2]
    asked = {"nodes": [node.id for node in nodes]}
    answer = client.post(f"{address}/tests", json=asked)
    assert answer.status_code == 201, answer.text
    test = ClaimTest.model_validate(answer.json())
    target = graph.nodes[0]
    changes = [FeatureChange(FeatureNode.parse(node.id), "set", 0.0) for node in nodes]
    wanted = intervene(frozen, LogitTarget(target.token, target.position), changes)
    assert test.linear == pytest.approx(wanted.predicted, rel=1e-4)
    assert test.real == pytest.approx(wanted.change, rel=1e-4)
    assert (test.before, test.after) == pytest.approx((wanted.before, wanted.after), rel=1e-4)
    assert test.claimed == pytest.approx(sum(node.attribution for node in nodes))
    assert test.expected == pytest.approx(-test.claimed)
    assert test.share == pytest.approx(test.real / test.expected)
    listed = ClaimTests.model_validate(client.get(f"{address}/tests").json())
    assert listed.tests == [test]
    page = GraphPage.model_validate(client.get(address).json())
    counts = dict(zip(page.nodes.id, page.nodes.tests, strict=True))
    assert [counts[node.id] for node in nodes] == [1, 1]
    assert sum(counts.values()) == 2
    place = page.nodes.place[page.nodes.id.index(nodes[0].id)]
    detail = client.get(f"{address}/node", params={"node": place}).json()
    assert [one["id"] for one in detail["tests"]] == [test.id]


def test_one_feature_silenced_changes_the_linear_model_by_what_the_graph_says(
    client, address, opened
):
    graph, _ = opened
    for node in strongest(graph)[:3]:
        test = client.post(f"{address}/tests", json={"nodes": [node.id]}).json()
        # All features are kept (threshold 0), so that attribution is what the linear model loses.
        assert test["linear"] == pytest.approx(-node.attribution, rel=2e-3, abs=1e-4)


def test_scaling_is_expected_to_add_what_was_claimed_once_more(client, address, opened):
    graph, _ = opened
    node = strongest(graph)[0]
    body = {"nodes": [node.id], "how": "scale", "value": 1.5}
    scaled = client.post(f"{address}/tests", json=body).json()
    assert scaled["expected"] == pytest.approx(0.5 * node.attribution)
    assert scaled["linear"] == pytest.approx(0.5 * node.attribution, rel=1e-2, abs=1e-4)
    body = {"nodes": [node.id], "how": "set", "value": 1.5 * node.activation}
    as_set = client.post(f"{address}/tests", json=body).json()
    assert as_set["real"] == pytest.approx(scaled["real"], rel=1e-3)
    assert as_set["expected"] == pytest.approx(scaled["expected"], rel=1e-4)


def test_a_link_is_tried_along_itself_alone(client, address, opened):
    graph, _ = opened
    kinds = [node.kind for node in graph.nodes]
    order = abs(graph.flow).argsort()[::-1].tolist()
    between = [e for e in order if kinds[graph.source[e]] == kinds[graph.goal[e]] == "feature"]
    into = [e for e in order if kinds[graph.source[e]] == "feature" and graph.goal[e] == 0]
    for edge in (*between[:2], into[0]):
        ends = [graph.nodes[graph.source[edge]].id, graph.nodes[graph.goal[edge]].id]
        answer = client.post(f"{address}/tests", json={"edge": ends})
        assert answer.status_code == 201, answer.text
        test = answer.json()
        assert test["claimed"] == pytest.approx(float(graph.flow[edge]), rel=1e-5)
        assert test["linear"] == pytest.approx(-test["claimed"], rel=1e-2, abs=1e-4)
        assert test["nodes"] == [ends[0]]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "Give `nodes` or `edge`"),
        ({"nodes": ["target"]}, "no feature"),
        ({"nodes": ["token@1"]}, "no feature"),
        ({"nodes": ["mlp_out@0/9999@1"]}, "no node 'mlp_out@0/9999@1'"),
        ({"nodes": ["FIRST"], "how": "scale"}, "take a value"),
        ({"nodes": ["FIRST"], "value": 2}, "`ablate` takes none"),
        ({"nodes": ["FIRST", "FIRST"]}, "named twice"),
        ({"edge": ["target", "FIRST"]}, "no feature"),
        ({"edge": ["FIRST", "token@1"]}, "takes nothing in"),
        ({"nodes": ["FIRST"], "edge": ["FIRST", "target"]}, "Give `nodes` or `edge`"),
    ],
)
def test_a_test_that_makes_no_sense_is_refused_and_not_kept(
    client, address, opened, body, sentence
):
    first = strongest(opened[0])[0].id
    asked = json.loads(json.dumps(body).replace("FIRST", first))
    answer = client.post(f"{address}/tests", json=asked)
    assert answer.status_code == 422
    assert sentence in said(answer)
    assert client.get(f"{address}/tests").json() == {"tests": []}


def test_a_score_is_the_sum_of_its_panel(client, address, opened):
    graph, frozen = opened
    last = len(graph.meta.tokens) - 1
    for against in (None, 1, "mean"):
        body = {"layer": 2, "head": 1, "query": last, "key": 2, "against": against}
        answer = client.post(f"{address}/scores", json=body)
        assert answer.status_code == 200, answer.text
        panel = ScorePanel.model_validate(answer.json())
        wanted = score_pairs(frozen, 2, 1, last, 2, against)
        assert panel.value == pytest.approx(wanted.value, rel=1e-4, abs=1e-5)
        assert sum(map(sum, panel.matrix)) + panel.residual == pytest.approx(panel.value, abs=1e-5)
        assert panel.residual == pytest.approx(0, abs=1e-4)
        assert len(panel.attention) == len(panel.scores) == last + 1
        assert sum(panel.attention) == pytest.approx(1, abs=1e-5)
        for row, side in zip(panel.matrix, panel.queries, strict=False):
            assert sum(row) == pytest.approx(side.total, abs=1e-5)
        columns = list(zip(*panel.matrix, strict=True))
        for column, side in zip(columns, panel.keys, strict=False):
            assert sum(column) == pytest.approx(side.total, abs=1e-5)
        best = panel.pairs[0]
        assert panel.matrix[best.query][best.key] == pytest.approx(best.value)
        assert any(side.id.startswith("constant:query") for side in panel.queries)
        assert any(side.id.startswith("constant:key") for side in panel.keys)
    features = [side for side in panel.queries if side.kind == "feature"]
    assert features
    assert all(side.place is None or graph.nodes[side.place].id == side.id for side in features)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"layer": 9}, "no head 9.1"),
        ({"head": 99}, "no head 2.99"),
        ({"query": 1, "key": 2}, "after it"),
        ({"key": 99}, "no position 99"),
        ({"against": 99}, "no position 99"),
        ({"query": 3, "against": 4}, "after the query"),
    ],
)
def test_scores_that_are_not_there_are_refused(client, address, body, sentence):
    asked = {"layer": 2, "head": 1, "query": 4, "key": 2, **body}
    answer = client.post(f"{address}/scores", json=asked)
    assert answer.status_code == 422
    assert sentence in said(answer)


def test_a_prompt_is_traced_like_another_and_is_listed(client, own_traces):
    body = {"dictionaries": own_traces.layers, "prompt": "a stone", "threshold": 0.05}
    answer = client.post("/api/graphs/trace", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["name"] == "0000-a-stone"
    page = GraphPage.model_validate(client.get(f"/api/graphs/{made['run']}/{made['name']}").json())
    assert page.meta.options["threshold"] == 0.05
    assert [one.site for one in page.meta.dictionaries] == ["mlp_out@0", "mlp_out@1", "mlp_out@2"]
    assert client.get("/api/graphs").json()["graphs"][0]["run"] == made["run"]
    assert client.get(f"/api/runs/{made['run']}").json()["status"] == "done"
    own = Graph.load(own_traces.root / made["run"] / "artifacts/graphs/0000-a-stone.graph")
    assert page.meta.value == own.meta.value


def test_a_prompt_is_traced_with_what_a_run_trained(client, own_traces):
    body = {"dictionaries": own_traces.small.train.name, "prompt": "a stone"}
    answer = client.post("/api/graphs/trace", json=body)
    assert answer.status_code == 424
    assert "both write 'resid_post@1'" in said(answer)
    assert len(list(own_traces.root.glob("*-trace*"))) == 2
    answer = client.post("/api/graphs/trace", json={**body, "only": ["*-64-*"]})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    page = client.get(f"/api/graphs/{made['run']}/{made['name']}").json()
    assert page["meta"]["dictionaries"][0]["id"] == own_traces.small.narrow


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"dictionaries": "nowhere"}, 404, "no run 'nowhere'"),
        ({"dictionaries": "ATLAS"}, 422, "has no dictionaries"),
        ({"target": '" Paris" -'}, 422, "is no target"),
        ({"target": '"xyz is long"'}, 422, "not one token"),
        ({"target": "score 9.9 1->0"}, 422, "no head 9.9"),
        ({"prompt": ""}, 422, "'prompt' is wrong"),
        ({"threshold": -1}, 422, "'threshold' is wrong"),
    ],
)
def test_what_cannot_be_traced_is_refused_and_leaves_no_run(
    client, own_traces, body, status, sentence
):
    before = sorted(own_traces.root.iterdir())
    asked = {"dictionaries": own_traces.layers, "prompt": "a stone", **body}
    if asked["dictionaries"] == "ATLAS":
        asked["dictionaries"] = own_traces.small.atlas.name
    answer = client.post("/api/graphs/trace", json=asked)
    assert answer.status_code == status, answer.text
    assert sentence in said(answer)
    assert sorted(own_traces.root.iterdir()) == before


def test_what_a_trace_was_asked_beyond_its_parts_is_not_asked_again(client, own_traces):
    recipe = own_traces.root / own_traces.layers / "recipe.toml"
    text = recipe.read_text().replace("verify = true", "verify = false")
    recipe.write_text(text.replace("sweep = []", "sweep = [0.5]"))
    body = {"dictionaries": own_traces.layers, "prompt": "a stone"}
    made = client.post("/api/graphs/trace", json=body).json()
    record = client.get(f"/api/graphs/{made['run']}/{made['name']}").json()["record"]
    assert record["sweep"] == []
    assert {one["baseline"] for one in record["faithfulness"]} == {"zero"}
    assert record["why_not"] is None


def test_one_model_stays_in_memory_from_question_to_question(client, address, within, own_traces):
    body = {"layer": 1, "head": 0, "query": 3, "key": 1}
    client.post(f"{address}/scores", json=body)
    before = len(within.said)
    assert client.post(f"{address}/scores", json=body).status_code == 200
    assert not [one for one in within.said[before:] if one.get("state") == "loading"]
    other = f"/api/graphs/{own_traces.stream}/{own_traces.names[0]}"
    assert client.post(f"{other}/scores", json=body).status_code == 200
    assert [one for one in within.said[before:] if one.get("state") == "loading"]
    assert within.said[-2]["model"] == str(own_traces.small.model)


def test_dictionaries_that_moved_with_the_folder_are_found_again(served, own_traces):
    recipe = own_traces.root / own_traces.stream / "recipe.toml"
    text = recipe.read_text()
    train = next(one for one in text.split('"') if one.endswith(own_traces.small.train.name))
    recipe.write_text(text.replace(train, "/nowhere/at/all"))
    client = served(own_traces.root)
    address = f"/api/graphs/{own_traces.stream}/{own_traces.names[0]}"
    assert client.get(address).json()["live"]
    answer = client.post(f"{address}/scores", json={"layer": 1, "head": 0, "query": 3, "key": 1})
    assert answer.status_code == 200, answer.text


def test_a_graph_of_other_weights_is_not_tried(client, address, own_traces, opened):
    path = own_traces.root / own_traces.layers / "artifacts/graphs" / f"{own_traces.layered}.graph"
    graph = opened[0]
    other = graph.meta.model_copy(update={"weights_hash": "f" * 64})
    Graph(other, graph.nodes, graph.source, graph.goal, graph.flow).save(path)
    answer = client.post(f"{address}/scores", json={"layer": 1, "head": 0, "query": 3, "key": 1})
    assert answer.status_code == 424
    assert "other weights" in said(answer)


def test_a_server_that_only_reads_takes_scores_apart_and_changes_nothing(
    served, own_traces, address
):
    client = served(own_traces.root, read_only=True)
    score = {"layer": 1, "head": 0, "query": 3, "key": 1}
    assert client.post(f"{address}/scores", json=score).status_code == 200
    for path, body in (
        (f"{address}/tests", {"nodes": ["x"]}),
        ("/api/graphs/trace", {"prompt": "x"}),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read_only")
    assert client.get(address).json()["read_only"]
