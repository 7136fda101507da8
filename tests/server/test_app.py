"""The application over the small library, asked in one process."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from lmscope.server.app import create_app
from lmscope.server.guard import HEADERS
from lmscope.server.settings import ServeSettings

BASE = "http://127.0.0.1:8710"
WRITE = {"X-Lmscope": "1"}


@contextmanager
def served(*folders, **settings):
    app = create_app(ServeSettings(folders=folders, **settings))
    with TestClient(app, base_url=BASE, headers=WRITE) as client:
        yield client


@pytest.fixture(scope="module")
def client(small_library):
    with served(small_library.root) as client:
        yield client


def pages(library):
    narrow = f"/dictionaries/{library.narrow}"
    return [
        "/home",
        f"/suites/{library.train.name}",
        f"/runs/{library.train.name}",
        f"/runs/{library.train.name}/curves",
        narrow,
        f"{narrow}/features",
        f"{narrow}/features/3",
        "/search?q=e",
        "/jobs",
        "/live",
    ]


def test_every_page_has_its_data_with_the_safe_headers(client, small_library):
    for page in pages(small_library):
        answer = client.get(f"/api{page}")
        assert answer.status_code == 200, (page, answer.text)
        assert answer.headers["content-type"] == "application/json"
        assert {name.lower() for name in HEADERS} <= answer.headers.keys()
        assert "no-cache" in answer.headers["cache-control"]
        answer.json()


def test_a_page_asked_for_as_json_answers_its_data(client, small_library):
    for page in (f"/dictionaries/{small_library.narrow}/features/3", "/search?q=e", "/jobs"):
        twin = client.get(page, headers={"Accept": "application/json"})
        assert twin.status_code == 200
        assert twin.url.path == f"/api{page.partition('?')[0]}"
        assert twin.json().keys() == client.get(f"/api{page}").json().keys()
    assert client.get("/", headers={"Accept": "application/json"}).url.path == "/api/home"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api", 404, "not_found"),
        ("/api/nothing", 404, "not_found"),
        ("/api/home/", 404, "not_found"),
        ("/api/runs/none", 404, "not_found"),
        ("/api/suites/none", 404, "not_found"),
        ("/api/models/none", 404, "not_found"),
        ("/api/dictionaries/none", 404, "not_found"),
        ("/api/dictionaries/none/features", 404, "not_found"),
        ("/api/dictionaries/none/features/1", 404, "not_found"),
        ("/api/jobs/none", 404, "not_found"),
        ("/api/runs/none/stream", 404, "not_found"),
        ("/api/jobs/none/stream", 404, "not_found"),
        ("/api/compare?a=none&b=none", 404, "not_found"),
        ("/api/dictionaries/none/features/-1", 422, "wrong_input"),
        ("/api/dictionaries/none/features/x", 422, "wrong_input"),
        ("/api/dictionaries/none/features/99999999999999999999", 422, "wrong_input"),
        ("/api/search", 422, "wrong_input"),
        ("/api/search?q=a&limit=100000", 422, "wrong_input"),
        ("/api/search?q=a&kind=magic", 422, "wrong_input"),
    ],
)
def test_what_cannot_be_answered_says_so_in_one_envelope(client, path, status, code):
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    (error,) = answer.json().values()
    assert error["code"] == code
    assert error["message"].endswith((".", "?", "!"))
    assert "Traceback" not in answer.text


def test_a_latent_beyond_the_dictionary_is_not_found(client, small_library):
    answer = client.get(f"/api/dictionaries/{small_library.narrow}/features/64")
    assert answer.status_code == 404
    assert "64" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_a_method_that_an_address_does_not_have_is_refused(client, method):
    answer = client.request(method, "/api/home", json={})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_extra_key_or_a_wrong_type_is_named(client, small_library, method):
    path, body = {
        "PUT": (f"/api/dictionaries/{small_library.narrow}/features/1/note", {"wrong": 1}),
        "POST": ("/api/live/probe", {"text": 5, "dictionaries": ["a"]}),
    }[method]
    answer = client.request(method, path, json=body)
    assert answer.status_code == 422
    assert re.search("'(wrong|text)' is wrong", answer.json()["error"]["message"])


def test_large_answers_are_compressed_and_unchanged_ones_are_not_sent_again(client, small_library):
    path = f"/api/dictionaries/{small_library.narrow}/features/3"
    first = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert first.headers["content-encoding"] == "gzip"
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_hostile_names_and_labels_arrive_as_the_text_that_they_are(client, small_library):
    listed = client.get(f"/api/dictionaries/{small_library.hostile_id}/features?limit=200")
    assert listed.headers["content-type"] == "application/json"
    assert listed.headers["x-content-type-options"] == "nosniff"
    labels = [row["label"] for row in listed.json()["rows"]]
    assert "<script>alert(1)</script>" in labels
    for latent in range(len(labels)):
        page = client.get(f"/api/dictionaries/{small_library.hostile_id}/features/{latent}")
        assert page.status_code == 200


def test_a_folder_with_nothing_in_it_has_an_empty_first_page(tmp_path):
    with served(tmp_path / "not yet") as client:
        home = client.get("/api/home").json()
    assert home["runs"] == home["dictionaries"] == []


def test_a_corrupt_run_is_told_of_and_all_else_is_served(own_library):
    (own_library.explained / "run.json").write_text("{")
    with served(own_library.root) as client:
        home = client.get("/api/home").json()
        assert own_library.explained.name in json.dumps(home["problems"])
        assert client.get(f"/api/dictionaries/{own_library.narrow}/features/3").status_code == 200


def test_read_only_servers_start_no_jobs_and_take_no_notes(small_library):
    note = f"/api/dictionaries/{small_library.narrow}/features/1/note"
    with served(small_library.root, read_only=True) as client:
        for method, path in (("PUT", note), ("POST", "/api/jobs")):
            answer = client.request(method, path, json={"verb": "train"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read_only")


def test_the_web_process_imports_no_torch(small_library):
    program = f"""
import sys
from pathlib import Path
from starlette.testclient import TestClient
from lmscope.server.app import create_app
from lmscope.server.settings import ServeSettings
app = create_app(ServeSettings(folders=(Path({str(small_library.root)!r}),)))
with TestClient(app, base_url={BASE!r}) as client:
    for page in {pages(small_library)!r}:
        assert client.get("/api" + page).status_code == 200, page
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr or "torch was imported"


def test_a_browser_with_the_token_in_its_first_address_reads_and_writes_from_then_on(own_library):
    note = f"/api/dictionaries/{own_library.narrow}/features/1/note"
    with served(own_library.root, token="t" * 20) as client:
        assert client.get("/api/home").status_code == 401
        first = client.get(f"/search?q=a&token={'t' * 20}", headers={"Accept": "text/html"})
        assert (first.status_code, str(first.url)) == (200, f"{BASE}/search?q=a")
        assert client.get("/api/home").status_code == 200
        assert client.put(note, json={"text": "seen"}).status_code == 200
