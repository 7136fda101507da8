"""The board of a player of Othello: games step by step, what the model makes of them, and squares traced."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.e2e
HOSTILE = "<img src=x onerror=alert(1)>"
MADE_BY_TEXT = "main img[src='x'], main [onerror], main script"
GAME = "c2 d2 e2 d1 e4 f2 e1 d5"


def _fixtures_of_players() -> Any:
    path = Path(__file__).parents[2] / "server" / "othello" / "conftest.py"
    spec = importlib.util.spec_from_file_location("othello_fixtures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_players = _fixtures_of_players()
othello_library = _players.othello_library


@pytest.fixture(scope="module")
def library(othello_library, tmp_path_factory):
    """A player whose features say of c2 that it is the other player's."""
    root = Path(shutil.copytree(othello_library.root, tmp_path_factory.mktemp("boards") / "runs"))
    own = othello_library.at(root)
    _players.say_one_thing(own, "yours c2")
    return own


@pytest.fixture(scope="module")
def served(serve, library):
    """A server of this player, in place of the one that other pages are looked at with."""
    return serve(library.root)


@pytest.fixture
def at(library) -> str:
    """The board after two moves of a game."""
    return f"/othello/{quote(library.player)}?" + urlencode({"game": GAME, "at": 2})


def _square(page, name: str):
    return page.get_by_role("gridcell", name=re.compile(rf"^{name},"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_board_shows_rules_model_and_features_and_axe_finds_nothing(
    at, theme, open_context, visit, violations
):
    page = open_context(theme).new_page()
    visit(page, at)
    expect(page.get_by_role("gridcell")).to_have_count(36)
    expect(_square(page, "d2")).to_have_accessible_name(
        re.compile("^d2, white disc, just taken, probability")
    )
    expect(page.get_by_text(re.compile("to legal moves"))).to_be_visible()
    rows = page.get_by_role("list", name="Features that are on").get_by_role("listitem")
    expect(rows).to_have_count(4)
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(page.url.split("/othello")[0] + "/othello")
    expect(page.get_by_role("link", name="small-player", exact=True)).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_keys_step_and_a_row_marks_its_squares(page, visit, at):
    visit(page, at)
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("Move 3 of 8: black took e2.")).to_be_visible()
    row = page.get_by_role("list", name="Features that are on").get_by_role("listitem").first
    row.get_by_role("link").focus()
    expect(_square(page, "c2")).to_have_accessible_name(re.compile("spoken of$"))
    expect(row.locator(".said")).to_contain_text("yours c2")
    page.keyboard.press("n")
    expect(page.get_by_role("textbox", name="Game")).not_to_have_value(GAME)
    expect(page.get_by_text(re.compile("^Move 10 of 32"))).to_be_visible()


def test_a_traced_square_shows_its_circuit_and_its_graph_leads_back(page, visit, at, library):
    visit(page, at)
    _square(page, "e2").click()
    rows = page.get_by_role("list", name="Strongest nodes of the circuit").get_by_role("listitem")
    expect(rows.first).to_be_visible()
    expect(_square(page, "c2")).to_have_accessible_name(re.compile("adds"))
    board = page.url
    page.get_by_role("link", name="Open the graph").click()
    expect(page.locator(".graph-head h1")).to_contain_text("c2 d2")
    page.get_by_role("link", name="Board").click()
    expect(page.get_by_text("Move 2 of 2: white took d2.")).to_be_visible()
    assert board.split("?")[0] == page.url.split("?")[0]
    expect(rows.first).to_be_visible()


def test_hostile_and_illegal_games_are_text_and_refused_in_a_sentence(page, visit, at, watch):
    watch.expect_refusals()
    visit(page, at)
    for game, sentence in (
        (HOSTILE, "'<img' is no square of a board of 6 by 6"),
        ("c2 c2", "Move 2: c2 is not legal for white there"),
        ("c2 h8", "'h8' is no square of a board of 6 by 6"),
    ):
        page.get_by_role("textbox", name="Game").fill(game)
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("alert")).to_contain_text(sentence)
        expect(page.get_by_text("Move 2 of 8: white took d2.")).to_be_visible()
    visit(page, at.split("?")[0] + "?" + urlencode({"game": HOSTILE}))
    expect(page.get_by_role("alert")).to_contain_text("'<img' is no square")
    expect(page.get_by_role("textbox", name="Game")).to_have_value(HOSTILE)
    assert page.locator(MADE_BY_TEXT).count() == 0


def test_a_training_that_is_not_finished_says_so(page, visit, library, watch):
    watch.expect_refusals()
    visit(page, f"/othello/{quote(library.stopped)}")
    expect(page.get_by_role("alert")).to_contain_text("is not finished (interrupted)")
    visit(page, f"/runs/{quote(library.player)}")
    expect(page.get_by_role("link", name="Board")).to_be_visible()
    visit(page, "/")
    expect(page.get_by_role("link", name="Boards of Othello players")).to_be_visible()
