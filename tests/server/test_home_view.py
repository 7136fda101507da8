"""The first page and the grids say what the library lists, also while a suite is still being trained."""

import json
import math
import shutil
from contextlib import closing
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from lmscope.server.app import create_app
from lmscope.server.library.entries import SuiteEntry
from lmscope.server.library.library import Library
from lmscope.server.schemas.home import Grid, Home
from lmscope.server.settings import ServeSettings
from lmscope.server.views.grid import suite_grid
from lmscope.server.views.home import home


@pytest.fixture
def library(small_library):
    with closing(Library([small_library.root])) as library:
        yield library


@pytest.fixture
def own(own_library):
    with closing(Library([own_library.root])) as library:
        yield library


@pytest.fixture
def client(small_library):
    app = create_app(ServeSettings(folders=(small_library.root,)))
    with closing(TestClient(app, base_url="http://127.0.0.1:8710")) as client:
        yield client


def test_the_first_page_lists_all_there_is(library, small_library):
    page = home(library, read_only=True)
    assert page.read_only
    assert page.folders == [str(small_library.root)]
    assert {one.id for one in page.dictionaries} == {
        small_library.narrow,
        small_library.wide,
        small_library.hostile_id,
        small_library.packed_id,
    }
    assert [one.run for one in page.suites] == [small_library.train.name]
    assert (page.suites[0].n_dictionaries, page.suites[0].n_measured) == (2, 2)
    created = [one.created for one in page.runs]
    assert created == sorted(created, reverse=True)
    assert {one.status for one in page.runs} == {"done"}
    by_job = {one.job: one for one in page.runs}
    assert by_job["train"].n_dictionaries == 2
    assert by_job["explain"].n_dictionaries == 0
    assert sum(one.n_dictionaries for one in page.models) == 4
    assert page.problems == []


def test_a_dictionary_in_a_line_says_site_width_and_labels(library, small_library):
    lines = {one.id: one for one in home(library, read_only=False).dictionaries}
    narrow = lines[small_library.narrow]
    assert (narrow.layer, narrow.part, narrow.n_latents) == (1, "resid_post", 64)
    assert narrow.expansion == 64 / 32
    assert narrow.has_atlas
    entry = library.dictionary(small_library.narrow)
    assert narrow.n_labels_known == entry.atlases[0].n_known
    assert lines[small_library.packed_id].status == "atlas only"


def test_an_empty_folder_is_an_empty_page(tmp_path):
    with closing(Library([tmp_path])) as library:
        page = home(library, read_only=False)
    assert (page.runs, page.dictionaries, page.models, page.problems) == ([], [], [], [])


def test_the_grid_of_a_suite_holds_what_is_trained_and_what_is_to_come(library, small_library):
    run = library.run(small_library.train.name)
    waiting = SuiteEntry(
        "late", "resid_post@1", "resid_post@1", 256, "waiting", run.suite[0].figures
    )
    failed = replace(waiting, name="broken", status="failed", problem="The disk is full.")
    grid = suite_grid(library, replace(run, suite=(*run.suite, waiting, failed)))
    assert {one.status for one in grid.dictionaries} == {"measured", "waiting", "failed"}
    assert len({one.id for one in grid.dictionaries}) == 4
    assert [(one.where, one.message) for one in grid.problems] == [("broken", "The disk is full.")]
    assert (grid.kind, grid.status) == ("suite", "done")


def test_a_dictionary_removed_from_a_suite_is_said_to_be(own, own_library):
    shutil.rmtree(own_library.train / "artifacts/dictionaries/resid_post-1-128-topk-4")
    grid = suite_grid(own, own.run(own_library.train.name))
    assert {one.name: one.status for one in grid.dictionaries} == {
        "resid_post-1-64-topk-4": "measured",
        "resid_post-1-128-topk-4": "removed",
    }


def test_figures_that_are_not_finite_are_null_over_http(own_library):
    path = own_library.train / "artifacts/suite.json"
    values = json.loads(path.read_text())
    values["dictionaries"][0] |= {"explained_variance_centred": math.nan, "l0": math.inf}
    path.write_text(json.dumps(values))
    app = create_app(ServeSettings(folders=(own_library.root,)))
    with closing(TestClient(app, base_url="http://127.0.0.1:8710")) as client:
        lines = client.get("/api/home").json()["dictionaries"]
    narrow = next(one for one in lines if one["name"] == values["dictionaries"][0]["name"])
    assert (narrow["explained_variance_centred"], narrow["l0"]) == (None, None)
    assert narrow["dead_fraction"] is not None


def test_pages_over_http_fit_their_types_and_are_not_sent_twice(client, small_library):
    found = client.get("/api/home")
    page = Home.model_validate_json(found.content)
    again = client.get("/api/home", headers={"If-None-Match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    suite = client.get(f"/api/suites/{small_library.train.name}")
    assert len(Grid.model_validate_json(suite.content).dictionaries) == 2
    counts = {}
    for one in page.models:
        grid = Grid.model_validate_json(client.get(f"/api/models/{one.id}").content)
        counts[one.id] = (len(grid.dictionaries), one.n_dictionaries)
    assert all(shown == listed for shown, listed in counts.values())


@pytest.mark.parametrize("address", ["suites/nothing", "models/nothing", "runs/..%2f..%2fetc"])
def test_what_is_not_there_is_not_found(client, address):
    answer = client.get(f"/api/{address}")
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["message"]
