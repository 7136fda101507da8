"""How fast the graph page draws and moves: 3,000 nodes, of 200,000 links the 3,000 strongest.

    python benchmarks/web_graph.py --keep /tmp/web-graph --json web_graph.json

Makes the graph of synthetic_graph.py (`--keep` keeps it, or takes what was kept), starts `lmscope serve` on it and
headless Chromium (LMSCOPE_CHROMIUM, or what PATH has). `first_paint` is the time from the start of the navigation
until nodes and links are on the canvas, with a server that has read the graph before: in a new profile that has
to load the app too, and again with the app in the browser's cache. Then the graph is dragged, zoomed and pointed at, nodes are
focused and the slider is moved, and times between frames are noted. Without a GPU Chromium draws on the
processor, so a screen's own machine shows better times. A frame of 16.7 ms is one of 60 a second.
"""

import argparse
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from playwright.sync_api import Page, sync_playwright

from synthetic_graph import write_run
from web_scroll import FLAGS, NEXT_FRAME, frames, get, served, spread, wait

DRAWN = "() => performance.getEntriesByName('graph-drawn')[0]?.startTime ?? 0"
CANVAS = "canvas.link-canvas"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--nodes", type=int, default=3_000)
    options.add_argument("--links", type=int, default=200_000)
    options.add_argument("--keep", type=Path, help="where the graph's run is kept")
    options.add_argument("--visits", type=int, default=10)
    options.add_argument("--steps", type=int, default=120, help="moves of the pointer")
    options.add_argument("--json", type=Path, help="write the record to this file as well")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = given.keep or Path(name)
        if not list(root.glob("*-trace*")):
            write_run(root, given.nodes, given.links)
        found = measure(root, given.visits, given.steps)
    text = json.dumps(found, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return 0


def measure(root: Path, visits: int, steps: int) -> dict[str, Any]:
    with served([root]) as url, sync_playwright() as playwright:
        chromium = os.environ.get("LMSCOPE_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        (line,) = get(url, "/graphs")["graphs"]
        path = f"{url}/graphs/{quote(line['run'])}/{quote(line['name'])}"
        new: list[float] = []
        again: list[float] = []
        for _ in range(visits):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            new.append(paint(page, path))
            again.append(paint(page, path))
            context.close()
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        paint(page, path)
        found = {
            "load": os.getloadavg(),
            "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
            "chromium": browser.version,
            "nodes": line["n_nodes"],
            "links": line["n_edges"],
            "first_paint_new_profile": spread(new),
            "first_paint_app_in_cache": spread(again),
            "nothing_moves": frames(page, lambda: wait(page, steps)),
            **moves(page, steps),
        }
        browser.close()
    return found


def paint(page: Page, path: str) -> float:
    """Milliseconds from the start of the navigation until the graph is drawn."""
    page.goto(path)
    page.wait_for_function(f"() => ({DRAWN})() > 0")
    page.wait_for_load_state("networkidle")
    return float(page.evaluate(DRAWN))


def moves(page: Page, steps: int) -> dict[str, Any]:
    """What hands do: drag, zoom, point, focus, slide."""
    box = page.locator(CANVAS).bounding_box()
    assert box is not None
    generator = np.random.default_rng(0)
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def drag() -> None:
        page.mouse.move(*middle)
        page.mouse.down()
        for i in range(steps):
            page.mouse.move(middle[0] + 90 * np.sin(i / 9), middle[1] + 60 * np.cos(i / 7))
            page.evaluate(NEXT_FRAME)
        page.mouse.up()

    def zoom() -> None:
        page.mouse.move(*middle)
        page.keyboard.down("Control")
        for i in range(steps):
            page.mouse.wheel(0, -40 if i % 40 < 20 else 40)
            page.evaluate(NEXT_FRAME)
        page.keyboard.up("Control")

    def point() -> None:
        for x, y in generator.uniform(0.1, 0.9, size=(steps, 2)):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            page.evaluate(NEXT_FRAME)

    whole = page.get_by_role("button", name="All", exact=True)
    found = {"point": frames(page, point)}
    page.get_by_role("button", name="Zoom in").click()
    found |= {"drag": frames(page, drag)}
    whole.click()
    found |= {"zoom": frames(page, zoom)}
    whole.click(force=True) if whole.is_enabled() else None
    return {**found, "focus_ms": spread(focus(page)), "slider_ms": spread(slide(page))}


def focus(page: Page) -> list[float]:
    """From a key until the panel shows the next node."""
    return [
        timed(
            page,
            lambda: page.keyboard.press("j"),
            "() => document.querySelector('.node-figures')"
            " && !document.querySelector('.node-panel.stale')",
        )
        for _ in range(15)
    ]


def slide(page: Page) -> list[float]:
    """From a key until the counts are of the nodes that the slider asks for."""
    page.keyboard.press("Escape")
    settled = "() => document.querySelector('.shown-counts').getAttribute('aria-busy') === 'false'"
    return [timed(page, lambda: page.keyboard.press("["), settled) for _ in range(12)]


def timed(page: Page, act: Callable[[], None], until: str) -> float:
    start = page.evaluate("performance.now()")
    act()
    page.evaluate(NEXT_FRAME)
    page.wait_for_function(until)
    return float(page.evaluate("performance.now()")) - start


if __name__ == "__main__":
    raise SystemExit(main())
