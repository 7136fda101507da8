"""A dictionary whose tokens, labels, titles and notes are scripts shows them as the text that they are."""

import json
import urllib.request
from urllib.parse import quote, urlencode

import pytest

pytestmark = pytest.mark.e2e
SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(2)>"
MADE_BY_TOKENS = (
    "main script, main [onerror], main [onload], main img[src='x'], main [href^='javascript']"
)


@pytest.fixture(scope="module")
def hostile(served) -> dict:
    """The hostile dictionary."""
    lines = served.get("/home")["dictionaries"]
    named = [line for line in lines if "hostile" in line["name"]]
    if not named:
        pytest.skip("the served library holds no hostile dictionary")
    return named[0]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_hostile_feature_pages_run_nothing(hostile, open_context, visit, violations, theme):
    page = open_context(theme).new_page()
    at = f"/dictionaries/{quote(hostile['id'])}"
    for latent in range(hostile["n_latents"]):
        visit(page, f"{at}/features/{latent}")
        assert page.locator(MADE_BY_TOKENS).count() == 0
    visit(page, f"{at}/features/0")
    assert SCRIPT in page.locator("main h1").inner_text()
    assert violations(page) == []


def test_hostile_tokens_show_their_values_on_hovering(hostile, page, visit):
    visit(page, f"/dictionaries/{quote(hostile['id'])}/features/1")
    page.locator(".tokens .token.peak").first.hover()
    tip = page.get_by_role("tooltip")
    tip.wait_for()
    assert IMAGE in tip.inner_text().replace("·", " ")
    assert page.locator(MADE_BY_TOKENS).count() == 0


def test_hostile_dictionary_and_searches_run_nothing(hostile, page, visit):
    visit(page, f"/dictionaries/{quote(hostile['id'])}")
    assert page.locator(MADE_BY_TOKENS).count() == 0
    for kind, query in (("label", "alert"), ("token", IMAGE), ("label", SCRIPT)):
        visit(page, "/search?" + urlencode({"kind": kind, "q": query}))
        page.locator(".found-count").wait_for()
        assert page.locator(MADE_BY_TOKENS).count() == 0
    visit(page, "/search?" + urlencode({"kind": "token", "q": IMAGE}))
    assert page.locator(".results .feature-link", has_text=IMAGE).count() == 1


def test_hostile_address_runs_nothing(page, visit, watch):
    watch.expect_refusals()
    for path in (f"/dictionaries/{quote(IMAGE)}", f"/runs/{quote(IMAGE)}", f"/{quote(IMAGE)}"):
        visit(page, path)
        assert page.locator(MADE_BY_TOKENS).count() == 0


def test_hostile_note_comes_back_as_text(hostile, served, page, visit):
    path = f"/dictionaries/{quote(hostile['id'])}/features/2"
    note = {"text": SCRIPT, "star": False, "tags": [IMAGE]}
    request = urllib.request.Request(
        f"{served.url}/api{path}/note",
        json.dumps(note).encode(),
        {"Content-Type": "application/json", "X-Lmscope": "1"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=30).close()
    visit(page, path)
    assert page.get_by_label("Note", exact=True).input_value() == SCRIPT
    assert page.locator(".tag", has_text=IMAGE).count() == 1
    assert page.locator(MADE_BY_TOKENS).count() == 0
