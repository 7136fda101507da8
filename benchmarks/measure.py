"""What every benchmark shares: interleaved timing, the machine's own limits, one record of a result."""

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def parser(what: str) -> argparse.ArgumentParser:
    """Options that all benchmarks take."""
    options = argparse.ArgumentParser(description=what)
    options.add_argument("--json", type=Path, help="write the record to this file as well")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument(
        "--rounds", type=int, default=5, help="interleaved rounds; medians are reported"
    )
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return options


def interleaved_ms(
    cases: Mapping[str, Callable[[], Any]], *, rounds: int, warmup: int = 1
) -> dict[str, dict[str, float]]:
    """Wall milliseconds of each case: median, minimum and maximum over rounds, the cases in turn.

    In turn, so that a machine that slows down slows all of them down.
    """
    for case in cases.values():
        for _ in range(warmup):
            case()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            synchronise()
            start = time.perf_counter()
            case()
            synchronise()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {
        name: {"median": statistics.median(t), "min": min(t), "max": max(t)}
        for name, t in times.items()
    }


def synchronise() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def best_matmul_gflops(
    rows: int, inner: int, columns: int, dtype: torch.dtype, device: str
) -> float:
    """The best rate that PyTorch reaches for one product of this shape, in 1e9 operations a second.

    The best over the plain product and, on a CPU in float32, the oneDNN one: the fairest limit.
    """
    a = torch.randn(rows, inner, device=device, dtype=dtype)
    b = torch.randn(columns, inner, device=device, dtype=dtype)
    cases: dict[str, Callable[[], Any]] = {"mm": lambda: a @ b.t()}
    if (
        device == "cpu"
        and dtype == torch.float32
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        cases["onednn"] = lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    times = interleaved_ms(cases, rounds=7, warmup=2)
    fastest = min(row["min"] for row in times.values())
    return 2 * rows * inner * columns / fastest / 1e6


def peak_memory_mib() -> float:
    """The most memory that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine(threads: int, device: str) -> dict[str, Any]:
    """What ran: processor, threads, versions, load, commit."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "processor": torch.cuda.get_device_name() if device == "cuda" else name,
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "commit": commit or None,
    }


def report(record: dict[str, Any], path: Path | None) -> None:
    """Print the record and write it where asked."""
    text = json.dumps(record, indent=1)
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
