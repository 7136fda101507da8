import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from lmscope.core.errors import DataError, RunError
from lmscope.core.protocols import Listener
from lmscope.runs.followed import FollowedRun
from lmscope.runs.lock import is_locked
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run, differences


class Small(Recipe):
    job: str = "small"
    name: str = "tiny one"
    size: int = 3


class Ear:
    def __init__(self, fails=False):
        self.heard, self.fails = [], fails

    def _hear(self, *arguments):
        self.heard.append(arguments)
        if self.fails:
            raise ValueError("deaf")

    on_event = on_metrics = on_progress = _hear


def tree(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", [Run.open, FollowedRun.of])
def test_a_run_that_ended_after_it_was_opened_was_not_interrupted(tmp_path, kind):
    """Of several processes the others may ask when the first one has already ended the run."""
    with Run.create(tmp_path, Small()) as run:
        seen = kind(run.path)
        assert seen.status == "running"
    assert seen.status == "done"


def test_a_new_run_has_all_its_parts(tmp_path):
    with Run.create(tmp_path, Small()) as run:
        run.metrics(1, {"loss": 2.0})
        assert Run.open(run.path).status == "running"
    assert {p.name for p in run.path.iterdir()} == {
        "recipe.toml", "run.json", "events.jsonl", "metrics.jsonl", "checkpoints", "artifacts"
    }  # fmt: skip
    seen = Run.open(run.path)
    assert seen.status == "done"
    assert [event["event"] for event in seen.events()] == ["started", "done"]
    assert seen.metrics_rows() == [{"step": 1, "loss": 2.0}]
    assert seen.recipe_values == {"job": "small", "name": "tiny one", "seed": 0, "size": 3}
    assert seen.record.machine.versions["torch"]
    assert os.uname().nodename not in (run.path / "run.json").read_text()


def test_runs_made_within_one_second_have_different_folders(tmp_path):
    runs = [Run.create(tmp_path, Small()) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert all("tiny-one" in run.path.name for run in runs)
    for run in runs:
        run.close()


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", ""])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path, name):
    with pytest.raises(RunError, match="cannot name a run folder"):
        Run.create(tmp_path, Small(), name=name)


def test_a_taken_name_is_refused(tmp_path):
    Run.create(tmp_path, Small(), name="mine").close()
    with pytest.raises(RunError, match="exists already"):
        Run.create(tmp_path, Small(), name="mine")


def test_nothing_is_written_after_done(tmp_path):
    with Run.create(tmp_path, Small()) as run:
        pass
    before = tree(run.path)
    for write in (
        lambda: run.event("x"),
        lambda: run.metrics(1, {}),
        run.sync,
        lambda: run.rewind(0),
        lambda: run.note_weights({"m": "0"}),
        lambda: Run.resume(run.path),
    ):
        with pytest.raises(RunError, match="is done"):
            write()
    assert tree(run.path) == before


def test_a_view_cannot_write(tmp_path):
    with Run.create(tmp_path, Small()) as run, pytest.raises(RunError, match="for reading only"):
        Run.open(run.path).event("x")


def test_a_second_writer_is_refused_by_the_number_of_the_first(tmp_path):
    with Run.create(tmp_path, Small()) as run:
        with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
            Run.resume(run.path)
        assert is_locked(run.path)


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (DataError("Too short."), "failed", "Too short."),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_how_a_run_ended_is_recorded(tmp_path, error, status, sentence):
    with pytest.raises(type(error)), Run.create(tmp_path, Small()) as run:
        raise error
    seen = Run.open(run.path)
    assert (seen.status, seen.record.error) == (status, sentence)
    assert not is_locked(run.path)


KILLED = """
import os, signal, sys
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
class Small(Recipe):
    job: str = "small"
    name: str = "tiny one"
    size: int = 3
with Run.create(sys.argv[1], Small(), name="killed") as run:
    for step in range(5):
        run.metrics(step, {"loss": 1.0 / (step + 1)})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_resumes_without_the_lines_after_its_checkpoint(tmp_path):
    result = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert result.returncode == -signal.SIGKILL
    path = tmp_path / "killed"
    assert json.loads((path / "run.json").read_text())["status"] == "running"
    assert Run.open(path).status == "interrupted"
    assert len(Run.open(path).metrics_rows()) == 5
    with Run.resume(path, Small(name="another label")) as run:
        assert (path / "metrics.jsonl").read_text().endswith("}\n")
        run.rewind(2)
        run.metrics(3, {"loss": 9.0})
    assert [row["step"] for row in run.metrics_rows()] == [0, 1, 2, 3]
    assert [row["event"] for row in run.events()] == ["started", "resumed", "rewound", "done"]
    assert run.record.n_resumed == 1


def test_another_recipe_cannot_resume_and_says_where_it_differs(tmp_path):
    run = Run.create(tmp_path, Small())
    run.close()
    with pytest.raises(RunError, match="size was 3 and now is 4"):
        Run.resume(run.path, Small(size=4))
    Run.resume(run.path, Small()).close()


def test_an_edited_recipe_cannot_resume(tmp_path):
    run = Run.create(tmp_path, Small())
    run.close()
    (run.path / "recipe.toml").write_text(Small(size=4).to_toml())
    with pytest.raises(RunError, match="was edited"):
        Run.resume(run.path)
    assert not is_locked(run.path)


def test_elapsed_time_adds_up_over_resumptions(tmp_path):
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path, Small()) as run:  # noqa: PT012
        run.sync()
        raise KeyboardInterrupt
    first = Run.open(run.path).record.elapsed_s
    with Run.resume(run.path) as again:
        again.sync()
        again.sync()
    assert again.record.elapsed_s >= first


def test_a_run_is_a_listener_and_passes_everything_on(tmp_path):
    ear = Ear()
    with Run.create(tmp_path, Small()) as run:
        assert isinstance(run, Listener)
        run.listen(ear)
        run.event("saved", step=3)
        run.metrics(3, {"loss": 1.0})
        run.progress("train", 3, 9, rate=2.0)
    assert ear.heard == [
        ("saved", {"step": 3}), (3, {"loss": 1.0}), ("train", 3, 9, {"rate": 2.0}), ("done", {})
    ]  # fmt: skip


def test_a_listener_that_fails_is_heard_of_once_and_ends_nothing(tmp_path, caplog):
    bad, good = Ear(fails=True), Ear()
    with Run.create(tmp_path, Small()) as run:
        run.listen(bad)
        run.listen(good)
        for step in range(3):
            run.metrics(step, {"loss": 1.0})
    assert run.status == "done"
    assert len(bad.heard) == 1
    assert sum(row["event"] == "listener_failed" for row in run.events()) == 1
    assert [heard[0] for heard in good.heard] == ["listener_failed", 0, 1, 2, "done"]
    assert len(caplog.records) == 1


def test_a_full_disk_fails_the_run_with_its_sentence_and_keeps_what_was_there(
    tmp_path, monkeypatch
):
    def full(handle, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    real = os.write
    with Run.create(tmp_path, Small()) as run:
        run.metrics(1, {"loss": 1.0})
        monkeypatch.setattr(os, "write", lambda handle, line: real(handle, line[:3]))
        with pytest.raises(RunError, match="The disk is full"):
            run.metrics(2, {"loss": 1.0})
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(RunError, match="The disk is full"):
            run.event("saved")
        monkeypatch.undo()
        run.metrics(3, {"loss": 1.0})
    assert [row["step"] for row in run.metrics_rows()] == [1, 3]
    assert [row["event"] for row in run.events()] == ["started", "done"]


def test_what_is_no_run_says_so(tmp_path):
    with pytest.raises(RunError, match="is no run"):
        Run.open(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "damaged"), ("[]", "damaged"), ("{}", "damaged"), ('{"format_version": 99}', "upgrade")],
)
def test_a_record_that_cannot_be_read_says_why(tmp_path, text, words):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=words):
        Run.open(tmp_path)


def test_differences_name_nested_keys():
    a, b = {"x": {"y": 1, "z": 2}}, {"x": {"y": 1, "z": 3}, "w": 0}
    assert differences(a, b) == {"x.z": (2, 3), "w": (None, 0)}


def test_a_rewind_may_keep_what_comes_after_a_stretch(tmp_path):
    run = Run.create(tmp_path, Small())
    with run:
        for step in range(6):
            run.metrics(step, {"loss": 1.0})
        run.rewind(1, until=3)  # steps 2 and 3 are taken again; 4 and 5 are of another group
    assert [row["step"] for row in run.metrics_rows()] == [0, 1, 4, 5]
