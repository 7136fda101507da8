"""Lays small models and their dictionaries into the package, dictionaries and the player in half precision.

python scripts/pack_shipped.py garden model RUN                # of `lmscope lm train garden`
python scripts/pack_shipped.py garden dictionaries RUN         # of `lmscope train scope-garden`
python scripts/pack_shipped.py garden health RUN               # of `lmscope evaluate garden`, on what was packed
python scripts/pack_shipped.py othello-mini model RUN          # of `lmscope othello train othello-6x6`
python scripts/pack_shipped.py othello-mini dictionaries RUN   # of `lmscope train scope-othello-6x6 --model othello-mini`
python scripts/pack_shipped.py othello-mini health RUN         # of `lmscope evaluate othello-mini`, on what was packed
python scripts/pack_shipped.py othello-mini labels FILE        # of `lmscope othello label othello-mini --out FILE`
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lmscope.core import shipped
from lmscope.core.files import sha256_file
from lmscope.dictionaries import storage
from lmscope.models.catalog import CATALOG, PackageSource
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
LABELS = "labels.json"
EVERY = 10
"""Of the rows of metrics, one in so many is kept."""
MOST_BYTES = 15_000_000
N_LABELS, LEAST_F1 = 3, 0.5
"""Labels of a latent that are kept, and how good they are; latents that say nothing are left out."""
FOLDERS = {
    entry.name: entry.source.folder
    for entry in CATALOG.values()
    if isinstance(entry.source, PackageSource)
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=[*FOLDERS])
    parser.add_argument("what", choices=["model", "dictionaries", "health", "labels"])
    parser.add_argument("source", type=Path)
    asked = parser.parse_args()
    pack = {"model": model, "dictionaries": dictionaries, "health": health, "labels": labels}
    pack[asked.what](asked.name, asked.source)
    for folder in sorted(shipped.ROOT.iterdir()):
        print(f"{size(folder):,} bytes in {folder.name}")
    if size(shipped.ROOT) > MOST_BYTES:
        raise SystemExit(f"{size(shipped.ROOT):,} bytes are too much for the package.")


def model(name: str, run: Path) -> None:
    """The model folder, with the manifest of the store; of a player its run around it."""
    target = shipped.ROOT / FOLDERS[name]
    if name == shipped.OTHELLO:
        record(run, shipped.ROOT / shipped.PLAYER)
    fresh(target)
    for file in MODEL_FILES:
        shutil.copyfile(run / "artifacts" / "model" / file, target / file)
    if name == shipped.OTHELLO:
        to_half(target)
    files = {
        file: FileState(
            size=(target / file).stat().st_size, mtime_ns=0, sha256=sha256_file(target / file)
        )
        for file in MODEL_FILES
    }
    digest = weights_hash(target)
    manifest = Manifest(
        name=name,
        origin="comes with lmscope",
        licence="Apache-2.0",
        weights_hash=digest,
        files=files,
    )
    (target / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if name == shipped.OTHELLO:
        says = shipped.ROOT / shipped.PLAYER / "run.json"
        values = json.loads(says.read_text(encoding="utf-8"))
        values["weights"] = dict.fromkeys(values["weights"], digest)
        says.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    print(f"weights_hash {digest}")


def to_half(folder: Path) -> None:
    """Round a model's weights to float16, whose range they are far from leaving."""
    path = folder / "model.safetensors"
    tensors = {name: tensor.half() for name, tensor in load_file(path).items()}
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    save_file(tensors, path, metadata={"format": "pt"})
    config = folder / "config.json"
    text = config.read_text(encoding="utf-8").replace('"dtype": "float32"', '"dtype": "float16"')
    assert '"float16"' in text
    config.write_text(text, encoding="utf-8")


def dictionaries(name: str, run: Path) -> None:
    """The run with its dictionaries, their weights rounded to half precision."""
    target = shipped.ROOT / name
    fresh(target)
    record(run, target)
    (target / "artifacts").mkdir()
    shutil.copyfile(run / "artifacts" / "suite.json", target / "artifacts" / "suite.json")
    for source in sorted((run / "artifacts" / "dictionaries").iterdir()):
        tensors = load_file(source / storage.WEIGHTS_FILE)
        halves = {name: tensor.to(torch.float16) for name, tensor in tensors.items()}
        assert all(tensor.isfinite().all() for tensor in halves.values())
        place = target / "artifacts" / "dictionaries" / source.name
        place.parent.mkdir(parents=True, exist_ok=True)
        with write_artifact(place, storage.KIND, storage.FORMAT_VERSION) as folder:
            save_file(halves, folder / storage.WEIGHTS_FILE)
            for file in (storage.CONFIG_FILE, storage.CARD_FILE):
                shutil.copyfile(source / file, folder / file)


def health(name: str, run: Path) -> None:
    """What an evaluation of the packed dictionaries measured."""
    target = shipped.ROOT / name / "artifacts" / "health"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run / "artifacts" / "health", target)


def labels(name: str, file: Path) -> None:
    """What latents say of the board: the best labels of each, figures to four digits."""
    values = json.loads(file.read_text(encoding="utf-8"))
    for one in values["dictionaries"]:
        one["labels"] = []  # by label; what is said by latent is what pages and circuits read
        for latent in one["latents"]:
            good = [label for label in latent["labels"] if label["f1"] >= LEAST_F1]
            latent["labels"] = good[:N_LABELS]
        one["latents"] = [
            latent for latent in one["latents"] if latent["labels"] or latent["precise"]
        ]
    text = json.dumps(shortened(values), separators=(",", ":"))
    (shipped.ROOT / name / "artifacts" / LABELS).write_text(text + "\n", encoding="utf-8")


def shortened(value: Any) -> Any:
    """A JSON value with numbers of four digits."""
    if isinstance(value, dict):
        return {key: shortened(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shortened(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def record(run: Path, target: Path) -> None:
    """What a run says of itself, without places of the machine that it ran on."""
    target.mkdir(parents=True, exist_ok=True)
    for name in RUN_FILES:
        shutil.copyfile(run / name, target / name)
    rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    left = [*rows[:-1:EVERY], rows[-1]]
    (target / "metrics.jsonl").write_text("".join(left), encoding="utf-8")
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [event for line in lines if (event := json.loads(line))["event"] != "checkpoint"]
    for event in events:
        event.pop("folder", None)  # a place of the machine that trained it
    text = "".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in events)
    (target / "events.jsonl").write_text(text, encoding="utf-8")


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


if __name__ == "__main__":
    main()
