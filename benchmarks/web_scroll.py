"""How smoothly the web app scrolls: a list of 131,072 features, and a grid of 256 dictionaries.

    python benchmarks/web_scroll.py --keep /tmp/serve-features --json scroll.json

Makes the atlas of serve_features.py (`--keep` keeps it, or takes what that benchmark kept) and the suite of
serve_grid.py, starts `lmscope serve` on both and headless Chromium (LMSCOPE_CHROMIUM, or what PATH has), turns
the wheel over the list, jumps to its ends, moves the pointer over the grid, and notes the time between frames. Without a GPU
Chromium draws on the processor, so a screen's own machine shows better times. A frame of 16.7 ms is one of 60 a second.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from playwright.sync_api import Page, sync_playwright

from serve_features import write_run
from serve_grid import write_suite

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
WHEEL_PX = 240
WATCH = """() => {
  window.frames_ms = [];
  let before = performance.now();
  const note = (now) => {
    window.frames_ms.push(now - before);
    before = now;
    window.frame_watch = requestAnimationFrame(note);
  };
  window.frame_watch = requestAnimationFrame(note);
}"""
COLLECT = "() => { cancelAnimationFrame(window.frame_watch); return window.frames_ms.slice(1); }"
WAITING = """() => document.querySelectorAll('.row-waits').length
  / Math.max(1, document.querySelectorAll('.virtual-row').length)"""
NEXT_FRAME = "() => new Promise((done) => requestAnimationFrame(done))"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--latents", type=int, default=131_072)
    options.add_argument("--keep", type=Path, help="where the atlas's run is kept")
    options.add_argument("--steps", type=int, default=200, help="turns of the wheel, and cells")
    options.add_argument("--json", type=Path, help="write the record to this file as well")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        features = given.keep or Path(name) / "features"
        if not (features / "synthetic").exists():
            write_run(features, given.latents)
        grid = Path(name) / "grid"
        write_suite(grid, n_lines=1)
        found = measure([features, grid], given.steps)
    text = json.dumps(found, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return 0


def measure(folders: list[Path], steps: int) -> dict[str, Any]:
    with served(folders) as url, sync_playwright() as playwright:
        chromium = os.environ.get("LMSCOPE_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        found = {
            "load": os.getloadavg(),
            "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
            "chromium": browser.version,
            "nothing_moves": frames(page, lambda: wait(page, steps)),
            "list": measure_list(page, url, steps),
            "grid": measure_grid(page, url, steps),
        }
        browser.close()
    return found


@contextmanager
def served(folders: list[Path]) -> Iterator[str]:
    command = [sys.executable, "-m", "lmscope", "serve", *map(str, folders), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"].rstrip("/")
    finally:
        process.terminate()
        process.wait(timeout=30)


def measure_list(page: Page, url: str, steps: int) -> dict[str, Any]:
    """The wheel over the features of the widest dictionary with an atlas, then leaps to both ends."""
    lines = [line for line in get(url, "/home")["dictionaries"] if line["has_atlas"]]
    line = max(lines, key=lambda one: one["n_latents"])
    opened = open_page(page, f"{url}/dictionaries/{quote(line['id'])}?tab=features")
    rows = page.locator(".virtual-list")
    rows.locator(".virtual-row .feature-link").first.wait_for()
    rows.hover()

    waiting: list[float] = []

    def turn() -> None:
        for _ in range(steps):
            page.mouse.wheel(0, WHEEL_PX)
            page.evaluate(NEXT_FRAME)
            waiting.append(page.evaluate(WAITING))

    scrolled = frames(page, turn)
    rows.focus()
    leaps = []
    for key in ("End", "Home") * 5:
        last = line["n_latents"] if key == "End" else 1
        start = page.evaluate("performance.now()")
        page.keyboard.press(key)
        page.locator(f".virtual-row[aria-posinset='{last}'] .feature-link").wait_for()
        leaps.append(page.evaluate("performance.now()") - start)
    return {
        "n_rows": line["n_latents"],
        "opened_ms": opened,
        "wheel": scrolled,
        "rows_not_loaded_yet": round(float(np.mean(waiting)), 4),
        "leap_to_an_end_ms": spread(leaps),
    }


def measure_grid(page: Page, url: str, steps: int) -> dict[str, Any]:
    """The pointer over the cells of the model or suite with most dictionaries."""
    home = get(url, "/home")
    grids = [(one["n_dictionaries"], f"/models/{quote(one['id'])}") for one in home["models"]]
    grids += [(one["n_dictionaries"], f"/suites/{quote(one['run'])}") for one in home["suites"]]
    n, path = max(grids)
    opened = open_page(page, url + path)
    cells = page.locator(".heat-cell")
    cells.first.wait_for()
    boxes = page.evaluate(
        "() => [...document.querySelectorAll('.heat-cell')].map((c) => { const b = c.getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })"
    )

    def point() -> None:
        for i in range(steps):
            page.mouse.move(*boxes[i * 7 % len(boxes)])
            page.evaluate(NEXT_FRAME)

    pointed = frames(page, point)
    measures = page.locator("fieldset label")
    n_measures = measures.count()

    def recolour() -> None:
        for i in range(1, 4 * n_measures):
            measures.nth(i % n_measures).click()
            page.evaluate(NEXT_FRAME)

    return {
        "n_dictionaries": n,
        "n_cells": cells.count(),
        "opened_ms": opened,
        "pointer": pointed,
        "another_measure": frames(page, recolour),
    }


def open_page(page: Page, address: str) -> float:
    """Milliseconds from the request for the page until what it asked for is drawn."""
    page.goto(address)
    page.locator("main h1").first.wait_for()
    page.wait_for_load_state("networkidle")
    return round(
        page.evaluate(
            "Math.max(...performance.getEntriesByType('resource').map((e) => e.responseEnd))"
        ),
        1,
    )


def frames(page: Page, act: Callable[[], None]) -> dict[str, float]:
    """Times between frames while something happens."""
    page.evaluate(WATCH)
    act()
    return spread(page.evaluate(COLLECT))


def wait(page: Page, n: int) -> None:
    for _ in range(n):
        page.evaluate(NEXT_FRAME)


def spread(times: list[float]) -> dict[str, float]:
    found = {f"p{q}_ms": round(float(np.percentile(times, q)), 1) for q in (50, 95, 99)}
    long = sum(time > 50 for time in times) / len(times)
    return {"n": len(times), **found, "max_ms": round(max(times), 1), "over_50_ms": round(long, 4)}


def get(url: str, path: str) -> Any:
    with urllib.request.urlopen(f"{url}/api{path}", timeout=120) as answer:
        return json.load(answer)


if __name__ == "__main__":
    raise SystemExit(main())
