"""Let other libraries load what lmscope writes, and lmscope what they save; compare reconstructions.

    python scripts/check_formats_with_peers.py --peers PYTHON [--circuit-tracer FOLDER] [--json FILE]

PYTHON is an interpreter that has the peers, e.g. of an environment made by

    pip install torch==2.13.0 sae-lens==6.54.12 eai-sparsify==1.3.3
    pip install --no-deps dictionary-learning==0.1.0 'nnsight<0.4'

and FOLDER holds a package `circuit_tracer` (a checkout, or `pip install --no-deps --target FOLDER
circuit-tracer`); without it that peer is left out. `peer_side.py` beside this file runs in PYTHON. Every
difference is the largest of any coordinate, divided by the largest coordinate. Exit status 1 if one
is above 1e-5, or a peer that is there refuses a folder.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmscope.core.errors import LmscopeError
from lmscope.dictionaries.config import (
    BatchTopK,
    DictionaryConfig,
    JumpReLU,
    ReLU,
    Sparsity,
    TopK,
)
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats.circuit_tracer import FORMAT as CIRCUIT_TRACER
from lmscope.dictionaries.formats.format import Given
from lmscope.dictionaries.formats.registry import named
from lmscope.dictionaries.formats.sae_lens import FORMAT as SAE_LENS
from lmscope.dictionaries.formats.sparsify import FORMAT as SPARSIFY

WIDTH, LATENTS, TOKENS, K = 24, 96, 256, 6
TOLERANCE = 1e-5


class Row(NamedTuple):
    """One comparison."""

    written_by: str
    read_by: str
    case: str
    difference: float | None
    problem: str | None = None

    @property
    def holds(self) -> bool:
        """Whether both computed the same."""
        return self.difference is not None and self.difference <= TOLERANCE


def dictionary(
    sparsity: Sparsity, seed: int, *, scaled: bool = True, layer: int = 2, **options: Any
) -> Dictionary:
    """A dictionary with random weights, as training leaves it (`scaled`) or in raw units."""
    transcoder = options.pop("transcoder", False)
    config = DictionaryConfig(
        reads=(f"{'mlp_norm' if transcoder else 'mlp_out'}@{layer}",),
        writes=(f"mlp_out@{layer}",),
        d_read=WIDTH,
        d_write=WIDTH,
        n_latents=LATENTS,
        sparsity=sparsity,
        model="gpt2-small",
        **options,
    )
    made = Dictionary(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        if scaled:
            made.scale_in.fill_(1.7)
            made.scale_out.fill_(0.6 if transcoder else 1.7)
        if isinstance(sparsity, BatchTopK):
            made.threshold.fill_(1.5)
        if isinstance(sparsity, JumpReLU):
            made.threshold.copy_(torch.rand(LATENTS, generator=generator) * 2)
    return made.requires_grad_(False)


def with_dead_latent(made: Dictionary) -> Dictionary:
    """The same with one decoder row of zeros, folded."""
    with torch.no_grad():
        made.W_dec[3].zero_()
    return made.fold()


def our_cases() -> Iterator[tuple[str, str, Any]]:
    """Format, name, and a dictionary or a set of them."""
    topk, plain = TopK(k=K), TopK(k=K, weight_by_decoder_norm=False)
    jump = JumpReLU()
    yield "sae-lens", "relu", dictionary(ReLU(), 1)
    yield "sae-lens", "relu, b_dec from input", dictionary(ReLU(), 2, apply_b_dec_to_input=True)
    yield "sae-lens", "topk", dictionary(topk, 3, apply_b_dec_to_input=True)
    yield "sae-lens", "topk, norms of its own", dictionary(topk, 4, scaled=False)
    yield "sae-lens", "topk by pre-activation", dictionary(plain, 5)
    yield "sae-lens", "topk, a latent without a row", with_dead_latent(dictionary(topk, 6))
    yield "sae-lens", "batchtopk", dictionary(BatchTopK(k=K), 7)
    yield "sae-lens", "jumprelu", dictionary(jump, 8)
    yield "sae-lens", "transcoder relu", dictionary(ReLU(), 9, transcoder=True)
    yield "sae-lens", "transcoder relu, skip", dictionary(ReLU(), 10, transcoder=True, skip=True)
    yield "sae-lens", "transcoder jumprelu", dictionary(jump, 11, transcoder=True)
    yield "sae-lens", "transcoder jumprelu, skip", dictionary(jump, 12, transcoder=True, skip=True)
    yield "sparsify", "topk", dictionary(topk, 13)
    yield "sparsify", "topk, b_dec from input", dictionary(topk, 14, apply_b_dec_to_input=True)
    yield "sparsify", "topk by pre-activation", dictionary(plain, 15, scaled=False)
    yield "sparsify", "topk, skip", dictionary(topk, 16, skip=True)
    yield "sparsify", "transcoder topk", dictionary(topk, 17, transcoder=True)
    yield "sparsify", "transcoder topk, skip", dictionary(topk, 18, transcoder=True, skip=True)
    for name, sparsity in (("relu", ReLU()), ("jumprelu", jump), ("topk", topk)):
        for skip in (False, True):
            layers = {
                f"layer_{n}": dictionary(sparsity, 20 + n, layer=n, transcoder=True, skip=skip)
                for n in range(3)
            }
            yield "circuit-tracer", f"set {name}{', skip' if skip else ''}", layers


def write_ours(folder: Path, x: Tensor) -> list[dict[str, str]]:
    """Write every case and our own outputs; say where."""
    cases = []
    writers = {"sae-lens": SAE_LENS, "sparsify": SPARSIFY}
    for i, (format_name, name, made) in enumerate(our_cases()):
        path = folder / f"case{i}"
        if isinstance(made, Dictionary):
            writers[format_name].write(made, path)
            outputs = made(x)
        else:
            CIRCUIT_TRACER.write_set(made, path)
            outputs = torch.stack([one(x) for one in made.values()])
        save_file({"y": outputs}, folder / f"case{i}.ours")
        cases.append({"format": format_name, "name": name, "path": str(path), "id": f"case{i}"})
    (folder / "cases.json").write_text(json.dumps(cases))
    return cases


def read_theirs(case: dict[str, str], x: Tensor) -> Tensor:
    """Our outputs for a folder that a peer saved."""
    given = Given(reads="mlp_out@2", writes="mlp_out@2")
    if case["format"] == "circuit-tracer":
        layers = CIRCUIT_TRACER.read_set(Path(case["path"]), Given())
        return torch.stack([one.dictionary(x) for one in layers.values()])
    if case.get("transcoder"):
        given = Given(reads="mlp_norm@2", writes="mlp_out@2")
    return named(case["format"]).read(Path(case["path"]), given).dictionary(x)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference of any coordinate over the largest coordinate; infinite where one is no number."""
    if a.shape != b.shape or not bool(torch.isfinite(b).all()):
        return float("inf")
    return float((a - b).abs().max() / a.abs().max())


def peer_side(options: argparse.Namespace, verb: str, folder: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("peer_side.py")
    command = [options.peers, str(script), verb, str(folder)]
    if options.circuit_tracer:
        command += ["--circuit-tracer", str(options.circuit_tracer.resolve())]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads((folder / f"{verb}.json").read_text())


def compare(options: argparse.Namespace, work: Path) -> tuple[list[Row], dict[str, str]]:
    """Every comparison, and the versions of the peers."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(TOKENS, WIDTH, generator=generator) * 2 + 0.5
    rows: list[Row] = []
    ours, theirs = work / "ours", work / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        save_file({"x": x}, folder / "x.safetensors")
    cases = write_ours(ours, x)
    loaded = peer_side(options, "load", ours)
    for case in cases:
        if case["format"] not in loaded["versions"]:
            continue
        problem = loaded["problems"].get(case["id"])
        y = load_file(ours / f"{case['id']}.ours")["y"]
        value = None if problem else difference(y, load_file(ours / f"{case['id']}.peer")["y"])
        rows.append(Row("lmscope", case["format"], case["name"], value, problem))
    for case in peer_side(options, "save", theirs)["cases"]:
        try:
            y = load_file(theirs / f"{case['id']}.peer")["y"]
            value, problem = difference(y, read_theirs(case, x)), None
        except LmscopeError as error:
            value, problem = None, str(error)
        rows.append(Row(case["format"], "lmscope", case["name"], value, problem))
    return rows, loaded["versions"]


def show(rows: list[Row], versions: dict[str, str]) -> None:
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    for row in rows:
        said = row.problem or f"{row.difference:.1e}"
        mark = "ok" if row.holds else "DIFFERS"
        print(f"{row.written_by:>19} -> {row.read_by:<15} {row.case:<32} {said:>9}  {mark}")
    print(f"{sum(row.holds for row in rows)} of {len(rows)} within {TOLERANCE:.0e}")


def record(rows: list[Row], versions: dict[str, str]) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    ).stdout.strip()
    return {
        "command": "python scripts/check_formats_with_peers.py --peers PYTHON --circuit-tracer FOLDER",
        "commit": commit,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "seed": 0,
        "n_tokens": TOKENS,
        "n_latents": LATENTS,
        "width": WIDTH,
        "dtype": "float32",
        "tolerance": TOLERANCE,
        "peers": versions,
        "comparisons": [{**row._asdict(), "holds": row.holds} for row in rows],
    }


def main() -> int:
    options = argparse.ArgumentParser(description="Compare formats with the peers themselves.")
    options.add_argument("--peers", required=True, help="a Python that has the peers")
    options.add_argument("--circuit-tracer", type=Path, help="a folder with `circuit_tracer`")
    options.add_argument("--json", type=Path, help="write the record to this file as well")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        rows, versions = compare(chosen, Path(work))
    show(rows, versions)
    if chosen.json:
        chosen.json.write_text(json.dumps(record(rows, versions), indent=1) + "\n")
    return 0 if rows and all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
