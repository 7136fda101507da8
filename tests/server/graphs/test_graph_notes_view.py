"""Views of a graph are kept beside it, whole or not at all; damaged files are told of and cost nothing else."""

import json
import subprocess
import sys

import pytest
from starlette.testclient import TestClient

from lmscope.server.app import create_app
from lmscope.server.library.graph_notes import MAX_VIEWS
from lmscope.server.schemas.graph import GraphView
from lmscope.server.settings import ServeSettings

WRITE = {"X-Lmscope": "1"}
BASE = "http://127.0.0.1:8710"


@pytest.fixture
def serve():
    clients = []

    def serve(root, **settings):
        app = create_app(ServeSettings(folders=(root,), **settings))
        clients.append(TestClient(app, base_url=BASE, headers=WRITE))
        return clients[-1]

    yield serve
    for client in clients:
        client.app.state.context.library.close()
        client.close()


@pytest.fixture
def client(serve, own_traces):
    return serve(own_traces.root)


@pytest.fixture
def address(own_traces):
    return f"/api/graphs/{own_traces.layers}/{own_traces.layered}"


@pytest.fixture
def view(client, address):
    ids = [one for one in client.get(address).json()["nodes"]["id"] if "/" in one][:4]
    return {
        "pinned": ids[:2],
        "supernodes": [{"name": "<b>names</b> 中\u202e", "ids": ids[1:3]}],
        "share": 0.6,
        "focus": ids[0],
        "moved": {ids[3]: [1.5, -2.0], "target": [0, 0]},
    }


def sentence(answer):
    error = answer.json()["error"]
    return f"{error['message']} {error['hint'] or ''}"


def test_a_view_is_there_again_in_another_server(client, serve, address, view, own_traces):
    kept = client.put(f"{address}/views/my view", json=view)
    assert kept.status_code == 200, kept.text
    again = serve(own_traces.root)
    assert again.get(f"{address}/views/my view").json() == kept.json()
    assert GraphView.model_validate(kept.json()) == GraphView.model_validate(view)
    assert again.get(address).json()["views"] == ["my view"]
    assert list(again.get(f"{address}/views").json()["views"]) == ["my view"]
    client.put(f"{address}/views/other", json={})
    left = client.delete(f"{address}/views/my view").json()["views"]
    assert list(left) == ["other"]
    assert client.get(f"{address}/views/my view").status_code == 404
    assert client.delete(f"{address}/views/my view").status_code == 404


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"pinned": ["mlp_out@0/77@1"]}, "no node 'mlp_out@0/77@1'"),
        ({"focus": "nothing"}, "no node 'nothing'"),
        ({"share": 2}, "'share' is wrong"),
        ({"moved": {"target": [1e9, 0]}}, "is wrong"),
        ({"supernodes": [{"name": "a", "ids": []}, {"name": "a", "ids": []}]}, "one name"),
        ({"supernodes": [{"name": "", "ids": []}]}, "is wrong"),
        ({"colour": 1}, "'colour' is wrong"),
    ],
)
def test_a_view_that_is_refused_leaves_the_old_one(client, address, view, change, part):
    before = client.put(f"{address}/views/mine", json=view).json()
    answer = client.put(f"{address}/views/mine", json={**view, **change})
    assert answer.status_code == 422
    assert part in sentence(answer)
    assert client.get(f"{address}/views/mine").json() == before


def test_names_of_views_are_lines(client, address):
    for name in ("%20mine", "mine%20", "a%E2%80%A8b", "x" * 81):
        assert client.put(f"{address}/views/{name}", json={}).status_code in (400, 422)
    assert client.get(f"{address}/views").json() == {"views": {}}


def test_there_are_so_many_views_and_no_more(client, address):
    for number in range(MAX_VIEWS):
        assert client.put(f"{address}/views/{number}", json={}).status_code == 200
    answer = client.put(f"{address}/views/more", json={})
    assert (answer.status_code, "keeps 100 views" in sentence(answer)) == (422, True)
    assert client.put(f"{address}/views/0", json={"share": 0.1}).status_code == 200


def test_a_server_that_only_reads_keeps_no_view(serve, own_traces, address):
    client = serve(own_traces.root, read_only=True)
    for method in ("PUT", "DELETE"):
        answer = client.request(method, f"{address}/views/mine", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) in (
            (403, "read_only"),
            (415, "wrong_type"),
        )
    assert client.get(f"{address}/views").json() == {"views": {}}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 9}', '{"format": 1, "views": 3}'])
def test_damaged_views_are_told_of(client, own_traces, address, text):
    folder = own_traces.root / own_traces.layers / "artifacts/graphs"
    (folder / f"{own_traces.layered}.views.json").write_text(text)
    answer = client.get(f"{address}/views")
    assert (answer.status_code, answer.json()["error"]["code"]) == (424, "damaged")
    assert "Move it away" in sentence(answer)


def test_a_damaged_graph_is_told_of_and_the_others_are_shown(client, own_traces, address):
    folder = own_traces.root / own_traces.layers / "artifacts/graphs"
    path = folder / f"{own_traces.layered}.graph"
    path.write_bytes(path.read_bytes()[:100])
    answer = client.get(address)
    assert answer.status_code == 424
    assert "is no whole graph" in sentence(answer)
    (folder / f"{own_traces.layered}.json").write_text("{")
    listed = client.get("/api/graphs").json()
    assert len(listed["graphs"]) == 2
    assert own_traces.layered in json.dumps(listed["problems"])
    assert client.get(address).status_code == 424
    other = f"/api/graphs/{own_traces.stream}/{own_traces.names[0]}"
    assert client.get(other).status_code == 200


def test_a_graph_that_is_replaced_is_read_anew(client, own_traces, address):
    folder = own_traces.root / own_traces.layers / "artifacts/graphs"
    other = own_traces.root / own_traces.stream / "artifacts/graphs"
    before = client.get(address).json()
    (folder / f"{own_traces.layered}.graph").write_bytes(
        (other / f"{own_traces.names[0]}.graph").read_bytes()
    )
    after = client.get(address).json()
    assert before["meta"]["prompt"] != after["meta"]["prompt"] == "the sea hid a stone"


def test_files_of_strange_names_are_no_graphs(client, own_traces):
    folder = own_traces.root / own_traces.layers / "artifacts/graphs"
    for name in ("..", ".hidden", "a b", "x.views", "<b>"):
        for ending in (".graph", ".json"):
            (folder / f"{name}{ending}").write_text("{}")
    assert len(client.get("/api/graphs").json()["graphs"]) == 3
    assert client.get("/api/graphs").json()["problems"] == []
    for name in ("a%20b", "x.views", "%3Cb%3E", "..%2f"):
        assert client.get(f"/api/graphs/{own_traces.layers}/{name}").status_code in (400, 404)


def test_pages_of_graphs_import_no_torch(traced_library, address_of):
    pages = ["/graphs", *(f"{address_of}{more}" for more in MORE)]
    program = f"""
import sys
from pathlib import Path
from starlette.testclient import TestClient
from lmscope.server.app import create_app
from lmscope.server.settings import ServeSettings
app = create_app(ServeSettings(folders=(Path({str(traced_library.root)!r}),)))
with TestClient(app, base_url={BASE!r}) as client:
    for page in {pages!r}:
        assert client.get("/api" + page).status_code == 200, page
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr or "torch was imported"


MORE = (
    "",
    "/links?node=0",
    "/node?node=1",
    "/supernodes?by=decoder",
    "/supernodes?by=activation",
    "/views",
    "/tests",
    "/export?as=neuronpedia",
    "/export?as=graphml",
)


@pytest.fixture
def address_of(traced_library):
    return f"/graphs/{traced_library.stream}/{traced_library.names[0]}"
