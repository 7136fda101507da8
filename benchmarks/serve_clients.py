"""Many clients at one server for a minute: how fast it answers, whether it fails, what memory it takes.

python benchmarks/serve_clients.py FOLDER [--clients 100] [--seconds 60]
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx


def memory_mib(pid: int) -> float:
    """Resident memory of a process; 0 where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def addresses(base: str) -> list[str]:
    """Pages of everything that is served: the first one, dictionaries, lists and features."""
    home = httpx.get(f"{base}api/home").json()
    found = ["api/home", "api/jobs", "api/live"]
    found += [f"api/runs/{run['id']}" for run in home["runs"]]
    for line in home["dictionaries"]:
        page = f"api/dictionaries/{line['id']}"
        found.append(page)
        if line["has_atlas"]:
            found.append(f"{page}/features?limit=100")
            step = max(1, line["n_latents"] // 50)
            found += [f"{page}/features/{i}" for i in range(0, line["n_latents"], step)]
    return found


async def client(number: int, base: str, pages: list[str], until: float) -> list[tuple[int, float]]:
    """One client that asks for a page as soon as it has the one before."""
    answers: list[tuple[int, float]] = []
    async with httpx.AsyncClient(timeout=60) as session:
        while time.perf_counter() < until:
            page = pages[(number * 7919 + len(answers)) % len(pages)]
            start = time.perf_counter()
            answer = await session.get(base + page)
            answers.append((answer.status_code, time.perf_counter() - start))
    return answers


async def crowd(base: str, pages: list[str], n: int, seconds: float) -> list[tuple[int, float]]:
    until = time.perf_counter() + seconds
    found = await asyncio.gather(*(client(i, base, pages, until) for i in range(n)))
    return [answer for answers in found for answer in answers]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    command = [sys.executable, "-m", "lmscope", "serve", options.folder, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        base = json.loads(server.stdout.readline())["url"]
        pages = addresses(base)
        asyncio.run(crowd(base, pages, 1, 1))
        before = memory_mib(server.pid)
        answers = asyncio.run(crowd(base, pages, options.clients, options.seconds))
        after = memory_mib(server.pid)
        server.send_signal(signal.SIGTERM)
        code = server.wait(30)
    waits = sorted(1000 * wait for _, wait in answers)
    report = {
        "clients": options.clients,
        "seconds": options.seconds,
        "n_pages": len(pages),
        "n_answers": len(answers),
        "n_not_200": sum(status != 200 for status, _ in answers),
        "answers_per_s": round(len(answers) / options.seconds, 1),
        "p50_ms": round(statistics.median(waits), 1),
        "p95_ms": round(waits[int(0.95 * len(waits))], 1),
        "max_ms": round(waits[-1], 1),
        "memory_before_mib": round(before),
        "memory_after_mib": round(after),
        "exit_code": code,
        "n_cores": os.cpu_count(),
    }
    print(json.dumps(report, indent=1))
    return int(report["n_not_200"] > 0 or code != 0)


if __name__ == "__main__":
    sys.exit(main())
