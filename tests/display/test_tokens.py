import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.display.tokens import TokenStrip
from lmscope.display.visible import visible


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add((tag, *sorted(name for name, _ in attrs)))

    def handle_data(self, data):
        self.text += data


@given(st.lists(st.tuples(st.text(), st.floats()), max_size=5))
def test_no_token_can_add_tags_and_all_text_arrives(pairs):
    strip = TokenStrip(tuple(t for t, _ in pairs), tuple(v for _, v in pairs))
    page = Tags()
    page.feed(strip.to_html())
    page.close()
    assert page.tags <= {("div", "style"), ("span", "style", "title"), ("br",)}
    assert page.text == "".join(visible(token) for token in strip.tokens)


def test_script_is_shown_not_run():
    html = TokenStrip(("<script>", '"><img onerror=x>'), (1.0, 0.0)).to_html()
    assert "&lt;script&gt;" in html
    assert "<img" not in html


def test_the_largest_value_has_the_full_colour_and_zero_none():
    strip = TokenStrip(("a", "b", "c", "d"), (0.0, 2.0, -2.0, float("nan")))
    assert strip.colour(0.0) is None
    assert strip.colour(2.0) == (230, 120, 0)
    assert strip.colour(-2.0) == (0, 114, 178)
    assert strip.colour(1.0) == (242, 188, 128)  # half-way from white, each rounded
    assert strip.colour(float("nan")) is None


def test_a_given_scale_caps_the_colour():
    strip = TokenStrip(("a",), (8.0,), full=4.0)
    assert strip.colour(8.0) == strip.colour(4.0)
    assert strip.colour(2.0) != strip.colour(4.0)


def test_the_terminal_gets_text_and_backgrounds():
    strip = TokenStrip((" the", "\n", "cat"), (1.0, 0.0, 0.0))
    assert "\n" not in strip.to_rich(break_lines=False).plain
    text = strip.to_rich()
    assert text.plain == " the↵\ncat"
    assert [str(span.style) for span in text.spans] == ["#000000 on #e67800"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [(" ", "·"), ("  ", "··"), (" a", " a"), ("\n\t", "↵⇥"), ("\x1b[31m", "⟨001B⟩[31m"),
     ("\u202e", "⟨202E⟩"), ("\ud800", "⟨D800⟩"), ("\u200b", "⟨200B⟩"), ("é漢", "é漢"), ("", "")],
)  # fmt: skip
def test_what_cannot_be_seen_is_spelt_out(text, seen):
    assert visible(text) == seen


@given(st.text())
def test_visible_text_has_no_control_characters(text):
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", visible(text))


def test_wrong_lengths_and_scales_are_refused():
    with pytest.raises(DataError, match="2 tokens and 1 values"):
        TokenStrip(("a", "b"), (1.0,))
    with pytest.raises(DataError, match="above 0"):
        TokenStrip(("a",), (1.0,), full=0.0)
