"""Hub datasets: the address, the commit that names the text, and a network that fails."""

import huggingface_hub
import pytest

from lmscope.core.errors import DataError
from lmscope.text.corpus import Corpus
from lmscope.text.hub import HubAddress

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf:wikitext", ("wikitext", None, "train", None)),
        ("hf:a/b-c.d", ("a/b-c.d", None, "train", None)),
        ("hf:wikitext@raw-v1:test", ("wikitext", "raw-v1", "test", None)),
        ("hf:a/b:train:body", ("a/b", None, "train", "body")),
    ],
)
def test_an_address_says_name_config_split_and_column(text, address):
    assert tuple(HubAddress.parse(text)) == address


@pytest.fixture
def hub(monkeypatch):
    """A hub of one dataset with three rows; `hub.rows` and `hub.error` change what it does."""
    import datasets

    class Hub:
        rows = (
            {"text": "one", "body": "1"},
            {"text": "", "body": "2"},
            {"text": "three", "body": "3"},
        )
        error: Exception | None = None
        asked = ()

        def load(self, name, config, *, split, revision, streaming):
            assert streaming
            self.asked = (name, config, split, revision)
            yield from self.rows
            if self.error is not None:
                raise self.error

    hub = Hub()
    monkeypatch.setattr(datasets, "load_dataset", hub.load)
    return hub


def test_rows_are_streamed_at_one_commit(hub):
    corpus = Corpus.load("hf:a/b@en:test:body", revision=COMMIT)
    assert [d.text for d in corpus.documents()] == ["1", "2", "3"]
    assert hub.asked == ("a/b", "en", "test", COMMIT)
    assert next(d.id for d in corpus.documents()) == "hf:a/b@en:test:body:1"


def test_the_fingerprint_is_of_address_and_commit():
    def fingerprint(source, revision=COMMIT):
        return Corpus.load(source, revision=revision).fingerprint

    prints = [
        fingerprint("hf:a/b"),
        fingerprint("hf:a/c"),
        fingerprint("hf:a/b:test"),
        fingerprint("hf:a/b:train:body"),
        fingerprint("hf:a/b@en"),
        fingerprint("hf:a/b", COMMIT[::-1]),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint("hf:a/b:train:text") == prints[0]


def test_the_newest_commit_is_looked_up_once(hub, monkeypatch):
    calls = []

    def dataset_info(self, name, revision=None):
        calls.append(name)
        return type("Info", (), {"sha": COMMIT})

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    corpus = Corpus.load("hf:a/b")
    assert corpus.fingerprint == Corpus.load("hf:a/b", revision=COMMIT).fingerprint
    assert [d.text for d in corpus.documents()] == ["one", "three"]
    assert calls == ["a/b"]


def test_a_missing_column_names_those_that_are_there(hub):
    with pytest.raises(DataError, match=r"no column 'txt'; it has text, body. Did you mean text"):
        list(Corpus.load("hf:a/b:train:txt", revision=COMMIT).documents())


def test_a_network_that_fails_is_one_sentence(hub, monkeypatch):
    def dataset_info(self, name, revision=None):
        raise ConnectionError("no route\n to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    with pytest.raises(
        DataError, match=r"^'hf:a/b' cannot be read from .*: no route to host\. Check"
    ):
        list(Corpus.load("hf:a/b").documents())


def test_a_stream_that_breaks_off_is_an_error_and_no_shorter_corpus(hub):
    hub.error = OSError("reset")
    read = []
    with pytest.raises(DataError, match="cannot be read from the Hugging Face hub: reset"):
        read.extend(Corpus.load("hf:a/b", revision=COMMIT).documents())
