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
from contextlib import suppress
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
    options.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: processor time of the process; with --threads 1 what an idle machine would show",
    )
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return options


def interleaved_ms(
    cases: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    warmup: int = 1,
    clock: str = "wall",
) -> dict[str, dict[str, float]]:
    """Milliseconds of each case: median, minimum and maximum over rounds, the cases in turn.

    In turn, so that a machine that slows down slows all of them down.
    """
    measured = {name: timed(case, clock) for name, case in cases.items()}
    return {name: spread(t) for name, t in interleaved(measured, rounds, warmup).items()}


def timed(case: Callable[[], Any], clock: str) -> Callable[[], float]:
    """A case that says how many milliseconds it took."""
    now = time.process_time if clock == "cpu" else time.perf_counter

    def measured() -> float:
        gc.collect()
        synchronise()
        start = now()
        case()
        synchronise()
        return (now() - start) * 1e3

    return measured


def interleaved(
    cases: Mapping[str, Callable[[], float]], rounds: int, warmup: int
) -> dict[str, list[float]]:
    """What each case says it took, one number a round, the cases in turn."""
    for case in cases.values():
        for _ in range(warmup):
            case()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            times[name].append(case())
    return times


def spread(times: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(times), "min": min(times), "max": max(times)}


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
    cases = matmul_cases(rows, inner, columns, dtype, device)
    times = interleaved_ms(cases, rounds=7, warmup=2)
    fastest = min(row["min"] for row in times.values())
    return 2 * rows * inner * columns / fastest / 1e6


def matmul_cases(
    rows: int, inner: int, columns: int, dtype: torch.dtype, device: str
) -> dict[str, Callable[[], Any]]:
    """The ways to one product of this shape: plain, and on a CPU oneDNN's, whole and by 256 rows."""
    a = torch.randn(rows, inner, device=device, dtype=dtype)
    b = torch.randn(columns, inner, device=device, dtype=dtype)
    cases: dict[str, Callable[[], Any]] = {"mm": lambda: a @ b.t()}
    if device == "cpu" and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        product = torch.ops.mkldnn._linear_pointwise
        cases["onednn"] = lambda: product(a, b, None, "none", [], "")
        cases["onednn by 256"] = lambda: [
            product(part, b, None, "none", [], "") for part in a.split(256)
        ]
    return cases


def peak_memory_mib() -> float:
    """The most memory that this process has held so far, in MiB; since `forget_peak_memory` where that is known."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss also counts what the process that started this one held
        rows = dict(row.split(":", 1) for row in status.read_text().splitlines())
        return int(rows["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_peak_memory() -> None:
    """Let the peak begin anew from what is held now, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


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
