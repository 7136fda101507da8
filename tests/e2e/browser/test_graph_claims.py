"""Links and groups of a graph put to the test on its page, groups that are proposed, and graphs without a source."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest
import tomli_w
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.e2e
FIRST_ANSWER_MS = 180_000
"""The first question loads the model."""
UNNAMED = "20260101-000000-trace-unnamed"
LABEL = "<b>sea</b> words"


@pytest.fixture(scope="module")
def library(traced_library, tmp_path_factory):
    """Traces whose features have one label, one of them with a recipe that names no dictionaries."""
    root = Path(shutil.copytree(traced_library.root, tmp_path_factory.mktemp("claims") / "runs"))
    own = traced_library.at(root)
    (dictionary,) = {one["name"] for one in _dictionaries(root / own.stream)}
    labels = {f"{dictionary}/{latent}": LABEL for latent in range(64)}
    (root / own.stream / "artifacts" / "labels.json").write_text(json.dumps(labels))
    _leave_dictionaries_unnamed(Path(shutil.copytree(root / own.layers, root / UNNAMED)))
    return own


@pytest.fixture(scope="module")
def served(serve, library):
    """A server of these traces, in place of the one that other pages are looked at with."""
    return serve(library.root)


@pytest.fixture
def at(library) -> str:
    """A graph of one dictionary that is served, so that its features have labels and decoder rows."""
    return f"/graphs/{quote(library.stream)}/{quote(library.names[0])}"


@pytest.fixture
def layered(library) -> str:
    """A graph of transcoders at all layers, with links from feature to feature."""
    return f"/graphs/{quote(library.layers)}/{quote(library.layered)}"


@pytest.fixture
def unnamed(library) -> str:
    """A graph whose run took the dictionaries that come with lmscope, as far as its recipe tells."""
    return f"/graphs/{UNNAMED}/{quote(library.layered)}"


def _dictionaries(run: Path) -> list[dict[str, str]]:
    from lmscope.circuits.graph import Graph

    graph = Graph.load(next(run.glob("artifacts/graphs/*.graph")))
    return [{"name": one.name} for one in graph.meta.dictionaries]


def _leave_dictionaries_unnamed(run: Path) -> None:
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    del recipe["dictionaries"]
    (run / "recipe.toml").write_text(tomli_w.dumps(recipe))


def _try(part: Locator) -> None:
    """Press "Test this" and wait for one more result."""
    n = part.locator(".verdict").count()
    part.get_by_role("button", name="Test this").click()
    expect(part.locator(".verdict")).to_have_count(n + 1, timeout=FIRST_ANSWER_MS)


def _find_groups(page: Page, by: str, least: str | None = None) -> None:
    page.get_by_role("tab", name=re.compile("^Groups")).click()
    page.get_by_role("combobox", name="Alike in").select_option(by)
    if least is not None:
        page.get_by_label("at least").fill(least)
    page.get_by_role("button", name="Find groups").click()


def _upper_end(served, at: str) -> tuple[dict, dict]:
    """The feature that gets most from another feature, and that link."""
    graph = served.get(at)
    nodes, links = graph["nodes"], graph["links"]
    both = [
        (abs(flow), goal)
        for source, goal, flow in zip(links["source"], links["goal"], links["flow"], strict=True)
        if nodes["kind"][source] == nodes["kind"][goal] == "feature"
    ]
    place = nodes["place"][max(both)[1]]
    node = served.get(f"{at}/node?node={place}")
    return node, next(end for end in node["incoming"] if end["kind"] == "feature")


def test_a_link_is_ablated_and_scaled_and_the_results_stay_beside_it(page, visit, served, layered):
    node, link = _upper_end(served, layered)
    visit(page, f"{layered}?focus={quote(node['id'])}")
    below = page.get_by_role("region", name="From below")
    beaker = below.locator(".test-link").first
    beaker.click()
    part = below.get_by_role("region", name="Test of the claim")
    expect(part).to_contain_text("untested")
    _try(part)
    expect(part).not_to_contain_text("untested")
    part.get_by_role("button", name="Scale").click()
    part.get_by_label("Multiply by").fill("3")
    _try(part)
    expect(part.locator(".test-line").first).to_contain_text(re.compile(r". 3: "))
    tripled, ablated = served.get(f"{layered}/tests")["tests"]
    assert tripled["edge"] == ablated["edge"] == [link["id"], node["id"]]
    assert (ablated["how"], tripled["how"], tripled["value"]) == ("ablate", "scale", 3)
    # Along one link everything is linear but the upper end's threshold: what was claimed is what is found.
    assert ablated["expected"] == pytest.approx(-link["flow"], rel=1e-3)
    assert ablated["linear"] == pytest.approx(-link["flow"], rel=1e-3)
    assert tripled["linear"] == pytest.approx(2 * link["flow"], rel=1e-3)
    beaker.click()
    expect(part).to_have_count(0)
    page.reload()
    below.locator(".test-link").first.click()
    expect(part.locator(".verdict")).to_have_count(2)


def test_an_amount_that_changes_nothing_is_refused_before_it_is_sent(page, visit, served, layered):
    node, _ = _upper_end(served, layered)
    visit(page, f"{layered}?focus={quote(node['id'])}")
    part = page.get_by_role("region", name="Test of the claim").first
    part.get_by_role("button", name="Scale").click()
    for amount, why in (("1", "nothing changes"), ("", "number"), ("1e9", "lies between")):
        part.get_by_label("Multiply by").fill(amount)
        expect(part.get_by_role("alert")).to_contain_text(why)
        expect(part.get_by_role("button", name="Test this")).to_be_disabled()
    part.get_by_role("button", name="Set").click()
    part.get_by_label("Set to").fill("0.5")
    expect(part.get_by_role("alert")).to_have_count(0)
    expect(part.get_by_role("button", name="Test this")).to_be_enabled()


def test_a_group_is_changed_as_one_claim(page, visit, served, at):
    visit(page, at)
    _find_groups(page, "label")
    page.get_by_role("button", name=re.compile("^Take all")).click()
    line = page.locator(".group-list li").filter(has=page.get_by_role("button", name="Ungroup"))
    expect(line).to_have_count(1)
    line.get_by_role("button", name="Test", exact=True).click()
    part = line.get_by_role("region", name="Test of the claim")
    expect(part).to_contain_text("untested")
    _try(part)
    part.get_by_role("button", name="Scale").click()
    part.get_by_label("Multiply by").fill("2")
    _try(part)
    (group,) = served.get(f"{at}/supernodes?by=label&share=1")["groups"]
    doubled, ablated = served.get(f"{at}/tests")["tests"]
    assert sorted(ablated["nodes"]) == sorted(doubled["nodes"]) == sorted(group["ids"])
    assert ablated["claimed"] == pytest.approx(group["attribution"], rel=1e-4)
    assert ablated["expected"] == pytest.approx(-doubled["expected"], rel=1e-4)
    tests = page.get_by_role("tab", name="Tests (2)")
    tests.click()
    expect(page.locator(".all-tests .test-line")).to_have_count(2)
    page.get_by_role("tab", name="Groups (1)").click()
    line.get_by_role("button", name="Ungroup").click()
    expect(line).to_have_count(0)


def test_groups_are_proposed_by_a_measure_and_taken_one_by_one(page, visit, served, at):
    visit(page, at)
    _find_groups(page, "decoder", "0.3")
    found = served.get(f"{at}/supernodes?by=decoder&share=1&least=0.3")
    assert found["groups"]
    proposed = page.locator(".group-list li").filter(
        has=page.get_by_role("button", name="Take", exact=True)
    )
    expect(proposed).to_have_count(len(found["groups"]))
    expect(page.locator(".groups-tab")).to_contain_text("decoder rows point one way")
    first = found["groups"][0]
    expect(proposed.first.locator("bdi")).to_have_text(first["name"])
    proposed.first.get_by_role("button", name="Take", exact=True).click()
    own = page.get_by_label(re.compile("^Name of the group"))
    expect(own).to_have_value(first["name"])
    page.get_by_role("button", name=f"{len(first['ids'])} nodes").click()
    selected = page.get_by_role("group", name="Selected nodes")
    expect(selected).to_contain_text(f"{len(first['ids'])} selected")
    page.locator("main h1").click()
    page.keyboard.press("u")
    expect(own).to_have_count(0)


def test_a_measure_that_finds_nothing_says_so_and_a_wrong_limit_cannot_be_asked(
    page, visit, at, layered
):
    visit(page, layered)  # its features have no labels
    _find_groups(page, "label")
    expect(page.locator(".groups-tab")).to_contain_text("No two features are so much alike")
    expect(page.locator(".groups-tab")).to_contain_text("features have nothing to compare")
    expect(page.get_by_label("at least")).to_be_disabled()
    page.get_by_role("combobox", name="Alike in").select_option("decoder")
    page.get_by_label("at least").fill("2")
    expect(page.get_by_role("button", name="Find groups")).to_be_disabled()
    visit(page, at)
    _find_groups(page, "activation", "0.5")
    expect(page.locator(".groups-tab")).to_contain_text("2 prompts of this run")


def test_a_graph_whose_recipe_names_no_dictionaries_can_be_read_and_asked_about(
    page, visit, watch, served, unnamed, layered
):
    node, _ = _upper_end(served, layered)
    assert served.get(unnamed)["ledger"] == served.get(layered)["ledger"]
    watch.expect_refusals()
    visit(page, f"{unnamed}?focus={quote(node['id'])}")
    expect(page.locator(".ledger-sum")).to_contain_text("closes")
    part = page.get_by_role("region", name="Test of the claim").first
    expect(part).to_contain_text("untested")
    part.get_by_role("button", name="Test this").click()
    # What comes with lmscope is another model than this graph's, and that is what the page has to tell.
    expect(part.get_by_role("alert")).to_be_visible(timeout=FIRST_ANSWER_MS)
    expect(part).to_contain_text("untested")
    assert served.get(f"{unnamed}/tests")["tests"] == []
