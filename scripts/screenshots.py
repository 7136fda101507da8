"""Takes pictures of each page of the web app, light and dark, for the documentation.

python scripts/screenshots.py runs docs/assets/web [PAGE ...]
python scripts/screenshots.py shipped docs/assets/web

The folder holds a finished `lmscope demo` with its atlas, and a suite for the grid; `shipped` stands for what comes
with lmscope alone, and shows the board of its player. Chromium is LMSCOPE_CHROMIUM, or what PATH has.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
WIDTH, HEIGHT = 1280, 860
QUALITY = 82
TEXT = "Once upon a time there was a king who said that the river would never flow again."
SHIPPED = "shipped"
GAME = "c2 d2 e2 d1 e4 f2 e1 d5 e5 b5 b4 f3 f5 b2 c1 a5"
PROMPT = "Yesterday I went to the market and"


def main() -> int:
    library, target = Path(sys.argv[1]), Path(sys.argv[2])
    wanted = set(sys.argv[3:])
    target.mkdir(parents=True, exist_ok=True)
    own = str(library) == SHIPPED
    server = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "lmscope"),
            *("serve", "--json", "--port", "0"),
            *([] if own else [library.name]),
        ],
        stdout=subprocess.PIPE,
        cwd=tempfile.mkdtemp()
        if own
        else library.parent,  # pages name the folder as a reader would
        text=True,
    )
    assert server.stdout is not None
    try:
        url = json.loads(server.stdout.readline())["url"].rstrip("/")
        known = boards() if own else pages(url)
        shots = {name: shot for name, shot in known.items() if not wanted or name in wanted}
        take(url, shots, target)
    finally:
        server.terminate()
        server.wait(30)
    return 0


Shot = tuple[str, Callable[[Page], None]]
"""An address, and what is done there before the picture is taken."""


def pages(url: str) -> dict[str, Shot]:
    """What is shown, on the library's own data."""
    home = get(url, "/home")
    shown = next(line for line in home["dictionaries"] if line["has_atlas"])
    suite = home["suites"][0]["run"] if home["suites"] else None
    at = f"/dictionaries/{quote(shown['id'])}"
    latent = exemplary(url, at)
    other = next(
        (
            line
            for line in home["dictionaries"]
            if line["writes"] == shown["writes"] and line["id"] != shown["id"]
        ),
        None,
    )
    example = text_of(get(url, f"{at}/features/{latent}")["groups"][0]["passages"][0])
    found: dict[str, Shot] = {
        "home": ("/", nothing),
        "run": (f"/runs/{quote(shown['run'])}", nothing),
        "jobs": ("/jobs", nothing),
        "dictionary": (f"{at}?order=-detection", nothing),
        "evaluation": (f"{at}?tab=evaluation", nothing),
        "map": (f"{at}?tab=map", draw_map),
        "feature": (f"{at}/features/{latent}", nothing),
        "test-box": (f"{at}/features/{latent}?{urlencode({'text': example})}", test),
        "steering": (f"{at}/features/{latent}", steer),
        "search": ("/search?q=the", nothing),
        "search-text": (f"/search?{urlencode({'kind': 'text', 'q': TEXT})}", point),
    }
    if suite is not None:
        found["grid"] = (f"/suites/{quote(suite)}", nothing)
    if other is not None:
        pair = urlencode({"a": shown["id"], "b": other["id"]})
        found["compare"] = (f"/compare?{pair}", nothing)
    return found


def boards() -> dict[str, Shot]:
    """The board of the player that comes with lmscope, with the circuit of a square's logit."""
    asked = urlencode({"game": GAME, "at": len(GAME.split()) - 2})
    return {"board": (f"/othello/othello-mini-player?{asked}", trace_likeliest)}


def trace_likeliest(page: Page) -> None:
    """Click the legal square that the player holds likeliest."""
    page.locator(".chance").first.wait_for(timeout=180_000)
    squares = page.locator(".board-square.legal")
    chances = [float(text or 0) for text in squares.locator(".chance").all_text_contents()]
    squares.filter(has=page.locator(".chance")).nth(chances.index(max(chances))).click()
    page.get_by_role("list", name="Strongest nodes of the circuit").wait_for(timeout=180_000)


def exemplary(url: str, at: str) -> int:
    """A feature with a label that the evidence supports well, and not the rarest."""
    rows = get(url, f"{at}/features?known=true&order=-detection&limit=50")["rows"]
    return max(rows, key=lambda row: len(row["label"]) * (row["density"] > 0.001))["latent"]


def text_of(passage: dict[str, Any]) -> str:
    """The text of an example, as one line."""
    return " ".join("".join(token["text"] for token in passage["tokens"]).split())


def take(url: str, shots: dict[str, Shot], target: Path) -> None:
    chromium = os.environ.get("LMSCOPE_CHROMIUM") or shutil.which("chromium")
    chromium = chromium or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for theme in ("light", "dark"):
            context = browser.new_context(
                color_scheme=theme,
                viewport={"width": WIDTH, "height": HEIGHT},
                reduced_motion="reduce",
            )
            for name, (path, prepare) in shots.items():
                page = context.new_page()
                page.goto(url + path)
                page.locator("main h1").first.wait_for()
                page.wait_for_load_state("networkidle", timeout=180_000)
                prepare(page)
                page.evaluate("document.activeElement?.blur()")
                picture(page, target / f"{name}-{theme}.webp")
                page.close()
            context.close()
        browser.close()


def picture(page: Page, file: Path) -> None:
    """WebP: a quarter of a PNG's size; playwright itself writes PNG and JPEG only."""
    session = page.context.new_cdp_session(page)
    options = {"format": "webp", "quality": QUALITY}
    file.write_bytes(base64.b64decode(session.send("Page.captureScreenshot", options)["data"]))
    print(f"{file}  {file.stat().st_size / 1000:.0f} kB")


def nothing(page: Page) -> None:
    """The page as it opens."""


def draw_map(page: Page) -> None:
    page.locator("main canvas").first.wait_for(timeout=180_000)


def test(page: Page) -> None:
    page.locator(".test-box").get_by_role("status").first.wait_for(timeout=180_000)
    page.locator(".test-box .tokens").first.wait_for(timeout=180_000)


def steer(page: Page) -> None:
    page.keyboard.press("p")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_role("button", name="Steer", exact=True).click()
    page.get_by_role("region", name="Random direction").wait_for(timeout=180_000)
    page.locator(".steer-result").scroll_into_view_if_needed()


def point(page: Page) -> None:
    """Shade the text by one of the latents."""
    page.locator(".firing button.trace").first.click()


def get(url: str, path: str) -> Any:
    with urllib.request.urlopen(f"{url}/api{path}", timeout=120) as answer:
        return json.load(answer)


if __name__ == "__main__":
    raise SystemExit(main())
