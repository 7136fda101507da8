"""What who has just installed lmscope does first: `lmscope serve` in an empty folder, and a prompt that is traced."""

import contextlib
import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.e2e
COPIED = " walk light again follow often simple walk light again follow often"


@pytest.fixture(scope="module")
def served(tmp_path_factory, start_server):
    """Nothing is named, nothing is there yet, and no model was fetched."""
    folder = tmp_path_factory.mktemp("first")
    with contextlib.contextmanager(start_server)(cache=folder / "cache", cwd=folder) as server:
        yield server


def test_garden_is_there_and_a_prompt_is_traced_and_tried(page, visit, served):
    visit(page, "/")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("garden (comes with lmscope)")
    visit(page, "/graphs")
    page.get_by_label("Prompt", exact=True).fill(COPIED)
    page.get_by_role("button", name="Trace", exact=True).click()
    expect(page.locator(".ledger-sum")).to_contain_text("closes", timeout=180_000)
    expect(page).to_have_url(re.compile("/graphs/[^/]+/[^/]+"))
    expect(page.locator("main")).to_contain_text('" simple"')
    run, name = page.url.partition("/graphs/")[2].partition("?")[0].split("/")
    nodes = served.get(f"/graphs/{run}/{name}")["nodes"]
    features = [i for i, kind in enumerate(nodes["kind"]) if kind == "feature"]
    strongest = max(features, key=lambda i: abs(nodes["attribution"][i]))
    visit(page, f"/graphs/{run}/{name}?focus={nodes['id'][strongest]}")
    part = page.get_by_role("region", name="Test of the claim")
    part.get_by_role("button", name="Test this").click()
    expect(part.locator(".verdict")).to_be_visible(timeout=180_000)
