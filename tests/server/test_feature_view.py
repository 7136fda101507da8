"""The page of a feature says what its atlas holds, byte for byte, and places it among the others."""

import json
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.exchange.pieces import pieces
from lmscope.atlas.exchange.texts import as_byte_token
from lmscope.atlas.explain.protocols import NOT_KNOWN
from lmscope.atlas.record import Example
from lmscope.server.app import create_app
from lmscope.server.failures import NotFound
from lmscope.server.library.library import Library
from lmscope.server.responses import to_bytes
from lmscope.server.schemas.feature import FeaturePage
from lmscope.server.settings import ServeSettings
from lmscope.server.views.feature import density_histogram, feature_page
from lmscope.server.views.lines import dictionary_line
from lmscope.server.views.tokens import passage


@pytest.fixture
def library(small_library):
    with closing(Library([small_library.root])) as library:
        yield library


@pytest.fixture
def narrow(small_library):
    with Atlas.open(small_library.atlas, name="resid_post-1-64-topk-4") as atlas:
        yield atlas


@pytest.fixture
def page(library):
    """The page of a feature, by dictionary and latent."""

    def make(dictionary, latent):
        entry = library.dictionary(dictionary)
        with library.atlas(dictionary) as atlas:
            line, chosen = dictionary_line(entry), entry.atlases[0].id
            return feature_page(
                atlas, latent, dictionary=line, atlas_id=chosen, weights=entry.folder
            )

    return make


@pytest.fixture
def client(small_library):
    app = create_app(ServeSettings(folders=(small_library.root,)))
    with TestClient(app, base_url="http://127.0.0.1:8710") as client:
        yield client


def test_every_number_of_the_record_is_on_the_page(page, narrow, small_library):
    for latent in range(0, 64, 7):
        shown, record = page(small_library.narrow, latent), narrow.record(latent)
        for name in ("n_fired", "density", "mean", "max", "n_stretches", "n_documents"):
            assert getattr(shown, name) == getattr(record, name)
        assert shown.activations.counts == list(record.histogram)
        assert [(one.latent, one.value) for one in shown.neighbours] == [
            (one.id, one.value) for one in record.neighbours
        ]
        assert [(one.id, one.value) for one in shown.top_logits] == [
            (one.id, one.value) for one in record.top_logits
        ]
        assert [(one.id, one.n_fired, one.n_seen) for one in shown.tokens] == [
            (one.token, one.n_fired, one.n_seen) for one in record.tokens
        ]


def test_passages_give_back_every_byte_and_activation(page, narrow, small_library):
    latent = narrow.filter(order="-max", limit=1)[0].latent
    shown, record = page(small_library.narrow, latent), narrow.record(latent)
    for group, examples in zip(shown.groups, record.groups, strict=True):
        assert (group.name, group.low, group.high) == (examples.name, examples.low, examples.high)
        for one, example in zip(group.passages, examples.examples, strict=True):
            ids = narrow.corpus.tokens(example.start, example.length).tolist()
            assert [i for token in one.tokens for i in token.ids] == ids
            data = b"".join(bytes.fromhex(token.bytes) for token in one.tokens)
            assert data == b"".join(narrow.corpus.token_bytes(i) for i in ids)
            assert "".join(token.text for token in one.tokens) == data.decode()
            assert max(token.value for token in one.tokens) == one.max == example.max
            assert one.tokens[one.peak].value == one.max
            assert one.context * narrow.corpus.context_length + one.position == example.start
            assert one.held_out == (one.context % 2 == 1)
            assert one.document is not None


class Split:
    """A corpus in which one character takes three tokens and one byte stands alone."""

    digest, context_length, n_contexts = "c" * 64, 8, 2

    def tokens(self, start, length):
        return np.arange(5, dtype=np.int32)[:length]

    def token_bytes(self, token):
        whole = "城".encode()
        return [b"a", whole[:1], whole[1:2], whole[2:], b"\xe4"][token]

    def document(self, start):
        return None


def test_tokens_that_share_a_character_stand_together():
    values = np.asarray([3.0, 7.0], np.float32)
    example = Example(8, 5, 3, np.asarray([1, 3], np.int32), values)
    shown = passage(Split(), example)
    assert [token.text for token in shown.tokens] == ["a", "城", "<0xE4>"]
    assert [token.ids for token in shown.tokens] == [[0], [1, 2, 3], [4]]
    assert [token.value for token in shown.tokens] == [0.0, 7.0, 0.0]
    assert shown.tokens[1].bytes == "e59f8e"
    assert (shown.peak, shown.context, shown.position) == (1, 1, 0)
    assert shown.held_out


class Torn(Split):
    """A text of any tokens."""

    def __init__(self, data):
        self.data = data

    def tokens(self, start, length):
        return np.arange(len(self.data), dtype=np.int32)

    def token_bytes(self, token):
        return self.data[token]


@given(
    st.lists(
        st.sampled_from(
            [
                b"",
                b"a",
                b" b\n",
                "é".encode(),
                "城".encode(),
                b"\x9f",
                b"\x8e",
                b"\xe5",
                b"\xf0\x9f",
            ]
        )
        | st.binary(max_size=3),
        min_size=1,
        max_size=12,
    ),
    st.data(),
)
def test_tokens_are_put_together_as_everywhere_else(data, draw):
    values = draw.draw(
        st.lists(st.sampled_from([0.5, 2.0]), min_size=len(data), max_size=len(data))
    )
    values = np.asarray(values, np.float32)
    example = Example(
        0, len(data), int(values.argmax()), np.arange(len(data), dtype=np.int32), values
    )
    shown, i = passage(Torn(data), example), 0
    for token, piece in zip(shown.tokens, pieces(data, as_byte_token), strict=True):
        end = i + piece.n_tokens
        assert (token.text, token.ids) == (piece.text, list(range(i, end)))
        assert token.bytes == b"".join(data[i:end]).hex()
        assert token.value == values[i:end].max()
        i = end
    assert example.peak in shown.tokens[shown.peak].ids


def test_hostile_tokens_and_titles_are_given_as_they_are(page, small_library):
    script = "<script>alert(1)</script>"
    shown = page(small_library.hostile_id, 0)
    assert (shown.label, shown.peak_tokens[0].text) == (script, script)
    passages = [one for group in shown.groups for one in group.passages]
    assert all(one.tokens[one.peak].text == script for one in passages)
    assert all(one.document["source"] == "somewhere <b>" for one in passages)
    assert json.loads(to_bytes(shown))["label"] == script


def test_a_guess_is_told_apart_and_its_scores_come_with_chance(page, narrow, small_library):
    seen = {True: 0, False: 0}
    for latent in range(12):
        shown = page(small_library.narrow, latent)
        (source,) = shown.sources
        assert source.known == shown.known
        assert shown.label == (source.label if shown.known else NOT_KNOWN)
        assert source.run == small_library.explained.name
        assert source.judge == "rule"
        for score in source.scores:
            assert score.meaning
            assert score.estimate.n > 0
        chances = {score.scorer: score.chance for score in source.scores}
        assert chances.get("detection", 0.5) == 0.5
        assert chances.get("intruder", 0.2) == 0.2
        seen[shown.known] += 1
    assert seen[True] + seen[False] == 12
    unasked = page(small_library.narrow, 40)
    assert (unasked.label, unasked.known, unasked.sources) == ("", False, [])
    assert (unasked.missed, unasked.n_promised) == ([], None)


def test_counter_examples_fire_and_are_counted(page, narrow, small_library):
    pages = [page(small_library.narrow, latent) for latent in range(12)]
    checked = [one for one in pages if one.n_promised is not None]
    assert checked
    for shown in checked:
        found = narrow.counter_examples(shown.latent)
        assert shown.n_missed == len(found.missed)
        assert len(shown.missed) == min(12, shown.n_missed)
        peaks = [one.max for one in shown.missed]
        assert peaks == sorted(peaks, reverse=True)
        assert all(peak > 0 for peak in peaks)
        starts = {e.start for group in narrow.record(shown.latent).groups for e in group.examples}
        assert shown.n_promised == len(starts)


def test_density_is_placed_among_those_of_all_latents(page, narrow, small_library):
    densities = np.array([one.density for one in narrow.records()])
    for latent in (0, 5, 63):
        shown = page(small_library.narrow, latent)
        assert shown.density_rank == 1 + int((densities > shown.density).sum())
    histogram = density_histogram(narrow)
    assert sum(histogram.counts) == int((densities > 0).sum())
    assert histogram.edges[0] <= np.log10(densities[densities > 0].min())
    assert histogram.edges[-1] >= np.log10(densities.max())
    alive, edges = np.log10(densities[densities > 0]), np.array(histogram.edges)
    cell = np.clip(np.searchsorted(edges, alive, side="right") - 1, 0, len(edges) - 2)
    naive = np.bincount(cell, minlength=len(edges) - 1)
    assert np.abs(np.cumsum(naive) - np.cumsum(histogram.counts)).max() <= 1


def test_the_first_and_last_feature_have_one_neighbour_in_number(page, small_library):
    first, last = page(small_library.narrow, 0), page(small_library.narrow, 63)
    assert (first.previous, first.next) == (None, 1)
    assert (last.previous, last.next) == (62, None)
    assert first.n_latents == 64


def test_a_latent_that_is_not_there_is_refused_in_one_sentence(page, small_library):
    with pytest.raises(NotFound, match=r"has no latent 64\. It has 64, from 0 to 63"):
        page(small_library.narrow, 64)


def test_only_a_dictionary_with_weights_is_live_and_a_packed_one_keeps_no_notes(
    page, small_library
):
    trained, packed = page(small_library.narrow, 1), page(small_library.packed_id, 1)
    assert (trained.live, packed.live) == (True, False)
    assert trained.note is not None
    assert packed.note is None
    assert page(small_library.hostile_id, 1).live is False


def test_the_answer_over_http_is_the_page_and_unchanged_costs_nothing(client, page, small_library):
    address = f"/api/dictionaries/{small_library.narrow}/features/3"
    answer = client.get(address)
    assert FeaturePage.model_validate_json(answer.content) == page(small_library.narrow, 3)
    again = client.get(address, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(address, params={"atlas": "ffff"}).status_code == 404
    missing = client.get(f"/api/dictionaries/{small_library.narrow}/features/64")
    assert missing.status_code == 404
    assert missing.json()["error"]["hint"].startswith("It has 64")
