import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from lmscope.atlas.exchange.html import write_html


class Page(HTMLParser):
    """Elements, attributes and script texts as a browser sees them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.data, self._open = [], [], {}, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._open = (tag, dict(attrs).get("id", ""))

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open:
            self.data[self._open] = self.data.get(self._open, "") + data

    def packed(self, name):
        return json.loads(gzip.decompress(base64.b64decode(self.data["script", name])))


@pytest.fixture
def written(content, tmp_path):
    path = tmp_path / "atlas.html"
    write_html(content, path, title='Mine </title><script>alert("x")</script>')
    return path


def test_the_page_refers_to_nothing_outside(written):
    page = Page(written.read_text())
    assert {
        (tag, name) for tag, name, _ in page.attributes if name in ("src", "srcset", "action")
    } == set()
    assert [value for _, name, value in page.attributes if name == "href"] == [
        "data:,",
        "#main",
        "#/",
    ]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", written.read_text())


def test_the_policy_names_exactly_the_style_and_the_script_of_the_page(written):
    page = Page(written.read_text())
    policy = next(v for _, n, v in page.attributes if n == "content" and "default-src" in v)
    for kind, text in (("script", page.data["script", ""]), ("style", page.data["style", ""])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]


def test_no_token_label_or_title_adds_an_element(written):
    page = Page(written.read_text())
    names = [value for tag, name, value in page.attributes if (tag, name) == ("script", "id")]
    assert names == ["chunk-0", "index"]
    assert page.tags.count("script") == 3  # the two of data, and the program
    assert "img" not in page.tags


def test_the_program_puts_text_on_the_page_as_text_only(written):
    script = Page(written.read_text()).data["script", ""]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(", script
    )
    assert not re.search(
        r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import\(", script
    )


def test_the_list_says_not_known_where_a_score_is_too_low(written):
    index = Page(written.read_text()).packed("index")
    assert index["id"] == [0, 1, 2, 3, 5]
    assert index["label"] == ["", "the word </script> cat", "not known", "not known", ""]
    assert index["state"] == [0, 2, 1, 1, 0]
    assert (
        "a guess"
        not in gzip.decompress(
            base64.b64decode(Page(written.read_text()).data["script", "chunk-0"])
        ).decode()
    )


def test_a_split_character_is_one_piece_with_the_bytes_of_each_token(written):
    chunk = Page(written.read_text()).packed("chunk-0")
    texts = [chunk["pieces"][n] for n in chunk["latents"][1]["groups"][0]["examples"][0]["pieces"]]
    assert texts[3:6] == [
        [" the", [[1, "20 74 68 65"]], 0],
        ["\u2019", [[4, "e2"], [5, "80"], [6, "99"]], 0],
        ["s", [[7, "73"]], 0],
    ]


def test_what_cannot_be_seen_or_turns_the_writing_is_spelt_out(written):
    chunk = Page(written.read_text()).packed("chunk-0")
    texts = "".join(text for text, *_ in chunk["pieces"])
    assert not set(texts) & set("\n\x00\u202e\u2028")
    assert "⟨202E⟩" in texts
    assert "↵" in texts


def test_pieces_cover_the_tokens_of_an_example_and_values_their_places(written, content):
    chunk = Page(written.read_text()).packed("chunk-0")
    record = next(e.record for e in content.entries() if e.record.latent == 5)
    for group, shown in zip(record.groups, chunk["latents"][4]["groups"], strict=True):
        for one, found in zip(group.examples, shown["examples"], strict=True):
            ids = [token for n in found["pieces"] for token, _ in chunk["pieces"][n][1]]
            assert ids == content.corpus.tokens(one.start, one.length).tolist()
            assert found["places"] == one.places.tolist()
            assert found["values"] == pytest.approx(one.values.tolist(), rel=5e-4)
            assert found["at"] == [one.start // 32, one.start % 32]


def test_equal_atlases_give_equal_bytes(content, tmp_path):
    for name in ("a", "b"):
        write_html(content, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize(
    ("address", "expected"), [("", "not known"), ("#/1", "Largest activations")]
)
def test_a_browser_shows_the_page_and_runs_no_token(written, address, expected):
    quiet = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
    quiet += ("--disable-component-update", "--disable-sync", "--virtual-time-budget=5000")
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        *quiet,
        "--dump-dom",
        f"file://{written}{address}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    page = Page(done.stdout)
    assert expected in done.stdout
    assert "cannot be shown" not in page.data.get(("p", ""), "")
    assert page.tags.count("script") == 3
    assert "img" not in page.tags
    assert "&lt;/script&gt;" in done.stdout
