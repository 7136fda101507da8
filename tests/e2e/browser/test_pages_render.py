"""Every page, over every kind of thing that it shows, in both themes and on a phone."""

from urllib.parse import quote, urlencode

import pytest

pytestmark = pytest.mark.e2e
PAGES = (
    "home",
    "suite",
    "model",
    "run",
    "jobs",
    "dictionary",
    "feature",
    "embedded feature",
    "search",
    "search by label",
    "search by token",
    "search by text",
    "search for neighbours",
    "compare",
    "comparison",
    "no page",
    "no feature",
    "no dictionary",
    "no run",
    "no suite",
)


@pytest.fixture(scope="module")
def addresses(served) -> dict[str, str]:
    """Where the library has one of each."""
    home = served.get("/home")
    dictionary = served.dictionary()
    same = [line for line in home["dictionaries"] if line["run"] == dictionary["run"]]
    if len(same) < 2:
        suite = home["suites"][0]["run"]
        same = [line for line in home["dictionaries"] if line["run"] == suite]
    at = f"/dictionaries/{quote(dictionary['id'])}"
    latent = served.strongest(dictionary["id"])
    feature = served.get(f"{at}/features/{latent}")
    token = feature["peak_tokens"][0]["text"]
    return {
        "home": "/",
        "suite": f"/suites/{quote(home['suites'][0]['run'])}",
        "model": f"/models/{quote(home['models'][0]['id'])}",
        "run": f"/runs/{quote(dictionary['run'] or home['runs'][0]['id'])}",
        "jobs": "/jobs",
        "dictionary": at,
        "feature": f"{at}/features/{latent}",
        "embedded feature": f"{at}/features/{latent}?embed=1",
        "search": "/search",
        "search by label": "/search?q=the",
        "search by token": "/search?" + urlencode({"kind": "token", "q": token}),
        "search by text": "/search?kind=text&q=Once+upon+a+time",
        "search for neighbours": "/search?"
        + urlencode({"kind": "near", "q": f"{dictionary['id']}/{latent}"}),
        "compare": "/compare",
        "comparison": "/compare?" + urlencode({"a": same[0]["id"], "b": same[-1]["id"]}),
        "no page": "/nothing/is/here",
        "no dictionary": "/dictionaries/nothing.12345678",
        "no run": "/runs/nothing",
        "no suite": "/suites/nothing",
        "no feature": f"{at}/features/{dictionary['n_latents'] + 7}",
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page_shows_its_data_and_axe_finds_nothing_serious(
    name, theme, addresses, open_context, visit, violations, watch
):
    page = open_context(theme).new_page()
    if name.startswith("no "):
        watch.expect_refusals()
    visit(page, addresses[name])
    assert page.locator("main h1").inner_text().strip()
    assert page.title().endswith("lmscope")
    if not name.startswith("no "):
        assert page.locator(".failed").all_inner_texts() == []
    assert page.evaluate("document.documentElement.dataset.theme ?? 'light'") == theme
    assert violations(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_page_is_not_wider_than_a_phone(name, addresses, open_context, visit, watch):
    page = open_context(width=420, height=800).new_page()
    if name.startswith("no "):
        watch.expect_refusals()
    visit(page, addresses[name])
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_axe_finds_what_is_wrong(page, visit, violations):
    visit(page, "/")
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert any(line.startswith("button-name") for line in violations(page))


def test_errors_dialogs_and_requests_to_elsewhere_are_noticed(page, visit, watch):
    visit(page, "/")
    page.route("https://elsewhere.example/**", lambda route: route.abort())
    page.evaluate("console.error('seen'); alert('seen')")
    page.goto("about:blank")  # a page without the server's content policy, which lets nothing out
    page.evaluate("fetch('https://elsewhere.example/').catch(() => {})")
    page.wait_for_function("true")
    assert watch.errors
    assert watch.dialogs == ["seen"]
    assert watch.foreign == ["https://elsewhere.example/"]
    watch.forget()
