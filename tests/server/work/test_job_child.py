"""The work of a job's process, in this process; and one job through the addresses, in its own."""

import asyncio
import json
from contextlib import closing

import pytest
from starlette.testclient import TestClient

from lmscope.core.errors import LmscopeError
from lmscope.runs.run import Run
from lmscope.server.app import create_app
from lmscope.server.schemas.work import JobLine, Jobs
from lmscope.server.settings import ServeSettings
from lmscope.server.work.child import EVERY_S, JOBS, Teller, do
from lmscope.server.work.order import COMMANDS


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def ordered(small_library, root, **changes) -> dict:
    return {
        "verb": "geometry",
        "values": {"dictionaries": [str(small_library.train)], "analyses": ["statistics"]},
        "root": str(root),
        "resume": None,
        **changes,
    }


def test_every_verb_of_an_order_has_its_job():
    assert set(JOBS) == set(COMMANDS)


def test_a_job_makes_its_run_and_says_how_far_it_is(small_library, tmp_path):
    said = []
    do(ordered(small_library, tmp_path), said.append)
    (folder,) = tmp_path.iterdir()
    assert said[0] == {"run": str(folder)}
    assert {"phase": "compare", "done": None, "total": None, "rate": None, "left_s": None} in said
    assert said[-1]["done"] == said[-1]["total"] == 2
    assert Run.open(folder).status == "done"


def test_what_cannot_be_done_is_a_sentence_and_leaves_no_run(small_library, tmp_path):
    wrong = ordered(small_library, tmp_path, values={"dictionaries": [str(tmp_path)]})
    with pytest.raises(LmscopeError, match="holds no dictionary"):
        do(wrong, lambda _values: None)
    unknown = ordered(small_library, tmp_path, values={"dictionary": "x"})
    with pytest.raises(LmscopeError, match="'dictionary' is not an option"):
        do(unknown, lambda _values: None)
    assert not list(tmp_path.iterdir())


def test_progress_has_a_rate_since_its_phase_began_and_the_time_left():
    said, clock = [], Clock()
    teller = Teller(said.append, clock)
    teller.on_event("phase", {"phase": "train"})
    teller.on_progress("train", 0, 100, {})
    clock.now += 2
    teller.on_progress("train", 20, 100, {})
    assert said[-1] == {"phase": "train", "done": 20, "total": 100, "rate": 10.0, "left_s": 8.0}
    clock.now += 1
    teller.on_progress("train", 30, None, {})
    assert said[-1] == {
        "phase": "train",
        "done": 30,
        "total": None,
        "rate": 10.0,
        "left_s": None,
    }


def test_a_phase_that_is_resumed_counts_from_where_it_went_on():
    said, clock = [], Clock()
    teller = Teller(said.append, clock)
    teller.on_progress("train", 50, 100, {})
    clock.now += 5
    teller.on_progress("train", 60, 100, {})
    assert (said[-1]["rate"], said[-1]["left_s"]) == (2.0, 20.0)


def test_progress_is_told_a_few_times_a_second_and_at_the_end_of_a_phase():
    said, clock = [], Clock()
    teller = Teller(said.append, clock)
    for done in range(1, 101):
        clock.now += EVERY_S / 10
        teller.on_progress("train", done, 100, {})
    assert 10 <= len(said) <= 13
    assert said[-1]["done"] == 100


def test_a_job_through_the_addresses(own_library):
    app = create_app(ServeSettings(folders=(own_library.root,)))
    headers = {"X-Lmscope": "1"}
    body = {
        "verb": "geometry",
        "run": own_library.train.name,
        "options": {"analyses": ["statistics"]},
    }
    with closing(TestClient(app, base_url="http://127.0.0.1:8710", headers=headers)) as client:
        try:
            answer = client.post("/api/jobs", json=body)
            assert answer.status_code == 202
            job = JobLine.model_validate(answer.json())
            events = client.get(f"/api/jobs/{job.id}/stream").text.split("\n\n")
            told = [JobLine(**json.loads(one.split("data: ")[1])) for one in events[:-2]]
            assert events[-2].startswith("event: end")
            assert told[-1].state == "done", told[-1].message
            app.state.context.library.refresh()
            line = client.get(f"/api/jobs/{job.id}").json()
            assert client.get(f"/api/runs/{line['run']}").json()["status"] == "done"
            listed = Jobs.model_validate(client.get("/api/jobs").json())
            assert [one.id for one in listed.jobs] == [job.id]
            assert "scope-smollm2" in listed.recipes
            assert client.delete(f"/api/jobs/{job.id}").json()["state"] == "done"
            for path in ("/api/jobs/9", "/api/jobs/9/stream"):
                assert client.get(path).status_code == 404
            refused = client.post("/api/jobs", json={"verb": "evaluate"})
            assert refused.status_code == 422
        finally:
            asyncio.run(app.state.context.close())
