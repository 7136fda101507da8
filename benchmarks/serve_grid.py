"""The first page, a grid of 256 dictionaries and their training curves through HTTP.

    python benchmarks/serve_grid.py

Makes a run that trained a suite of 256 dictionaries (4 positions x 32 layers x 2 widths; configurations, health
reports of the usual size and a suite table, but no weights), with 1,000 lines of metrics of each, starts
`lmscope serve` on it in a process of its own, and asks one request after another over one connection, as a browser
does (gzip). `first_ms` holds what is done once: reading all folders, or all metrics. `look_ms` is what noticing
changes on disk costs, once a second at most.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from lmscope.runs.artifact import write_artifact
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.server.library.library import Library
from serve_features import get, served

N_LAYERS, WIDTH = 32, 4096
WIDTHS = (32_768, 131_072)
PLACES = (("resid_post",) * 2, ("attn_out",) * 2, ("mlp_out",) * 2, ("mlp_norm", "mlp_out"))
METRICS = ("loss", "mse", "l0", "n_dead", "explained_variance_centred", "k", "outlier_fraction")
FIGURES = (
    "explained_variance_centred",
    "explained_variance_uncentred",
    "normalised_mse",
    "mse",
    "cosine",
    "l2_ratio",
)
LOSSES = ("ce", "ce_recovered_zero", "ce_recovered_mean", "kl")


def write_suite(root: Path, n_lines: int) -> Run:
    """A run of 256 dictionaries."""
    draw = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    with Run.create(root, Recipe(job="train", name="grid-of-256"), name="suite") as run:
        for reads, writes in PLACES:
            for layer in range(N_LAYERS):
                rows += [
                    write_dictionary(run, f"{reads}@{layer}", f"{writes}@{layer}", n, draw)
                    for n in WIDTHS
                ]
        names = [f"{row['name']}/{metric}" for row in rows for metric in METRICS]
        with (run.path / "metrics.jsonl").open("w") as file:
            for step in range(1, n_lines + 1):
                values = dict(zip(names, draw.random(len(names)).tolist(), strict=True))
                file.write(json.dumps({"step": 10 * step, **values}) + "\n")
        table = json.dumps({"format": 1, "dictionaries": rows})
        (run.artifacts / "suite.json").write_text(table)
    return run


def write_dictionary(
    run: Run, reads: str, writes: str, n_latents: int, draw: np.random.Generator
) -> dict[str, Any]:
    """The folder of a dictionary without weights, its report, and its row of the suite."""
    part = reads.replace("@", "-")
    name = f"{part}-{n_latents}-topk-50"
    if reads != writes:
        name = f"{part}.to.{writes.replace('@', '-')}-{n_latents}-topk-50"
    config = {
        "reads": [reads],
        "writes": [writes],
        "d_read": WIDTH,
        "d_write": WIDTH,
        "n_latents": n_latents,
        "sparsity": {"kind": "topk", "k": 50},
        "model": "synthetic",
        "model_hash": "0" * 64,
    }
    with write_artifact(run.artifacts / "dictionaries" / name, "dictionary", 1) as folder:
        (folder / "config.json").write_text(json.dumps(config))
    report = made_report(reads, writes, n_latents, draw)
    with write_artifact(run.artifacts / "health" / name, "health", 1) as folder:
        (folder / "report.json").write_text(json.dumps(report, indent=1))
    return {
        "name": name,
        "reads": reads,
        "writes": writes,
        "n_latents": n_latents,
        "group": 1,
        "status": "measured",
        "l0": 50.0,
        "explained_variance_centred": report["reconstruction"]["explained_variance_centred"][
            "value"
        ],
        "ce_recovered_zero": report["loss"]["ce_recovered_zero"]["value"],
        "dead_fraction": 0.01,
    }


def made_report(
    reads: str, writes: str, n_latents: int, draw: np.random.Generator
) -> dict[str, Any]:
    def estimate() -> dict[str, float]:
        low, value, high = np.sort(draw.random(3)).tolist()
        return {"value": value, "low": low, "high": high, "n": 400}

    def part(names: tuple[str, ...]) -> dict[str, Any]:
        return {name: estimate() for name in names}

    def measured() -> dict[str, Any]:
        return {"reconstruction": part(FIGURES), "loss": part(LOSSES)}

    histogram = {"edges": [i / 4 - 5 for i in range(21)], "counts": [n_latents // 20] * 20}
    return {
        "subject": {
            "model": "synthetic",
            "model_hash": "0" * 64,
            "reads": reads,
            "writes": writes,
            "n_latents": n_latents,
            "context_length": 1024,
            "n_contexts": 400,
            "n_tokens": 409_600,
            "n_scored_tokens": 65_536,
        },
        **measured(),
        "sparsity": {
            "l0": estimate(),
            "l0_quantiles": {"0.5": 50},
            "l0_histogram": histogram,
            "n_dead": 12,
            "dead_fraction": 0.01,
            "n_dense": 3,
            "dense_fraction": 0.001,
            "n_half": 0,
            "frequency_histogram": histogram,
        },
        "ablation": part(("ce_clean", "ce_zero", "ce_mean", "kl_zero", "kl_mean")),
        "baselines": {
            name: {"n_active": 50, **measured()} for name in ("identity", "pca", "random")
        },
        "positions": [
            {"first": 2**i, "last": 2 ** (i + 1) - 1, "n_tokens": 400, **measured()}
            for i in range(10)
        ],
        "excluded": {"n_first": 400, "n_special": 0, "n_outliers": 3},
        "notes": [],
    }


def look_ms(root: Path, n: int) -> dict[str, float]:
    """Milliseconds of the first look at a folder, and of one that finds nothing new."""
    library = Library([root])
    times = []
    for _ in range(n):
        start = time.perf_counter()
        library.refresh()
        times.append(1e3 * (time.perf_counter() - start))
    return {"first_ms": round(times[0], 2), "p50_ms": round(float(np.median(times[1:])), 2)}


def percentiles(
    connection: HTTPConnection, addresses: Sequence[str], n: int
) -> dict[str, float | int]:
    """Milliseconds of `n` answers and the bytes that are sent; addresses take turns."""
    answers = [get(connection, addresses[i % len(addresses)]) for i in range(n)]
    times = [spent for spent, _ in answers]
    found = {f"p{q}_ms": round(float(np.percentile(times, q)), 2) for q in (50, 95)}
    size = int(np.median([len(body) for _, body in answers]))
    return {"first_ms": round(times[0], 2), **found, "sent_bytes": size, "n": n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--lines", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        run = write_suite(root, options.lines)
        figures: dict[str, object] = {
            "load": os.getloadavg(),
            "metrics_bytes": (run.path / "metrics.jsonl").stat().st_size,
            "look_ms": look_ms(root, options.requests),
        }
        with served(root) as server:
            connection = server.connection
            figures["start_s"] = round(server.start_s, 2)
            pages = {
                "home": ["/api/home"],
                "grid": ["/api/suites/suite"],
                "run": ["/api/runs/suite"],
                "all_curves": ["/api/runs/suite/curves?points=100"],
            }
            figures["home_first_ms"] = round(get(connection, "/api/home")[0], 2)
            home = json.loads(gzip.decompress(get(connection, "/api/home")[1]))
            ids = [one["id"] for one in home["dictionaries"]]
            assert len(ids) == len(PLACES) * N_LAYERS * len(WIDTHS)
            pages["dictionary"] = [f"/api/dictionaries/{one}" for one in ids]
            for page, addresses in pages.items():
                n = 10 if page == "all_curves" else options.requests
                figures[page] = percentiles(connection, addresses, n)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
