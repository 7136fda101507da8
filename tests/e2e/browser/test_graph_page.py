"""The graph page: what a prompt is traced to, claims put to the test, groups, views, and two prompts compared."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from lmscope.circuits.graph import Graph

pytestmark = pytest.mark.e2e
HOSTILE = "<img src=x onerror=alert(1)>"
MADE_BY_TEXT = "main img[src='x'], main [onerror], main script, main bdi b"


@pytest.fixture(scope="module")
def library(traced_library, tmp_path_factory):
    """Traces whose features have a script for a label."""
    root = Path(shutil.copytree(traced_library.root, tmp_path_factory.mktemp("graphs") / "runs"))
    own = traced_library.at(root)
    for run in (own.stream, own.layers):
        file = root / run / "artifacts" / "labels.json"
        labels = json.loads(file.read_text()) if file.exists() else {}
        graph = next((root / run).glob("artifacts/graphs/*.graph"))
        for one in Graph.load(graph).meta.dictionaries:
            labels |= {f"{one.name}/{latent}": HOSTILE for latent in range(one.n_latents)}
        file.write_text(json.dumps(labels))
    return own


@pytest.fixture(scope="module")
def served(serve, library):
    """A server of these traces, in place of the one that other pages are looked at with."""
    return serve(library.root)


@pytest.fixture
def at(library) -> str:
    """The graph of the first prompt, of which everything is served."""
    return f"/graphs/{quote(library.stream)}/{quote(library.names[0])}"


@pytest.fixture
def other(library) -> str:
    """The graph of the second prompt, which has marks of a page in it."""
    return f"/graphs/{quote(library.stream)}/{quote(library.names[1])}"


@pytest.fixture
def graph(served, at) -> dict:
    """The same graph as the page gets it."""
    return served.get(at)


def _strongest(graph: dict, kind: str = "feature") -> int:
    nodes = graph["nodes"]
    rows = [i for i, one in enumerate(nodes["kind"]) if one == kind]
    return max(rows, key=lambda i: abs(nodes["attribution"][i]))


def _focus(page: Page, visit, at: str, node: str) -> None:
    visit(page, f"{at}?focus={quote(node)}")
    page.locator(".node-figures").wait_for()


def _choose(page: Page, run: str) -> None:
    """Take the dictionaries of a run."""
    choice = page.get_by_role("combobox", name=re.compile("^Dictionaries"))
    values = [option.get_attribute("value") or "" for option in choice.locator("option").all()]
    choice.select_option(next(value for value in values if run in value))


def test_ledger_and_counts_are_those_of_the_graph(page, visit, at, graph):
    visit(page, at)
    expect(page.locator(".ledger-sum")).to_contain_text("closes")
    expect(page.locator(".shown-counts")).to_contain_text(f"{graph['n_nodes_all']} nodes")
    page.wait_for_function("() => performance.getEntriesByName('graph-drawn').length === 1")
    rows = page.get_by_role("list", name="Nodes of the graph").get_by_role("listitem")
    expect(rows.first).to_be_visible()


def test_keys_walk_the_nodes_and_the_address_keeps_the_focus(page, visit, at, graph):
    visit(page, at)
    page.keyboard.press("j")
    page.locator(".node-figures").wait_for()
    order = sorted(
        (i for i, kind in enumerate(graph["nodes"]["kind"]) if kind != "target"),
        key=lambda i: -abs(graph["nodes"]["attribution"][i]),
    )
    first = graph["nodes"]["id"][order[0]]
    expect(page).to_have_url(re.compile(re.escape(quote(first, safe="")) + "|" + re.escape(first)))
    page.reload()
    expect(page.locator(".node-figures")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".node-figures")).to_have_count(0)


def test_a_click_on_the_canvas_focuses_the_node_under_it(page, visit, at):
    visit(page, at)
    canvas = page.locator("canvas.link-canvas")
    canvas.focus()
    page.keyboard.press("ArrowDown")
    tip = page.locator(".map-tip strong")
    expect(tip).to_be_visible()
    page.keyboard.press("Enter")
    page.locator(".node-figures").wait_for()


def test_the_slider_takes_nodes_away_and_undo_brings_them_back(page, visit, at):
    visit(page, at)
    counts = page.locator(".shown-counts")
    before = counts.inner_text()
    for _ in range(12):
        page.keyboard.press("[")
    expect(counts).not_to_have_text(before)
    for _ in range(12):
        page.keyboard.press("u")
    expect(counts).to_have_text(before)
    page.keyboard.press("Shift+U")
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()


def test_a_claim_is_untested_until_it_is_tried(page, visit, served, at, graph):
    node = graph["nodes"]["id"][_strongest(graph)]
    _focus(page, visit, at, node)
    part = page.get_by_role("region", name="Test of the claim")
    expect(part).to_contain_text("untested")
    part.get_by_role("button", name="Test this").click()
    expect(part.locator(".verdict")).to_be_visible(timeout=180_000)
    expect(part).not_to_contain_text("untested")
    (test,) = served.get(f"{at}/tests")["tests"]
    assert test["nodes"] == [node]
    page.reload()
    expect(part.locator(".verdict")).to_be_visible()
    page.get_by_role("tab", name=re.compile("Tests")).click()
    expect(page.locator(".all-tests")).to_contain_text(node)


def test_pins_groups_and_their_drawing_are_there_again_in_a_saved_view(page, visit, served, at):
    visit(page, at)
    page.keyboard.press("c")
    page.get_by_role("button", name="Pin the strongest nodes").click()
    boxes = page.locator(".circuit-drawing .box")
    expect(boxes.nth(1)).to_be_visible()
    n = boxes.count()
    box = boxes.last
    box.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name=re.compile("^Views")).click()
    page.get_by_label("Name of the view").fill("mine <b>")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("button", name="mine <b>", exact=True)).to_be_visible()
    kept = served.get(f"{at}/views")["views"]["mine <b>"]
    assert len(kept["pinned"]) == n - 1
    assert len(kept["moved"]) == 1
    page.reload()
    page.locator("main h1").wait_for()
    page.get_by_role("button", name=re.compile("^Views")).click()
    page.get_by_role("button", name="mine <b>", exact=True).click()
    page.get_by_role("button", name=re.compile("^Circuit")).click()
    expect(boxes).to_have_count(n)


def test_selected_nodes_become_a_group_that_can_be_renamed_and_undone(page, visit, at):
    visit(page, at)
    area = page.locator("canvas.link-canvas").bounding_box()
    page.keyboard.down("Shift")
    page.mouse.move(area["x"] + 95, area["y"] + 2)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    page.mouse.move(area["x"] + area["width"] - 4, area["y"] + area["height"] - 60)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.get_by_role("group", name="Selected nodes").get_by_role("button", name="Group").click()
    name = page.get_by_label(re.compile("^Name of the group"))
    name.fill("all of it")
    name.press("Enter")
    expect(page.get_by_label("Name of the group all of it")).to_be_visible()
    page.locator("main h1").click()
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect(name).to_have_count(0)


def test_an_attention_score_is_taken_apart_against_another_key(page, visit, at):
    visit(page, at)
    page.get_by_role("tab", name="Attention scores").click()
    page.get_by_role("button", name="Take apart").click()
    expect(page.locator(".pair-map .pair").first).to_be_visible(timeout=180_000)
    expect(page.locator(".score-head")).to_contain_text("residual")
    page.get_by_role("button", name="vs").first.click()
    expect(page.locator(".score-head")).to_contain_text("rather than", timeout=60_000)


def test_faithfulness_and_thresholds_are_shown(page, visit, at):
    visit(page, at)
    page.get_by_role("tab", name="Faithfulness").click()
    expect(page.get_by_role("region", name="Faithfulness")).to_contain_text("model itself")
    expect(page.get_by_role("region", name="Thresholds")).to_be_visible()


@pytest.mark.parametrize("kind", ["neuronpedia", "graphml", "graph"])
def test_exports_are_downloads(page, visit, at, kind):
    visit(page, at)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.locator(f".views-menu a[href$='as={kind}']").click()
    assert Path(download.value.path()).stat().st_size > 0


def test_two_prompts_are_compared_and_lead_back(page, visit, library, at):
    a, b = (f"{library.stream}/{name}" for name in library.names)
    visit(page, f"/graphs/compare?a={quote(a)}&b={quote(b)}")
    rows = page.get_by_role("list", name="Nodes of both graphs").get_by_role("listitem")
    expect(rows.first).to_be_visible()
    page.get_by_role("button", name=re.compile("Only in B")).click()
    page.get_by_role("button", name=re.compile("^All ")).click()
    rows.first.locator("a").click()
    expect(page).to_have_url(re.compile("/graphs/.*focus="))


def test_a_prompt_is_traced_on_the_page(page, visit, library):
    visit(page, "/graphs")
    page.get_by_label("Prompt", exact=True).fill("the sea")
    _choose(page, library.stream)
    page.get_by_role("button", name="Trace", exact=True).click()
    expect(page.locator(".ledger-sum")).to_contain_text("closes", timeout=180_000)


def test_a_wrong_prompt_is_refused_in_a_sentence(page, visit, watch, library):
    watch.expect_refusals()
    visit(page, "/graphs")
    page.get_by_label("Prompt", exact=True).fill("the sea")
    page.get_by_label("Target", exact=True).fill('" no such token at all"')
    _choose(page, library.stream)
    page.get_by_role("button", name="Trace", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("token", timeout=180_000)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_are_texts_and_axe_finds_nothing(
    open_context, visit, violations, at, other, library, theme
):
    page = open_context(theme).new_page()
    layered = f"/graphs/{quote(library.layers)}/{quote(library.layered)}"
    for path in ("/graphs", at, other, layered):
        visit(page, path)
        assert page.locator(MADE_BY_TEXT).count() == 0
    expect(page.locator(".node-list")).to_contain_text(HOSTILE)
    page.keyboard.press("j")
    page.locator(".node-figures").wait_for()
    assert page.locator(MADE_BY_TEXT).count() == 0
    assert violations(page) == []
    page.keyboard.press("c")
    page.get_by_role("button", name="Pin the strongest nodes").click()
    assert violations(page) == []
    visit(page, "/graphs")
    assert violations(page) == []


def test_narrow_screens_do_not_scroll_sideways(open_context, visit, at):
    page = open_context(width=390, height=800).new_page()
    visit(page, at)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_unknown_graph_says_so(page, visit, watch, library):
    watch.expect_refusals()
    visit(page, f"/graphs/{quote(library.stream)}/nothing")
    expect(page.get_by_role("alert")).to_contain_text("nothing")
