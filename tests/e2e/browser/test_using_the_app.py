"""What people do: search, read a feature, test it, steer with it, write a note, go by keys."""

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.e2e
TEXT = "the rain in the street near the river"


@pytest.fixture(scope="module")
def explained(served) -> dict:
    """A dictionary with weights, an atlas and labels."""
    lines = served.get("/home")["dictionaries"]
    return next(
        line
        for line in lines
        if line["has_atlas"] and line["status"] != "atlas only" and line["n_labels_known"]
    )


@pytest.fixture(scope="module")
def labelled(served, explained) -> dict:
    """A feature whose label is known."""
    at = f"/dictionaries/{quote(explained['id'])}/features?known=true&limit=1"
    return served.get(at)["rows"][0]


@pytest.fixture
def at(explained, labelled) -> str:
    """Its address."""
    return f"/dictionaries/{quote(explained['id'])}/features/{labelled['latent']}"


def _word(label: str) -> str:
    """The longest word of a label, which finds it."""
    return max(re.findall(r"\w+", label), key=len)


def test_search_by_label_from_the_bar_leads_to_the_feature(page, visit, labelled, at):
    visit(page, "/")
    page.keyboard.press("/")
    page.keyboard.type(_word(labelled["label"]))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/search"))
    page.locator(f".results a[href='{at}']").first.click()
    expect(page).to_have_url(re.compile(re.escape(at)))
    expect(page.locator("main h1")).to_contain_text(labelled["label"])


def test_search_by_number_goes_straight_to_the_feature(page, visit, explained, labelled, at):
    visit(page, f"/search?q={quote(explained['id'] + '/' + str(labelled['latent']))}")
    expect(page.locator(".results .feature-link").first).to_have_attribute("href", at)


def test_search_for_neighbours_by_its_form(page, visit, explained, labelled):
    visit(page, "/search?kind=near")
    form = page.get_by_role("search", name="Features near a feature")
    form.get_by_role("combobox", name="Dictionary").select_option(explained["id"])
    form.get_by_role("spinbutton", name="Latent").fill(str(labelled["latent"]))
    form.get_by_role("button", name="Search").click()
    expect(page.locator(".results .feature-link").first).to_be_visible()


def test_one_dictionary_can_be_chosen_for_a_search(page, visit, explained, labelled):
    visit(page, f"/search?q={_word(labelled['label'])}")
    page.locator(".picker summary").click()
    box = page.locator(".picker-list label", has_text=f"{explained['n_latents']:,}")
    box.locator("input").first.check()
    expect(page).to_have_url(re.compile("dictionary="))
    expect(page.locator(".results section")).to_have_count(1)


def test_text_shows_what_fires_and_a_token_orders_it(page, visit, explained):
    visit(page, "/search?kind=text")
    page.get_by_role("textbox", name="A text").fill(TEXT)
    page.keyboard.press("Control+Enter")
    rows = page.locator(".firing tbody tr")
    expect(rows.first).to_be_visible(timeout=120_000)
    before = rows.count()
    strip = page.get_by_role("group", name="Tokens of the text")
    strip.get_by_role("button").last.click()
    there = page.locator(".firing thead th", has_text="there")
    expect(there).to_be_visible()
    column = page.locator(".firing thead th").all_inner_texts().index("there") + 1
    values = [
        float(text)
        for text in page.locator(f".firing tbody td:nth-child({column})").all_inner_texts()
    ]
    assert values == sorted(values, reverse=True)
    assert all(value > 0 for value in values)
    page.keyboard.press("Escape")
    expect(there).to_have_count(0)
    assert rows.count() == before


def test_test_box_reads_a_text(page, visit, at):
    visit(page, at)
    page.keyboard.press("t")
    page.keyboard.type(TEXT)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".test-box").get_by_role("status").first).to_be_visible(timeout=120_000)
    expect(page.locator(".test-box .tokens, .test-box .token-strip").first).to_be_visible(
        timeout=120_000
    )


def test_steering_shows_three_ways_on(page, visit, at):
    visit(page, at)
    page.keyboard.press("p")
    page.get_by_label("Prompt", exact=True).fill("the rain")
    page.get_by_role("textbox", name="New tokens").fill("4")
    page.get_by_role("button", name="Steer", exact=True).click()
    for arm in ("Unedited", "Steered", "Random direction"):
        expect(page.get_by_role("region", name=arm, exact=True)).to_be_visible(timeout=120_000)
    expect(page.get_by_label("The same as a command")).to_contain_text("lmscope steer")


def test_note_star_and_tag_are_there_after_a_reload(page, visit, served, at):
    visit(page, at)
    page.keyboard.press("n")
    page.keyboard.type("seen by a test, 中文 <b>")
    page.get_by_label("Add a tag").fill("checked")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.locator("main h1").click()
    page.keyboard.press("s")
    expect(page.locator(".keeping")).to_have_text("Saved")
    note = served.get(at)["note"]
    assert note["text"] == "seen by a test, 中文 <b>"
    assert note["tags"] == ["checked"]
    page.reload()
    expect(page.get_by_label("Note", exact=True)).to_have_value(note["text"])
    expect(page.locator(".tag")).to_contain_text("checked")
    expect(page.get_by_role("button", name=re.compile("star", re.I))).to_have_attribute(
        "aria-pressed", str(note["star"]).lower()
    )
    page.get_by_label("Note", exact=True).fill("")
    page.get_by_role("button", name="Remove tag checked").click()
    expect(page.locator(".keeping")).to_have_text("Saved")


def test_j_and_k_go_through_the_features(page, visit, explained):
    visit(page, f"/dictionaries/{quote(explained['id'])}/features/3")
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("/features/4$"))
    page.keyboard.press("k")
    expect(page).to_have_url(re.compile("/features/3$"))


def test_question_mark_shows_the_keys_and_escape_hides_them(page, visit, at):
    visit(page, at)
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_contain_text("Next feature")
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()


def test_all_pages_are_reached_by_keys(page, visit):
    visit(page, "/")
    for keys, path in (("gs", "/search"), ("gc", "/compare"), ("gj", "/jobs"), ("gh", "/")):
        for key in keys:
            page.keyboard.press(key)
        expect(page).to_have_url(re.compile(f"{path}$"))


def test_chosen_theme_stays(page, visit):
    visit(page, "/")
    theme = "document.documentElement.dataset.theme"
    page.get_by_role("button", name=re.compile("theme", re.I)).click()
    chosen = page.evaluate(theme)
    page.reload()
    page.locator("main h1").wait_for()
    assert page.evaluate(theme) == chosen


def test_feature_without_weights_says_so(page, visit, served):
    lines = served.get("/home")["dictionaries"]
    bare = [line for line in lines if line["status"] == "atlas only" and line["has_atlas"]]
    if not bare:
        pytest.skip("all dictionaries of the served library have weights")
    visit(page, f"/dictionaries/{quote(bare[0]['id'])}/features/0")
    expect(page.locator("main")).to_contain_text("weights")
    expect(page.get_by_role("button", name="Steer", exact=True)).to_have_count(0)


def test_provenance_opens_and_gives_a_command(page, visit, at):
    visit(page, at)
    page.get_by_role("button", name="Provenance").click()
    drawer = page.get_by_role("dialog", name="Provenance")
    expect(drawer).to_contain_text("lmscope atlas show")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()


def test_comparison_opens_a_group_and_follows_a_child(page, visit, served):
    home = served.get("/home")
    suite = home["suites"][0]["run"]
    same = [line["id"] for line in home["dictionaries"] if line["run"] == suite]
    visit(page, "/compare")
    page.get_by_label("One dictionary").select_option(same[0])
    page.get_by_label("Another").select_option(same[1])
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_role("button", name="All", exact=True).click(timeout=120_000)
    rows = page.get_by_role("list", name="Latents of the narrow dictionary")
    rows.get_by_role("button").first.click()
    detail = page.locator(".group-detail")
    expect(detail.locator(".feature-link").first).to_be_visible()
    detail.locator(".feature-link").first.click()
    expect(page).to_have_url(re.compile("/features/"))
