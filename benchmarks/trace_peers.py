"""Edges between all active features of a prompt, here and in circuit-tracer: the same model, transcoders and prompt.

    python benchmarks/trace_peers.py --peer PYTHON --threads 1 --clock cpu
    python benchmarks/trace_peers.py --peer PYTHON --lengths 16 64 128 --nodes 500

PYTHON has circuit-tracer installed (`circuit_tracer_side.py` says what it needs). Each library runs in a process of
its own, so that memory is its own; `peak_mib` is that of the process while it traces, `loaded_mib` what it held before. Without
--nodes all features are traced and every edge is compared: both freeze patterns and norms, exclude the first
position and trace a logit less the mean logit. What the first position's feed-forward outputs add is an error here
and nothing in circuit-tracer, so these columns are left out. With --nodes each traces so many features, chosen by its own rule,
so that times compare and edges do not. Constants have no edges in circuit-tracer and are not compared.
"""

import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from circuit_case import SMALL, Sizes, model_of, prompt_of, transcoders_of, write_case
from lmscope.circuits.attribution import Attribution, attribute
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.edges import FlowEdges, flow_edges
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import LogitTarget
from measure import forget_peak_memory, machine, parser, peak_memory_mib, report, spread

_TOKEN = 20


def main() -> None:
    if sys.argv[1:2] == ["--side"]:
        _side(json.loads(sys.argv[2]))
        return
    options = parser(__doc__ or "")
    options.add_argument("--peer", required=True, help="an interpreter that has circuit-tracer")
    options.add_argument("--lengths", type=int, nargs="+", default=[8, 16, 32])
    options.add_argument("--nodes", type=int, help="trace so many features; absent: all")
    options.add_argument("--batch", type=int, default=128, help="circuit-tracer's batch_size")
    options.set_defaults(rounds=3)
    asked = options.parse_args()
    record = machine(asked.threads, "cpu")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_case(folder, SMALL)
        for length in asked.lengths:
            order = {
                "tokens": prompt_of(model_of(SMALL), length),
                "token": _TOKEN,
                "nodes": asked.nodes,
                "rounds": asked.rounds,
                "threads": asked.threads,
                "clock": asked.clock,
                "k": SMALL.k,
                "batch": asked.batch,
            }
            files = [None if asked.nodes else str(folder / f"{one}.npz") for one in ("a", "b")]
            here = Path(__file__).resolve()
            mine = _run([sys.executable, str(here), "--side"], order | {"edges": files[0]})
            peer = [asked.peer, str(here.with_name("circuit_tracer_side.py")), str(folder)]
            theirs = _run(peer, order | {"edges": files[1]})
            row: dict[str, Any] = {"n_tokens": length, "lmscope": mine, "circuit_tracer": theirs}
            row["times_faster"] = theirs["ms"]["median"] / mine["ms"]["median"]
            if files[0] is not None and files[1] is not None:
                row["edges"] = _compare(np.load(files[0]), np.load(files[1]))
            rows.append(row)
    sizes = vars(SMALL)
    report({"benchmark": "trace_peers", **record, "model": sizes, "rows": rows}, asked.json)


def _run(command: list[str], order: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [*command, json.dumps(order)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {"ms": spread(found["ms"])}


def _side(order: dict[str, Any], sizes: Sizes = SMALL) -> None:
    """What circuit_tracer_side.py does, with lmscope."""
    torch.set_num_threads(order["threads"])
    model = model_of(sizes)
    replacement = Replacement(model, transcoders_of(model, sizes.latents, sizes.k))
    target = LogitTarget(order["token"], demeaned=True)
    options = TraceOptions(threshold=0.0, relative=False)
    if order["nodes"]:
        found = attribute(freeze(replacement, order["tokens"]), target, options)
        values = torch.cat([one.attribution.abs() for one in found.sites.values()])
        least = float(values.topk(min(order["nodes"], len(values))).values[-1])
        options = TraceOptions(threshold=least, relative=False)
        del found
    gc.collect()
    forget_peak_memory()
    before, times, last = peak_memory_mib(), [], None
    now = time.process_time if order["clock"] == "cpu" else time.perf_counter
    for _ in range(order["rounds"]):
        last = None
        gc.collect()
        start = now()
        found = attribute(freeze(replacement, order["tokens"]), target, options)
        last = found, flow_edges(found)
        times.append((now() - start) * 1e3)
    assert last is not None
    peak = peak_memory_mib()
    if order["edges"]:
        _write_edges(order["edges"], *last)
    n_active = sum(len(one.kept) for one in last[0].sites.values())
    figures = {"n_active": n_active, "n_features": last[0].n_kept}
    print(json.dumps({"ms": times, **figures, "loaded_mib": before, "peak_mib": peak}))


def _write_edges(path: str, found: Attribution, edges: FlowEdges) -> None:
    """Direct contributions as circuit-tracer writes them, rows first: what is traced, by what adds to it."""
    parts = found.sites.values()
    gradient = torch.cat([*(one.gradient[one.kept] for one in parts), torch.ones(1)])
    n = len(gradient) - 1
    goal = torch.where(edges.goal < 0, n, edges.goal)
    direct = torch.zeros(n + 1, n)
    direct[goal, edges.source] = edges.flow / gradient[goal]
    errors = torch.cat(list(edges.errors.values()), 1)
    rest = torch.cat([errors, edges.tokens], 1) / gradient[:, None]
    features = [
        torch.stack(
            [torch.full_like(one.features.latent, i), one.features.position, one.features.latent]
        )
        for i, one in enumerate(parts)
    ]
    np.savez(path, features=torch.cat(features, 1).T, matrix=torch.cat([direct, rest], 1))


def _compare(mine: Any, theirs: Any) -> dict[str, Any]:
    """Largest differences between equal edges, as shares of the largest edge into the same node."""
    a, features = mine["matrix"], mine["features"]
    if not np.array_equal(features, theirs["features"]):
        return {"features": "differ"}
    matrix = theirs["matrix"]
    n, length = len(features), features[:, 1].max() + 1
    b = np.concatenate([matrix[:n], matrix[-1:]])[:, : a.shape[1]]
    errors = np.arange(n, a.shape[1] - length, length)
    first = np.abs(b[:, errors]).max()
    a, b = np.delete(a, errors, 1), np.delete(b, errors, 1)
    # A feature that adds nothing to the target has no flows here.
    traced = np.isfinite(a).all(1)
    worst = np.abs(a - b).max(1) / np.abs(b).max(1)
    return {
        "n_features": n,
        "n_edges": int((b != 0).sum()),
        "n_traced": int(traced.sum()),
        "errors_at_first_position": float(first),
        "worst_share_of_largest": float(worst[traced].max()),
        "correlation": float(np.corrcoef(a[traced].ravel(), b[traced].ravel())[0, 1]),
    }


if __name__ == "__main__":
    main()
