"""Metrics and events of a run: each look reads only what is new, whatever the writer does meanwhile."""

import json

import numpy as np
import pytest

from lmscope.server.library.journals import EVENTS_KEPT, Events, Journals, Metrics


def append(path, *rows, end="\n"):
    with path.open("a") as file:
        file.write("\n".join(json.dumps(row) for row in rows) + end)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_a_run_without_metrics_has_none(file):
    metrics = Metrics(file)
    metrics.refresh()
    assert (metrics.names, metrics.step) == ([], 0)
    with pytest.raises(KeyError):
        metrics.curve("loss")


def test_points_come_as_they_are_written(file):
    metrics = Metrics(file)
    append(file, {"step": 1, "loss": 3.0, "lr": 0.1})
    metrics.refresh()
    append(file, {"step": 2, "loss": 2.0, "lr": 0.2})
    metrics.refresh()
    assert metrics.names == ["loss", "lr"]
    assert metrics.step == 2
    assert metrics.curve("loss").x.tolist() == [1, 2]
    assert metrics.curve("lr").y.tolist() == [0.1, 0.2]
    assert metrics.curve("loss", after=1).y.tolist() == [2.0]


def test_a_line_that_is_half_written_waits_for_its_end(file):
    metrics = Metrics(file)
    append(file, {"step": 1, "loss": 3.0})
    append(file, {"step": 2, "loss": 2.0}, end="")
    metrics.refresh()
    assert metrics.step == 1
    append(file, end="\n")
    metrics.refresh()
    assert metrics.curve("loss").y.tolist() == [3.0, 2.0]


@pytest.mark.parametrize("steps", [[1], [1, 20, 300, 4000]])
def test_a_file_written_anew_is_read_from_its_start(file, steps):
    metrics = Metrics(file)
    append(file, {"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0})
    metrics.refresh()
    other = file.with_name("other")
    append(other, *({"step": step, "loss": 3.0} for step in steps))
    other.replace(file)
    metrics.refresh()
    assert metrics.step == steps[-1]
    assert metrics.curve("loss").x.tolist() == steps


def test_a_file_that_is_gone_leaves_nothing_behind(file):
    metrics = Metrics(file)
    append(file, {"step": 1, "loss": 3.0})
    metrics.refresh()
    file.unlink()
    metrics.refresh()
    assert metrics.names == []


def test_metrics_of_groups_are_each_in_the_order_of_steps(file):
    metrics = Metrics(file)
    append(file, {"step": 1, "a": 1.0}, {"step": 11, "b": 5.0}, {"step": 2, "a": 2.0})
    append(file, {"step": 3, "a": 3.0, "b": 6.0})
    metrics.refresh()
    assert metrics.curve("a").x.tolist() == [1, 2, 3]
    assert metrics.curve("b").x.tolist() == [3, 11]
    assert metrics.curve("b").y.tolist() == [6.0, 5.0]


def test_what_was_not_finite_is_kept_as_a_gap(file):
    metrics = Metrics(file)
    append(file, {"step": 1, "loss": None}, {"step": 2, "loss": 1.0, "note": "text", "step2": []})
    metrics.refresh()
    assert np.isnan(metrics.curve("loss").y[0])
    assert metrics.names == ["loss"]


def test_damaged_lines_are_left_out(file):
    metrics = Metrics(file)
    file.write_bytes(b'{"step": 1, "loss": 3.0}\n\xff\xfe broken\n[1]\n{"step": 2, "loss": 2.0}\n')
    metrics.refresh()
    assert metrics.curve("loss").x.tolist() == [1, 2]


def test_events_keep_the_last_and_the_sum_of_all(tmp_path):
    file = tmp_path / "events.jsonl"
    events = Events(file)
    append(file, {"event": "phase", "phase": "train", "n_steps": 40})
    append(file, {"event": "result", "name": "a", "figures": {"l0": 4.0}})
    append(file, *({"event": "checkpoint", "step": i} for i in range(EVENTS_KEPT + 5)))
    append(file, {"event": "phase", "phase": "evaluate"})
    events.refresh()
    assert (events.n, len(events.kept)) == (EVENTS_KEPT + 8, EVENTS_KEPT)
    assert events.results == {"a": {"l0": 4.0}}
    assert events.phase["phase"] == "evaluate"
    assert events.n_steps == 40
    assert [one["event"] for one in events.since(events.n - 2)] == ["checkpoint", "phase"]
    assert events.since(events.n) == []
    assert len(events.since(0)) == EVENTS_KEPT


def test_the_runs_looked_at_last_are_remembered(tmp_path):
    journals = Journals()
    first, _ = journals.of(tmp_path / "0")
    assert journals.of(tmp_path / "0")[0] is first
    for i in range(1, 9):
        journals.of(tmp_path / str(i))
    assert journals.of(tmp_path / "0")[0] is not first
