"""A frozen corpus gives back what the contexts held, by position."""

import json

import numpy as np
import pytest

from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.text import CorpusDocument, CorpusText
from lmscope.core.errors import ArtifactError
from lmscope.models.miniature import character_tokenizer
from lmscope.runs.artifact import read_manifest
from lmscope.text.corpus import Corpus
from lmscope.text.document import Document

TEXTS = ("first document", "the second one is longer than a context", "", "third")
LENGTH = 16


def contexts(style="packed", texts=TEXTS):
    documents = [
        Document(f"id{i}", text, f"Title {i}", "somewhere", "CC0", f"id{i}")
        for i, text in enumerate(texts)
        if text
    ]
    return Corpus.from_documents(documents).contexts(
        character_tokenizer(encoder=style == "encoder"), LENGTH, bos_id=1, style=style
    )


@pytest.fixture
def frozen(tmp_path):
    return FrozenCorpus.freeze(tmp_path, contexts(), character_tokenizer())


def test_it_is_what_an_atlas_asks_of_a_corpus(frozen):
    assert isinstance(frozen, CorpusText)
    assert (
        frozen.path.name
        == frozen.digest
        == read_manifest(frozen.path, "corpus", [1]).content_digest
    )


@pytest.mark.parametrize("style", ["packed", "encoder"])
def test_rows_tokens_and_documents_are_those_of_the_contexts(tmp_path, style):
    source = contexts(style)
    tokenizer = character_tokenizer(encoder=style == "encoder")
    frozen = FrozenCorpus.freeze(tmp_path, source, tokenizer)
    wanted = source.rows(range(len(source)))
    rows = frozen.rows(0, frozen.n_contexts)
    np.testing.assert_array_equal(rows.tokens, wanted.tokens)
    np.testing.assert_array_equal(rows.mask, wanted.mask)
    assert frozen.config.n_tokens == wanted.mask.sum()
    for context, place in np.ndindex(*wanted.tokens.shape):
        start = context * LENGTH + place
        assert frozen.tokens(start, 1).tolist() == [wanted.tokens[context, place]]
        found, number = frozen.document(start), int(wanted.documents[context, place])
        if number < 0:
            assert found is None
        else:
            entry = source.document(number)
            assert found == CorpusDocument(
                number, entry.id, entry.title, entry.source, entry.licence
            )


def test_documents_of_chosen_contexts_are_numbered_anew(tmp_path):
    source = contexts()
    frozen = FrozenCorpus.freeze(tmp_path, source, character_tokenizer(), indices=[1, 3])
    wanted = source.rows([1, 3])
    np.testing.assert_array_equal(frozen.rows(0, 2).tokens, wanted.tokens)
    assert frozen.rows(1, 5).tokens.shape == (1, LENGTH)
    numbers = frozen.document_numbers(np.arange(2 * LENGTH)[wanted.mask.ravel()])
    assert numbers.dtype == np.int32
    old = wanted.documents[wanted.mask]
    assert numbers.tolist() == [sorted(set(old.tolist())).index(n) for n in old.tolist()]
    ids = [frozen.document(int(p)).id for p in (0, LENGTH)]
    assert ids == [source.document(int(wanted.documents[i, 0])).id for i in (0, 1)]


def test_token_bytes_joined_are_the_text(frozen):
    tokens = frozen.tokens(1, len(TEXTS[0]))
    assert b"".join(frozen.token_bytes(int(t)) for t in tokens).decode() == TEXTS[0]


def test_ids_that_only_the_model_has_are_named_unused(tmp_path):
    frozen = FrozenCorpus.freeze(tmp_path, contexts(), character_tokenizer(), n_vocab=104)
    assert frozen.token_bytes(103) == b"<unused 103>"
    with pytest.raises(ArtifactError, match=r"Token 104 is not .* vocabulary of 104"):
        frozen.token_bytes(104)


def test_equal_contexts_give_equal_bytes_and_stay_one_folder(tmp_path, frozen):
    again = FrozenCorpus.freeze(tmp_path, contexts(), character_tokenizer())
    assert again.digest == frozen.digest
    assert [p.name for p in tmp_path.iterdir()] == [frozen.digest]
    other = FrozenCorpus.freeze(tmp_path, contexts(texts=TEXTS[:2]), character_tokenizer())
    assert other.digest != frozen.digest


def test_ids_above_two_bytes_are_kept(tmp_path):
    frozen = FrozenCorpus.freeze(tmp_path, contexts(), character_tokenizer(), n_vocab=1 << 17)
    assert np.load(frozen.path / "tokens.npy").dtype == np.uint32
    np.testing.assert_array_equal(frozen.rows(0, 1).tokens, contexts().rows([0]).tokens)


def test_positions_that_are_not_there_are_refused(frozen):
    last = frozen.n_contexts * LENGTH
    assert len(frozen.tokens(last - 1, 1)) == 1
    for start, length in ((last, 1), (-1, 1), (LENGTH - 1, 2)):
        with pytest.raises(ArtifactError, match="do not belong together"):
            frozen.tokens(start, length)
    with pytest.raises(ArtifactError, match=f"Position {last} is not in the corpus"):
        frozen.document(last)


def test_damaged_folders_are_refused(frozen):
    (frozen.path / "lengths.npy").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"lengths\.npy' is damaged"):
        FrozenCorpus.load(frozen.path)


def test_a_changed_byte_is_found_when_asked(frozen):
    file = frozen.path / "tokens.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    FrozenCorpus.load(frozen.path)
    with pytest.raises(ArtifactError, match=r"tokens\.npy' is damaged"):
        FrozenCorpus.load(frozen.path, verify=True)


def test_documents_are_json_lines(frozen):
    lines = (frozen.path / "documents.jsonl").read_text().splitlines()
    assert [json.loads(line)["title"] for line in lines] == ["Title 0", "Title 1", "Title 3"]
