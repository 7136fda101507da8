"""Notes are kept by dictionary, the last writer wins, and a server that only reads keeps none."""

from contextlib import closing

import pytest
from starlette.testclient import TestClient

from lmscope.atlas.atlas import Atlas
from lmscope.server.app import create_app
from lmscope.server.settings import ServeSettings

WRITE = {"X-Lmscope": "1"}


@pytest.fixture
def client(own_library):
    app = create_app(ServeSettings(folders=(own_library.root,)))
    with closing(TestClient(app, base_url="http://127.0.0.1:8710", headers=WRITE)) as client:
        yield client


def test_a_note_is_there_when_the_page_is_loaded_again(client, own_library):
    address = f"/api/dictionaries/{own_library.narrow}/features/7"
    old = client.get(address)
    note = {"text": "<b>names</b> of rivers\n‮", "star": True, "tags": [" water", "names", "names"]}
    kept = {**note, "tags": ["names", "water"]}
    assert client.put(f"{address}/note", json=note).json() == kept
    tagged = {"If-None-Match": old.headers["etag"]}
    assert client.get(address, headers=tagged).json()["note"] == kept
    assert client.get(f"{address}x").status_code in (404, 422)
    other = client.get(f"/api/dictionaries/{own_library.wide}/features/7")
    assert other.json()["note"] == {"text": "", "star": False, "tags": []}
    with Atlas.open(own_library.atlas, name="resid_post-1-64-topk-4") as atlas:
        assert atlas[7].note.star
    assert client.put(f"{address}/note", json={}).json() == {"text": "", "star": False, "tags": []}
    assert client.get(address).json()["note"]["star"] is False


@pytest.mark.parametrize(
    ("note", "status", "sentence"),
    [
        ({"text": "x" * 20_001}, 422, "at most 20,000 characters"),
        ({"tags": ["a,b"]}, 422, "without commas"),
        ({"tags": [" "]}, 422, "A tag is a word"),
        ({"tags": ["x" * 65]}, 422, "A tag is a word"),
        ({"tags": [f"tag{i}" for i in range(51)]}, 422, "at most 50 tags"),
        ({"colour": "red"}, 422, "'colour' is wrong"),
        ({"text": 3}, 422, "'text' is wrong"),
    ],
)
def test_a_note_that_is_refused_leaves_the_old_one(client, own_library, note, status, sentence):
    address = f"/api/dictionaries/{own_library.narrow}/features/7"
    client.put(f"{address}/note", json={"text": "old"})
    answer = client.put(f"{address}/note", json=note)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]["message"]
    assert client.get(address).json()["note"]["text"] == "old"


def test_half_a_character_is_refused_and_no_defect(client, own_library):
    address = f"/api/dictionaries/{own_library.narrow}/features/7/note"
    for text in (r"\ud800", r"\u0000"):
        headers = {"Content-Type": "application/json"}
        answer = client.put(address, content=f'{{"text": "{text}"}}', headers=headers)
        assert answer.status_code in (200, 422)


def test_notes_of_what_is_not_there_or_cannot_keep_them_are_refused(client, own_library):
    for address, status in (
        (f"{own_library.narrow}/features/64", 404),
        ("nowhere/features/1", 404),
        (f"{own_library.packed_id}/features/1", 403),
    ):
        answer = client.put(f"/api/dictionaries/{address}/note", json={"text": "x"})
        assert answer.status_code == status
        assert answer.json()["error"]["message"]


def test_a_server_that_only_reads_keeps_no_note(own_library):
    app = create_app(ServeSettings(folders=(own_library.root,), read_only=True))
    with closing(TestClient(app, base_url="http://127.0.0.1:8710", headers=WRITE)) as client:
        address = f"/api/dictionaries/{own_library.narrow}/features/7"
        answer = client.put(f"{address}/note", json={"text": "x"})
        assert answer.status_code == 403
        assert not (own_library.root / "notes.sqlite").exists()
