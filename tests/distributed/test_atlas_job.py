"""`lmscope atlas build` shared by processes and killed: the bytes of the atlas are those of one process."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmscope.jobs.atlas import AtlasRecipe, build_atlas
from lmscope.jobs.train import TrainRecipe, train
from lmscope.models.miniature import miniature
from lmscope.runs.listing import list_runs
from lmscope.runs.run import Run

pytestmark = pytest.mark.distributed
DEADLINE_S = 120
TRAINING = {
    "model": {"name": "model", "device": "cpu"},
    "text": {"source": "text.jsonl", "context_length": 32, "held_out_fraction": 0.3},
    "dictionary": {
        "sites": ["resid_post@1", "mlp_out@1"],
        "n_latents": [64],
        "sparsity": [{"kind": "topk", "k": 4}, {"kind": "relu"}],
    },
    "stream": {
        "batch_tokens": 64,
        "block_contexts": 8,
        "forward_contexts": 4,
        "calibration_tokens": 512,
    },
    "training": {"steps": 20},
    "evaluation": {"tokens": 0},
}
ATLAS = """
job = "atlas"
dictionary = "{dictionary}"
[census]
tokens = 12000
batch_tokens = 64
shard_tokens = 256
calibration_tokens = 512
[options]
n_top = 4
n_each = 2
stretch = 8
n_silent = 4
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with a model, a text, a run of four dictionaries and the recipe of their atlases."""
    folder = tmp_path_factory.mktemp("shelf")
    model = miniature("llama")
    model.hf.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    draw = random.Random(0)
    texts = ["".join(draw.choices("etaoin shrdlu.", k=300)) for _ in range(50)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained = train(TrainRecipe.from_mapping(TRAINING), root="trained")
    (folder / "atlas.toml").write_text(ATLAS.format(dictionary=trained.path))
    return folder


@pytest.fixture(scope="module")
def alone(shelf):
    """The bytes of what one process builds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shelf)
        return artifacts(build_atlas(AtlasRecipe.load("atlas.toml"), root="alone"))


def artifacts(run: Run) -> dict[str, bytes]:
    files = sorted(path for path in run.artifacts.rglob("*") if path.is_file())
    return {str(path.relative_to(run.artifacts)): path.read_bytes() for path in files}


def start(shelf, *words, n=1) -> subprocess.Popen:
    several = ["-m", "torch.distributed.run", "--nproc-per-node", str(n)]
    several += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    python = [sys.executable, *(several if n > 1 else []), "-m", "lmscope", "atlas", "build"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (shelf / "stderr").open("w") as stderr:
        return subprocess.Popen(
            [*python, *words],
            cwd=shelf,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )


def finished(shelf, process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, (shelf / "stderr").read_text()
    return output


def kill_when(shelf, process: subprocess.Popen, pattern: str) -> Path:
    """SIGKILL to the command and all it started, once a file of the run fits; the run's folder."""
    deadline = time.monotonic() + DEADLINE_S
    try:
        while time.monotonic() < deadline:
            assert process.poll() is None, (shelf / "stderr").read_text()
            if found := next(shelf.glob(pattern), None):
                return shelf.joinpath(*found.relative_to(shelf).parts[:2])
            time.sleep(0.001)
        raise AssertionError(f"no {pattern} after {DEADLINE_S} s")
    finally:
        for pid in (process.pid, *workers(process.pid)):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def workers(pid: int) -> list[int]:
    """The processes that torchrun started, each in a session of its own."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def only_run(folder) -> Run:
    (entry,) = list_runs(folder)
    assert entry.run is not None
    return entry.run


def test_two_processes_build_the_atlases_of_one(shelf, alone):
    output = finished(shelf, start(shelf, "atlas.toml", "--runs-dir", "two", "--json", n=2))
    assert output.count('"atlases"') == 1  # the first process alone talks
    run = only_run(shelf / "two")
    assert run.status == "done"
    assert not (run.path / "census").exists()
    assert sum(path.endswith("census.sqlite") for path in alone) == 4
    assert artifacts(run) == alone


def test_a_killed_census_goes_on_with_other_processes_and_ends_in_equal_bytes(
    shelf, alone, monkeypatch
):
    process = start(shelf, "atlas.toml", "--runs-dir", "killed", n=2)
    folder = kill_when(
        shelf, process, "killed/*/census/shards/mlp_out-1-64-relu/firings-*[1-9]*.safetensors"
    )
    assert Run.open(folder).status == "interrupted"
    spilled = list(folder.glob("census/shards/*/firings-*.safetensors"))
    assert 0 < len(spilled) < 4 * 12000 // 256
    again = kill_when(
        shelf, start(shelf, "--resume", str(folder)), "killed/*/artifacts/atlas/[!.]*/census.sqlite"
    )
    assert again == folder
    assert len(list(folder.glob("artifacts/atlas/[!.]*"))) < 4
    monkeypatch.chdir(shelf)
    assert artifacts(build_atlas(AtlasRecipe.load("atlas.toml"), resume=folder)) == alone
