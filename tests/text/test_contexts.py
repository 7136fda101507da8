"""Contexts: what stands in each row, and that nothing is lost or twice there."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.text.contexts import Contexts
from lmscope.text.corpus import Corpus
from lmscope.text.document import DocumentSource

TEXTS = st.lists(st.text(max_size=40).filter(bool), min_size=1, max_size=12)


def all_rows(contexts: Contexts):
    return contexts.rows(range(len(contexts)))


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def test_packs_documents_back_to_back_with_bos_at_each_start(decoder_tokenizer):
    contexts = Corpus.from_texts(["abc", "de"]).contexts(decoder_tokenizer, 4, bos_id=256)
    a, b, c, d, e = ids(decoder_tokenizer, "abcde")
    rows = all_rows(contexts)
    # <bos> a b c | <bos> d e -
    assert rows.tokens.tolist() == [[256, a, b, c], [256, d, e, 257]]
    assert rows.mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert rows.documents.tolist() == [[0, 0, 0, 0], [1, 1, 1, -1]]
    assert (rows.spans == -1).all()
    assert contexts.n_tokens == 7
    assert contexts.n_dropped_tokens == 0


def test_a_row_begins_where_the_last_one_ended_even_inside_a_document(decoder_tokenizer):
    contexts = Corpus.from_texts(["abcdef", "gh"]).contexts(decoder_tokenizer, 4, bos_id=256)
    rows = all_rows(contexts)
    # <bos> a b c | d e f <bos> | g h - -
    assert [
        decoder_tokenizer.decode(row[m]) for row, m in zip(rows.tokens, rows.mask, strict=True)
    ] == [
        "<bos>abc",
        "def<bos>",
        "gh",
    ]
    assert rows.documents.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, -1, -1]]


def test_packs_without_bos_for_a_model_that_has_none(decoder_tokenizer):
    contexts = Corpus.from_texts(["abc", "de"]).contexts(decoder_tokenizer, 5, bos_id=None)
    assert all_rows(contexts).tokens.tolist() == [ids(decoder_tokenizer, "abcde")]


def test_a_document_that_begins_with_bos_gets_no_second_one(decoder_tokenizer):
    contexts = Corpus.from_texts(["<bos>ab"]).contexts(decoder_tokenizer, 3, bos_id=256)
    assert all_rows(contexts).tokens.tolist() == [[256, *ids(decoder_tokenizer, "ab")]]


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, length=st.integers(1, 9), bos=st.booleans(), drop=st.booleans())
def test_every_token_stands_in_exactly_one_row_in_order(
    decoder_tokenizer, texts, length, bos, drop
):
    expected, owners = [], []
    for i, text in enumerate(texts):
        mine = [256] * bos + ids(decoder_tokenizer, text)
        expected += mine
        owners += [i] * len(mine)
    if drop and len(expected) < length:
        return
    contexts = Corpus.from_texts(texts).contexts(
        decoder_tokenizer, length, bos_id=256 if bos else None, drop_tail=drop
    )
    rows = all_rows(contexts)
    kept = len(expected) - contexts.n_dropped_tokens
    assert contexts.n_dropped_tokens == (len(expected) % length if drop else 0)
    assert rows.tokens[rows.mask].tolist() == expected[:kept]
    assert rows.documents[rows.mask].tolist() == owners[:kept]
    assert (rows.documents[~rows.mask] == -1).all()
    assert contexts.n_tokens == kept
    assert [d.id for d in contexts.documents] == [
        f"memory:{i}" for i in range(owners[kept - 1] + 1)
    ]


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS, length=st.integers(3, 9))
def test_encoder_rows_hold_one_document_between_cls_and_sep(encoder_tokenizer, texts, length):
    contexts = Corpus.from_texts(texts).contexts(
        encoder_tokenizer, length, bos_id=None, style="encoder"
    )
    rows = all_rows(contexts)
    pieces: dict[int, list[int]] = {}
    for tokens, mask, owner in zip(rows.tokens, rows.mask, rows.documents, strict=True):
        text = tokens[mask].tolist()
        assert (text[0], text[-1]) == (256, 257)
        assert (tokens[~mask] == 258).all()
        assert len(set(owner[mask].tolist())) == 1
        pieces.setdefault(int(owner[0]), []).extend(text[1:-1])
    assert pieces == {i: ids(encoder_tokenizer, text) for i, text in enumerate(texts)}


def test_encoder_rows_split_a_long_document(encoder_tokenizer):
    contexts = Corpus.from_texts(["abcde", "f"]).contexts(
        encoder_tokenizer, 5, bos_id=None, style="encoder"
    )
    a, b, c, d, e, f = ids(encoder_tokenizer, "abcdef")
    assert all_rows(contexts).tokens.tolist() == [
        [256, a, b, c, 257],
        [256, d, e, 257, 258],
        [256, f, 257, 258, 258],
    ]


def test_rows_come_in_the_order_asked_for_and_may_repeat(decoder_tokenizer):
    contexts = Corpus.from_texts(["abcdefgh" * 9]).contexts(decoder_tokenizer, 4, bos_id=256)
    rows = contexts.rows([5, 0, 5])
    whole = all_rows(contexts)
    assert rows.index.tolist() == [5, 0, 5]
    assert np.array_equal(rows.tokens, whole.tokens[[5, 0, 5]])


def test_equal_arguments_give_equal_rows_whatever_is_asked_first(decoder_tokenizer):
    corpus = Corpus.from_texts(["lorem " * (i % 7 + 1) for i in range(600)])
    first = corpus.contexts(decoder_tokenizer, 8, bos_id=256)
    second = corpus.contexts(decoder_tokenizer, 8, bos_id=256)
    late = second.rows([len(second) - 1, 3])
    assert np.array_equal(first.rows([3]).tokens[0], late.tokens[1])
    assert np.array_equal(first.rows([len(first) - 1]).tokens[0], late.tokens[0])


def test_reads_only_as_many_documents_as_the_rows_need(decoder_tokenizer):
    read = []

    class Endless(DocumentSource):
        name = fingerprint = "endless"

        def documents(self):
            for i in range(10**9):
                read.append(i)
                yield from Corpus.from_texts([f"document {i} "]).documents()

    contexts = Contexts(Endless(), decoder_tokenizer, 16, bos_id=256)
    contexts.rows([0, 1])
    assert len(read) <= 256
    capped = Contexts(Endless(), decoder_tokenizer, 16, bos_id=256, max_tokens=1000)
    assert len(capped) == 62  # 62 * 16 = 992
    assert capped.n_tokens == 992
    assert capped.document(0).id == "memory:0"
    with pytest.raises(IndexError):
        capped.rows([62])


def test_max_tokens_counts_the_text_of_encoder_rows(encoder_tokenizer):
    corpus = Corpus.from_texts(["abc", "d", "efgh"])
    # [CLS] abc [SEP] = 5, [CLS] d [SEP] = 3, [CLS] efgh [SEP] = 6
    for limit, n_rows in ((5, 1), (7, 1), (8, 2), (13, 2), (14, 3)):
        contexts = corpus.contexts(
            encoder_tokenizer, 6, bos_id=None, style="encoder", max_tokens=limit
        )
        assert len(contexts) == n_rows


def test_rows_outside_the_corpus_are_refused(decoder_tokenizer):
    contexts = Corpus.from_texts(["abc"]).contexts(decoder_tokenizer, 4, bos_id=256)
    for index in (-1, 1):
        with pytest.raises(IndexError):
            contexts.rows([index])
    assert contexts.rows([]).tokens.shape == (0, 4)


def test_text_shorter_than_a_context_is_an_error_when_the_tail_is_dropped(decoder_tokenizer):
    contexts = Corpus.from_texts(["abc"], name="tiny").contexts(
        decoder_tokenizer, 8, bos_id=256, drop_tail=True
    )
    for _ in range(2):  # the same sentence again, and no endless loop
        with pytest.raises(DataError, match=r"'tiny' holds 4 tokens.*no context of 8"):
            len(contexts)


def test_text_shorter_than_a_context_is_padded_when_the_tail_is_kept(decoder_tokenizer):
    contexts = Corpus.from_texts(["abc"]).contexts(decoder_tokenizer, 8, bos_id=256)
    assert all_rows(contexts).mask.tolist() == [[True] * 4 + [False] * 4]


def test_an_empty_corpus_is_an_error(decoder_tokenizer):
    with pytest.raises(DataError, match="'memory' holds no text"):
        len(Corpus.from_texts(["", ""]).contexts(decoder_tokenizer, 8, bos_id=256))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context_length": 0}, "at least one token"),
        ({"context_length": 8, "max_tokens": 0}, "at least one token"),
        ({"context_length": 8, "style": "pakced"}, "Did you mean packed"),
        ({"context_length": 8, "style": "encoder"}, r"no \[CLS\] and \[SEP\]"),
    ],
)
def test_wrong_arguments_are_named(decoder_tokenizer, arguments, message):
    with pytest.raises(DataError, match=message):
        Corpus.from_texts(["abc"]).contexts(decoder_tokenizer, bos_id=256, **arguments)


def test_an_encoder_row_needs_room_for_text(encoder_tokenizer):
    with pytest.raises(DataError, match="needs 3 tokens"):
        Corpus.from_texts(["abc"]).contexts(encoder_tokenizer, 2, bos_id=None, style="encoder")


def test_the_fingerprint_changes_with_everything_that_changes_rows(
    decoder_tokenizer, encoder_tokenizer
):
    def fingerprint(texts=("abc", "de"), tokenizer=decoder_tokenizer, length=4, **options):
        corpus = Corpus.from_texts(texts)
        return corpus.contexts(tokenizer, length, **{"bos_id": 256, **options}).fingerprint

    variants = [
        fingerprint(),
        fingerprint(texts=("abc", "df")),
        fingerprint(texts=("de", "abc")),
        fingerprint(tokenizer=encoder_tokenizer),
        fingerprint(length=5),
        fingerprint(bos_id=None),
        fingerprint(max_tokens=8),
        fingerprint(drop_tail=True),
        fingerprint(tokenizer=encoder_tokenizer, style="encoder"),
    ]
    assert len(set(variants)) == len(variants)
    assert fingerprint() == variants[0]


def test_long_documents_cause_no_warning(decoder_tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        len(Corpus.from_texts(["a" * 500]).contexts(decoder_tokenizer, 8, bos_id=256))
    assert not caplog.records
