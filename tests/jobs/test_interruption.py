"""The command itself, stopped from outside at a moment that it does not choose."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmscope.cli.main import main
from lmscope.jobs.train import TrainRecipe, train
from lmscope.runs.run import Run

DEADLINE_S = 120
STEPS = 300
CHANGES = ("training.steps=300", "training.checkpoint.every_steps=20", "evaluation.tokens=0")


@pytest.fixture
def started(desk):
    """`lmscope train` in a process of its own, with a checkpoint on disk and most steps before it."""
    words = [word for change in CHANGES for word in ("--set", change)]
    with Path("stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "lmscope", "train", "recipe.toml", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=stderr,
        )
    try:
        yield process, _wait_for_checkpoint(desk / "runs", process)
    finally:
        process.kill()
        process.wait()


def _wait_for_checkpoint(root: Path, process: subprocess.Popen) -> Path:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, Path("stderr").read_text()
        for journal in root.glob("*/events.jsonl"):
            if '"checkpoint"' in journal.read_text():
                return journal.parent
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint after {DEADLINE_S} s")


def _uninterrupted(folder: Path) -> Run:
    recipe = TrainRecipe.from_mapping(Run.open(folder).recipe_values)
    return train(recipe, root="whole")


def _weights(run: Run) -> str:
    (path,) = (run.artifacts / "dictionaries").glob("*/manifest.json")
    return json.loads(path.read_text())["files"]["weights.safetensors"]


def _resume_and_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(folder)]) == 0
    assert capsys.readouterr().err.count("Traceback") == 0
    resumed, whole = Run.open(folder), _uninterrupted(folder)
    assert resumed.status == "done"
    assert "rewound" in [event["event"] for event in resumed.events()]
    assert _weights(resumed) == _weights(whole)
    assert (folder / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


def test_kill_9_in_mid_run_loses_only_the_steps_since_the_last_checkpoint(started, capsys):
    process, folder = started
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert Run.open(folder).status == "interrupted"
    assert not (folder / "artifacts" / "dictionaries").exists(), "it was killed in mid-run"
    _resume_and_compare(folder, capsys)


def test_sigterm_saves_and_says_how_to_go_on(started, capsys):
    process, folder = started
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 130
    said = Path("stderr").read_text().splitlines()
    assert said[-1] == f"Interrupted. Go on with: lmscope train --resume runs/{folder.name}"
    assert not any("Traceback" in line for line in said)
    events = Run.open(folder).events()
    assert events[-1]["event"] == "interrupted"
    saved = [event["step"] for event in events if event["event"] == "checkpoint"][-1]
    assert (folder / "checkpoints" / f"step-{saved:08d}").is_dir()
    assert saved < STEPS
    _resume_and_compare(folder, capsys)


DIES_WHILE_SAVING = """
import os, signal, sys
import lmscope.core.files as files
sync = files._sync
def die(path):
    if "step-00000040" in str(path) and path.name == "state.json":
        os.kill(os.getpid(), signal.SIGKILL)
    sync(path)
files._sync = die
from lmscope.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.e2e
def test_kill_9_in_the_midst_of_a_checkpoint_leaves_the_one_before(desk, capsys):
    words = [word for change in CHANGES for word in ("--set", change)]
    command = [sys.executable, "-c", DIES_WHILE_SAVING, "train", "recipe.toml", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    (folder,) = (desk / "runs").iterdir()
    left = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert left[-1] == "step-00000020"
    assert any(name.endswith(".part") for name in left), "it was killed while writing"
    _resume_and_compare(folder, capsys)
