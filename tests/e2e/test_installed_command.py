"""The installed `lmscope` from a recipe to a measured dictionary, each step in its own process."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lmscope.models.miniature import miniature

pytestmark = pytest.mark.e2e
SMALL = (
    "stream.batch_tokens=32",
    "stream.block_contexts=8",
    "stream.passes=3",
    "training.steps=60",
    "text.held_out_fraction=0.3",
    "evaluation.tokens=1024",
    "evaluation.scored_tokens=256",
)


def lmscope(folder: Path, *words: str) -> dict:
    command = [str(Path(sys.executable).parent / "lmscope"), *words, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LMSCOPE_CACHE": str(folder / "cache")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_plan_train_evaluate_and_show(tmp_path):
    model = miniature("llama")
    model.hf.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    draw = random.Random(0)
    lines = [
        json.dumps({"text": "".join(draw.choices("etaoin shrdlu.", k=300))}) for _ in range(40)
    ]
    (tmp_path / "text.jsonl").write_text("\n".join(lines), encoding="utf-8")
    asked = ["--model", "model", "--corpus", "text.jsonl", "--context-length", "32"]
    asked += ["--site", "resid_post@1", "--latents", "64", "--k", "4"]
    asked += [word for setting in SMALL for word in ("--set", setting)]
    plan = lmscope(tmp_path, "train", *asked, "--dry-run")
    assert (plan["n_steps"], (tmp_path / "runs").exists()) == (60, False)
    trained = lmscope(tmp_path, "train", *asked)
    (figures,) = trained["dictionaries"].values()
    assert figures["explained_variance_centred"] > figures["random_explained_variance_centred"]
    assert (tmp_path / figures["path"] / "weights.safetensors").is_file()
    again = lmscope(tmp_path, "evaluate", "last", "--set", SMALL[-2], "--set", SMALL[-1])
    (measured,) = again["dictionaries"].values()
    assert measured["explained_variance_centred"] == figures["explained_variance_centred"]
    assert lmscope(tmp_path, "runs", "show", "last")
