"""Two and four processes train what one does, hand over to any other number, and survive a death."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lmscope.core.tensor_files import read_tensors

pytestmark = pytest.mark.distributed
WORKER = Path(__file__).with_name("worker.py")
STEPS = 24


def train(folder, n=1, latent=1, site=1, *, steps=STEPS, kill_at=None):
    folder.mkdir(exist_ok=True)
    words = [str(WORKER), str(folder), str(latent), str(site), str(steps)]
    words += [] if kill_at is None else ["kill", str(kill_at)]
    several = ["-m", "torch.distributed.run", "--nproc-per-node", str(n), "--master-port", "0"]
    several += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    if (
        kill_at is not None
    ):  # torchrun ends the others too when it looks, so that they could not say why
        several += ["--monitor-interval", "3"]
    start = [sys.executable, *(several if n > 1 else []), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(start, env=environment, capture_output=True, text=True, check=False)


def results(folder):
    return (
        json.loads((folder / "metrics.json").read_text()),
        read_tensors(folder / "trained.safetensors"),
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return results(folder)


MESHES = {
    "data": (2, 1, 1),
    "latent": (2, 2, 1),
    "site": (2, 1, 2),
    "data x latent": (4, 2, 1),
    "latent x site": (4, 2, 2),
}


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES.keys())
def test_every_axis_gives_the_losses_and_weights_of_one_process(tmp_path, alone, mesh):
    done = train(tmp_path, *mesh)
    assert done.returncode == 0, done.stderr
    metrics, trained = results(tmp_path)
    assert len(metrics) == len(alone[0]) == STEPS
    for row, expected in zip(metrics, alone[0], strict=True):
        assert row == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert trained.keys() == alone[1].keys()
    for name, tensor in trained.items():
        torch.testing.assert_close(tensor, alone[1][name], rtol=1e-6, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize("then", [(1, 1, 1), (4, 4, 1)], ids=["on one", "on four"])
def test_what_two_saved_goes_on_in_any_number(tmp_path, alone, then):
    assert train(tmp_path, 2, 2, 1, steps=10).returncode == 0
    done = train(tmp_path, *then)
    assert done.returncode == 0, done.stderr
    metrics, trained = results(tmp_path)
    assert [row["step"] for row in metrics] == list(range(11, STEPS + 1))
    for name, tensor in trained.items():
        torch.testing.assert_close(tensor, alone[1][name], rtol=1e-6, atol=1e-8, equal_nan=True)


def test_a_killed_process_ends_the_others_and_the_run_goes_on_bit_for_bit(tmp_path):
    assert train(tmp_path / "whole", 2, 2, 1).returncode == 0
    killed = train(tmp_path / "killed", 2, 2, 1, kill_at=15)
    assert killed.returncode != 0
    assert "Another process of this run ended early" in killed.stderr
    assert not (tmp_path / "killed" / "trained.safetensors").exists()
    assert train(tmp_path / "killed", 2, 2, 1).returncode == 0
    rows, trained = results(tmp_path / "killed")
    assert rows[0]["step"] == 13  # the checkpoint before was of step 12
    whole_rows, whole = results(tmp_path / "whole")
    assert rows == whole_rows[12:]
    assert all(torch.equal(tensor, whole[name]) for name, tensor in trained.items())
