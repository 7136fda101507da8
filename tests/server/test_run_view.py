"""The page of a run, its curves, and the stream that tells what is new."""

import asyncio
import json
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.server.app import create_app
from lmscope.server.context import Context
from lmscope.server.failures import NotFound
from lmscope.server.library.journals import Curve
from lmscope.server.library.library import Library
from lmscope.server.schemas.run import Curves, LiveUpdate, RunPage
from lmscope.server.settings import ServeSettings
from lmscope.server.views import stream as streams
from lmscope.server.views.curves import lines, thin
from lmscope.server.views.run import curves, run_page
from lmscope.server.views.stream import QUIET_S, Watch, updates


@pytest.fixture
def library(small_library):
    with closing(Library([small_library.root])) as library:
        yield library


@pytest.fixture
def client(small_library):
    app = create_app(ServeSettings(folders=(small_library.root,)))
    with closing(TestClient(app, base_url="http://127.0.0.1:8710")) as client:
        yield client


@pytest.fixture
def running(tmp_path):
    """A run that goes on, and the library that shows it."""
    recipe = Recipe(job="train", name="live")
    with (
        Run.create(tmp_path / "runs", recipe, name="live") as run,
        closing(Library([tmp_path / "runs"])) as library,
    ):
        yield run, library


def test_the_page_of_a_run_says_what_the_run_says(library, small_library):
    run = Run.open(small_library.train)
    page = run_page(library, library.run(small_library.train.name))
    assert page.results == run.results()
    assert page.recipe == run.recipe_values
    assert page.machine == run.record.machine.to_mapping()
    assert page.elapsed_s == run.record.elapsed_s
    assert [one.event for one in page.events] == [row["event"] for row in run.events()]
    assert page.events[0].fields["folder"] == run.events()[0]["folder"]
    assert {one.id for one in page.dictionaries} == {small_library.narrow, small_library.wide}
    assert page.n_steps == 30
    last = run.metrics_rows()[-1]
    assert page.last_metrics["lr"] == last["lr"]
    assert set(page.metric_names) == set(last) - {"step"}
    assert "dictionaries/resid_post-1-64-topk-4" in page.artifacts
    assert "suite.json" in page.artifacts


def test_commands_of_a_run_name_its_folder_and_its_own_verb(library, small_library):
    page = run_page(library, library.run(small_library.atlas.name))
    shell = [one.text for one in page.provenance.snippets if one.language == "shell"]
    assert f"lmscope runs show {small_library.atlas} --json" in shell
    assert f"lmscope atlas build {small_library.atlas}/recipe.toml" in shell
    assert not any("--resume" in text for text in shell)


def test_python_of_a_run_runs(library, small_library, capsys):
    page = run_page(library, library.run(small_library.train.name))
    (python,) = [one.text for one in page.provenance.snippets if one.language == "python"]
    exec(python, {})
    assert capsys.readouterr().out.startswith("done {'resid_post-1-64-topk-4'")


def test_a_failed_run_says_why_and_how_to_go_on(tmp_path):
    recipe = Recipe(job="train", name="a b")
    with pytest.raises(ValueError, match="broken"), Run.create(tmp_path, recipe, name="failed"):
        raise ValueError("broken")
    with closing(Library([tmp_path])) as library:
        page = run_page(library, library.run("failed"))
    assert (page.status, page.error) == ("failed", "ValueError: broken")
    assert f"lmscope train --resume {tmp_path}/failed" in [
        one.text for one in page.provenance.snippets
    ]


def test_curves_are_those_of_the_file(library, small_library):
    run = library.run(small_library.train.name)
    rows = Run.open(run.path).metrics_rows()
    found = curves(library, run, [], 800)
    assert found.step == rows[-1]["step"]
    for line in found.lines:
        assert line.x == [row["step"] for row in rows]
        assert line.y == [row[line.name] for row in rows]
    (only,) = curves(library, run, ["lr"], 800).lines
    assert only.name == "lr"
    with pytest.raises(NotFound, match="Did you mean lr"):
        curves(library, run, ["lrr"], 800)


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=400),
    st.integers(10, 60),
)
def test_thinned_curves_keep_ends_and_extremes_and_are_short(values, points):
    curve = Curve(np.arange(len(values), dtype=np.int64) * 7, np.array(values))
    thinned = thin(curve, points)
    assert len(thinned.x) <= points or len(thinned.x) == len(values)
    assert (np.diff(thinned.x) > 0).all()
    assert (thinned.x[0], thinned.x[-1]) == (curve.x[0], curve.x[-1])
    np.testing.assert_array_equal(thinned.y, curve.y[thinned.x // 7])
    if np.isfinite(curve.y).any():
        assert np.nanmax(thinned.y) == np.nanmax(curve.y)
        assert np.nanmin(thinned.y) == np.nanmin(curve.y)


def test_a_watcher_is_told_what_is_new_and_nothing_twice(running):
    run, library = running
    run.metrics(1, {"loss": 3.0, "lr": 0.1})
    watch = Watch(0)
    first = watch.look(library, library.run("live"), 0.0)
    assert (first.status, first.step, first.events) == ("running", 1, [])
    assert [(one.name, one.x) for one in first.lines] == [("loss", [1.0]), ("lr", [1.0])]
    assert watch.look(library, library.run("live"), 0.5) is None
    run.metrics(2, {"loss": float("nan"), "lr": 0.1})
    run.event("checkpoint", step=2)
    second = watch.look(library, library.run("live"), 1.0)
    assert [(one.x, one.y) for one in second.lines] == [([2.0], [None]), ([2.0], [0.1])]
    assert [one.event for one in second.events] == ["checkpoint"]
    assert watch.look(library, library.run("live"), 1.0 + QUIET_S) is not None


def test_a_watcher_of_some_metrics_hears_of_no_others(running):
    run, library = running
    run.metrics(1, {"loss": 3.0, "lr": 0.1})
    watch = Watch(0, ["lr", "not yet there"])
    assert [one.name for one in watch.look(library, library.run("live"), 0.0).lines] == ["lr"]


def test_a_watcher_is_told_rate_and_time_left_of_training(running):
    run, library = running
    run.event("phase", phase="train", n_steps=100)
    watch = Watch(0)
    for second in range(3):
        run.metrics(10 * second, {"loss": 1.0})
        update = watch.look(library, library.run("live"), float(second))
    assert (update.phase, update.done, update.total) == ("train", 20, 100)
    assert update.rate == pytest.approx(10.0)
    assert update.left_s == pytest.approx(8.0)
    run.event("phase", phase="evaluate")
    update = watch.look(library, library.run("live"), 4.0)
    assert (update.phase, update.done, update.rate, update.left_s) == ("evaluate", None, None, None)


def parsed(data):
    name, _, rest = data.decode().partition("\n")
    return name.removeprefix("event: "), json.loads(rest.removeprefix("data: "))


def test_a_stream_follows_a_run_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "POLL_S", 0.0)
    context = Context.of(ServeSettings(folders=(tmp_path,)))
    monkeypatch.setattr("lmscope.server.context.REFRESH_S", 0.0)

    async def follow():
        told = []
        with Run.create(tmp_path, Recipe(job="train", name="live"), name="live") as run:
            run.metrics(1, {"loss": 1.0})
            await context.refresh()
            stream = updates(context, "live", 0)
            told.append(parsed(await anext(stream)))
            run.metrics(2, {"loss": 0.5})
            told.append(parsed(await anext(stream)))
        told += [parsed(one) async for one in stream]
        return told

    told = asyncio.run(follow())
    assert [name for name, _ in told] == ["update"] * (len(told) - 1) + ["end"]
    first, second, *_, last = [LiveUpdate.model_validate(data) for name, data in told[:-1]]
    assert (first.lines[0].x, second.lines[0].x) == ([1.0], [2.0])
    assert last.status == "done"
    assert "done" in [one["event"] for _, data in told[:-1] for one in data["events"]]


def test_a_stream_of_a_run_that_is_removed_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "POLL_S", 0.0)
    monkeypatch.setattr("lmscope.server.context.REFRESH_S", 0.0)
    context = Context.of(ServeSettings(folders=(tmp_path,)))

    async def follow():
        with Run.create(tmp_path, Recipe(job="train", name="live"), name="live") as run:
            await context.refresh()
            stream = updates(context, "live", 0)
            await anext(stream)
            run.path.rename(tmp_path / ".gone")
            told = [parsed(one) async for one in stream]
            (tmp_path / ".gone").rename(run.path)
        return told

    name, data = asyncio.run(follow())[-1]
    assert name == "end"
    assert "removed" in data["message"]


def test_pages_of_runs_over_http_fit_their_types(client, small_library):
    for path in (small_library.train, small_library.atlas, small_library.hostile):
        answer = client.get(f"/api/runs/{path.name}")
        assert RunPage.model_validate_json(answer.content).id == path.name
    answer = client.get(f"/api/runs/{small_library.train.name}/curves", params={"points": 10})
    assert all(len(one.x) <= 10 for one in Curves.model_validate_json(answer.content).lines)
    assert client.get("/api/runs/nothing/curves").status_code == 404
    assert client.get("/api/runs/nothing/stream").status_code == 404


def test_the_stream_of_a_run_that_is_done_ends_at_once(client, small_library):
    answer = client.get(f"/api/runs/{small_library.train.name}/stream", params={"after": 25})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [parsed(one.encode()) for one in answer.text.split("\n\n") if one]
    assert [name for name, _ in told] == ["update", "end"]
    assert all(one["x"] == [30.0] for one in told[0][1]["lines"])


def test_many_lines_have_fewer_points_each(running):
    run, library = running
    for step in range(1, 2001):
        run.metrics(step, {"loss": float(step)})
    metrics, _ = library.journals.of(run.path)
    (line,) = lines(metrics, [], 100)
    assert len(line.x) <= 100
    assert (line.x[0], line.x[-1]) == (1.0, 2000.0)
