"""A server in a process of its own, and a browser that reports what goes wrong on a page.

The served library is the small one of the server's tests; LMSCOPE_E2E_LIBRARY names another folder
of runs. Chromium is LMSCOPE_CHROMIUM, or what PATH has.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    sync_playwright,
)

AXE = Path(__file__).parents[3] / "web" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def _fixtures_of_the_server() -> Any:
    """The conftest of the server's tests: fixtures are seen below their folder only."""
    path = Path(__file__).parents[2] / "server" / "conftest.py"
    spec = importlib.util.spec_from_file_location("server_fixtures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_server = _fixtures_of_the_server()
small_library = _server.small_library
traced_library = _server.traced_library


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Chromium as the system has it; playwright's own copy would have to be downloaded."""
    named = os.environ.get("LMSCOPE_CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.fail("no Chromium: install the package `chromium`, or set LMSCOPE_CHROMIUM")
    return found


@dataclass(frozen=True)
class Served:
    """A running `lmscope serve`."""

    url: str

    def get(self, path: str) -> Any:
        """What the JSON address answers."""
        with urllib.request.urlopen(f"{self.url}/api{path}", timeout=60) as answer:
            return json.load(answer)

    def dictionary(self, *, atlas: bool = True, named: str = "") -> dict[str, Any]:
        """The first dictionary that has an atlas, or that bears a name."""
        for line in self.get("/home")["dictionaries"]:
            if line["has_atlas"] >= atlas and named in line["name"]:
                return line
        raise LookupError(f"no dictionary {named!r} with atlas={atlas}")

    def strongest(self, dictionary: str) -> int:
        """The latent of a dictionary with the largest activation."""
        rows = self.get(f"/dictionaries/{quote(dictionary)}/features?order=-max&limit=1")["rows"]
        return int(rows[0]["latent"])


def _start(*folders: Path, cache: Path | None = None, cwd: Path | None = None) -> Iterator[Served]:
    command = [str(Path(sys.executable).parent / "lmscope"), "serve", *map(str, folders)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if cache is not None:
        environment["LMSCOPE_CACHE"] = str(cache)
    process = subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, text=True, env=environment, cwd=cwd
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert line, f"the server did not start: exit status {process.wait()}"
        yield Served(json.loads(line)["url"].rstrip("/"))
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="session")
def start_server() -> Callable[..., Iterator[Served]]:
    """Starts `lmscope serve` on some folders, with a cache and a working folder of its own."""
    return _start


@pytest.fixture(scope="session")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The server that every test looks at."""
    named = os.environ.get("LMSCOPE_E2E_LIBRARY")
    folder = Path(named) if named else request.getfixturevalue("small_library").root
    yield from _start(folder)


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """Serve another folder, until the module's tests are done."""
    with contextlib.ExitStack() as stack:
        start = contextlib.contextmanager(_start)
        yield lambda *folders: stack.enter_context(start(*folders))


@pytest.fixture(scope="session")
def browser(chromium_path: str) -> Iterator[Browser]:
    """One browser for all tests; each has a profile of its own in it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Watch:
    """What a page must not do."""

    errors: list[str] = field(default_factory=list)
    """Uncaught exceptions and messages of level error, refusals of the content policy among them."""
    dialogs: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Requests to anything but this machine."""
    refusals_expected: bool = False

    def expect_refusals(self) -> None:
        """The browser itself calls an answer of 4xx an error; this page is there to show one."""
        self.refusals_expected = True

    def forget(self) -> None:
        """What was seen so far was meant."""
        self.errors.clear()
        self.dialogs.clear()
        self.foreign.clear()

    def attach(self, context: BrowserContext) -> None:
        context.on("request", self._request)
        context.on("console", self._console)
        context.on("dialog", self._dialog)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.hostname not in LOOPBACK:
            self.foreign.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        refused = message.text.startswith("Failed to load resource") and " 4" in message.text
        if message.type == "error" and not (refused and self.refusals_expected):
            self.errors.append(f"{message.text} ({message.location.get('url')})")

    def _dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def check(self) -> None:
        assert self.errors == []
        assert self.dialogs == []
        assert self.foreign == []


@pytest.fixture
def watch() -> Watch:
    """What went wrong on the pages of a test."""
    return Watch()


@pytest.fixture
def open_context(browser: Browser, watch: Watch) -> Iterator[Callable[..., BrowserContext]]:
    """Make a profile with a theme and a size; afterwards nothing may have gone wrong in it."""
    opened: list[BrowserContext] = []

    def make(theme: str = "light", width: int = 1280, height: int = 900) -> BrowserContext:
        context = browser.new_context(
            color_scheme=theme, viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        context.set_default_timeout(30_000)
        watch.attach(context)
        opened.append(context)
        return context

    yield make
    for context in opened:
        context.close()
    watch.check()


@pytest.fixture
def page(open_context: Callable[..., BrowserContext]) -> Page:
    """A page in a profile of its own."""
    return open_context().new_page()


@pytest.fixture
def visit(served: Served) -> Callable[[Page, str], None]:
    """Go to an address of the app and wait until what it asked for is there."""

    def go(page: Page, path: str) -> None:
        page.goto(served.url + path)
        page.locator("main h1").first.wait_for()
        page.wait_for_load_state("networkidle")

    return go


@pytest.fixture
def violations() -> Callable[[Page], list[str]]:
    """What axe finds serious or critical on a page, one line each."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: `npm ci` in web/ brings it")
    source = AXE.read_text()

    def find(page: Page) -> list[str]:
        page.evaluate(source)
        found = page.evaluate(
            "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
        )
        return [
            f"{one['id']} ({one['impact']}): {one['help']}: {node['target']} {node['html'][:160]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"]
        ]

    return find
