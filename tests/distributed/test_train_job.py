"""`lmscope train` under torchrun: the same run as of one process, however the processes share it."""

import json
import os
import random
import subprocess
import sys

import pytest

from lmscope.jobs.suite import read_suite
from lmscope.models.miniature import miniature
from lmscope.runs.listing import list_runs
from lmscope.runs.run import Run

pytestmark = pytest.mark.distributed
RECIPE = """
job = "train"
[model]
name = "model"
device = "cpu"
[text]
source = "text.jsonl"
context_length = 32
held_out_fraction = 0.3
[dictionary]
sites = ["resid_post@1", "mlp_out@1"]
n_latents = [64]
sparsity = [{ kind = "topk", k = 4 }, { kind = "batchtopk", k = 4 }]
[stream]
batch_tokens = 64
passes = 3
block_contexts = 8
forward_contexts = 4
[training]
steps = 40
log_every = 1
[evaluation]
tokens = 1000
scored_tokens = 500
baseline_tokens = 500
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shelf")
    model = miniature("llama")
    model.hf.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    draw = random.Random(0)
    texts = ["".join(draw.choices("etaoin shrdlu.", k=300)) for _ in range(40)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def lmscope(shelf, *words, n=1):
    several = ["-m", "torch.distributed.run", "--nproc-per-node", str(n)]
    several += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    start = [sys.executable, *(several if n > 1 else []), "-m", "lmscope", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        start, cwd=shelf, env=environment, capture_output=True, text=True, check=False
    )


def only_run(folder) -> Run:
    (entry,) = list_runs(folder)
    assert entry.run is not None
    return entry.run


@pytest.fixture(scope="module")
def alone(shelf):
    done = lmscope(shelf, "train", "recipe.toml", "--runs-dir", "alone")
    assert done.returncode == 0, done.stderr
    return only_run(shelf / "alone")


def test_processes_on_two_axes_make_the_run_of_one(shelf, alone):
    words = ["--runs-dir", "several", "--mesh", "latent=2,site=2"]
    done = lmscope(shelf, "train", "recipe.toml", *words, n=4)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 dictionaries: 4 measured") == 1  # the first process alone talks
    run = only_run(shelf / "several")
    assert run.status == "done"
    for ours, theirs in zip(run.metrics_rows(), alone.metrics_rows(), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    figures = {row.name: row for row in read_suite(alone.path)}
    for row in read_suite(run.path):
        expected = figures[row.name]
        assert (row.status, row.n_tokens) == ("measured", expected.n_tokens)
        assert row.l0 == pytest.approx(expected.l0, abs=0.02)
        found, wanted = row.explained_variance_centred, expected.explained_variance_centred
        assert found == pytest.approx(wanted, abs=1e-3)
    assert run.results().keys() == alone.results().keys()


def test_a_run_of_two_goes_on_alone_after_a_stop(shelf, alone):
    words = ["--runs-dir", "stopped", "--set", "training.checkpoint.every_steps=10"]
    started = lmscope(shelf, "train", "recipe.toml", *words, "--set", "training.steps=40", n=2)
    assert started.returncode == 0, started.stderr
    run = only_run(shelf / "stopped")
    # As if all processes had been killed after the last checkpoint but before anything was saved.
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**record, "status": "running"}))
    for folder in ("dictionaries", "health"):
        for path in (run.artifacts / folder).iterdir():
            path.rename(path.with_name(f".{path.name}"))
    newest = sorted(run.checkpoints.glob("step-*"))[-1]
    newest.rename(newest.with_name(".newest"))
    went_on = lmscope(shelf, "train", "--resume", str(run.path))
    assert went_on.returncode == 0, went_on.stderr
    steps = [row["step"] for row in Run.open(run.path).metrics_rows()]
    assert steps == list(range(1, 41))


def test_wrong_numbers_of_processes_are_one_sentence(shelf):
    done = lmscope(shelf, "train", "recipe.toml", "--mesh", "latent=2")
    assert done.returncode == 2
    assert "torchrun --nproc-per-node 2 -m lmscope" in done.stderr
    done = lmscope(shelf, "train", "recipe.toml", "--mesh", "latent=3", n=2)
    assert done.stderr.count("2 processes cannot be shared by latent=3 x site=1") == 1
    done = lmscope(shelf, "train", "recipe.toml", "--mesh", "site=2", "--memory", "1B", n=2)
    assert done.stderr.count("alone takes") == 1
    done = lmscope(shelf, "models", "list", n=1)
    assert done.returncode == 0
