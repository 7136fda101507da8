"""Lays the model `garden` and its dictionaries into the package, dictionaries in half precision.

python scripts/pack_garden.py model RUN            # of `lmscope lm train garden`
python scripts/pack_garden.py dictionaries RUN     # of `lmscope train scope-garden`
python scripts/pack_garden.py health RUN           # of `lmscope evaluate garden`, on what was packed
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lmscope.core import shipped
from lmscope.core.files import sha256_file
from lmscope.dictionaries import storage
from lmscope.models.store import MANIFEST, FileState, Manifest
from lmscope.models.weights import weights_hash
from lmscope.runs.artifact import write_artifact

MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "held_out.json",
)
RUN_FILES = ("run.json", "recipe.toml")
EVERY = 10
"""Of the rows of metrics, one in so many is kept."""
MOST_BYTES = 12_000_000
MODEL = shipped.ROOT / "garden-model"
RUN = shipped.ROOT / shipped.GARDEN


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["model", "dictionaries", "health"])
    parser.add_argument("run", type=Path)
    asked = parser.parse_args()
    {"model": model, "dictionaries": dictionaries, "health": health}[asked.what](asked.run)
    sizes = [path.stat().st_size for path in shipped.ROOT.rglob("*") if path.is_file()]
    print(f"{sum(sizes):,} bytes in {len(sizes)} files, at most {MOST_BYTES:,}.")
    if sum(sizes) > MOST_BYTES:
        raise SystemExit("That is too much for the package.")


def model(run: Path) -> None:
    """The model folder, with the manifest of the store."""
    fresh(MODEL)
    for name in MODEL_FILES:
        shutil.copyfile(run / "artifacts" / "model" / name, MODEL / name)
    files = {
        name: FileState(
            size=(MODEL / name).stat().st_size, mtime_ns=0, sha256=sha256_file(MODEL / name)
        )
        for name in MODEL_FILES
    }
    digest = weights_hash(MODEL)
    manifest = Manifest(
        name=shipped.GARDEN,
        origin="comes with lmscope",
        licence="Apache-2.0",
        weights_hash=digest,
        files=files,
    )
    (MODEL / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print(f"weights_hash {digest}")


def dictionaries(run: Path) -> None:
    """The run with its dictionaries, their weights rounded to half precision."""
    fresh(RUN)
    for name in RUN_FILES:
        shutil.copyfile(run / name, RUN / name)
    (RUN / "artifacts").mkdir()
    shutil.copyfile(run / "artifacts" / "suite.json", RUN / "artifacts" / "suite.json")
    rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    left = [*rows[:-1:EVERY], rows[-1]]
    (RUN / "metrics.jsonl").write_text("".join(left), encoding="utf-8")
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [event for line in lines if (event := json.loads(line))["event"] != "checkpoint"]
    for event in events:
        event.pop("folder", None)  # a place of the machine that trained it
    text = "".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in events)
    (RUN / "events.jsonl").write_text(text, encoding="utf-8")
    for source in sorted((run / "artifacts" / "dictionaries").iterdir()):
        tensors = load_file(source / storage.WEIGHTS_FILE)
        halves = {name: tensor.to(torch.float16) for name, tensor in tensors.items()}
        assert all(tensor.isfinite().all() for tensor in halves.values())
        target = RUN / "artifacts" / "dictionaries" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with write_artifact(target, storage.KIND, storage.FORMAT_VERSION) as folder:
            save_file(halves, folder / storage.WEIGHTS_FILE)
            for name in (storage.CONFIG_FILE, storage.CARD_FILE):
                shutil.copyfile(source / name, folder / name)


def health(run: Path) -> None:
    """What an evaluation of the packed dictionaries measured."""
    replace(run / "artifacts" / "health", RUN / "artifacts" / "health")


def fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


if __name__ == "__main__":
    main()
