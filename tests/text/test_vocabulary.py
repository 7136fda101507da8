import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.text.corpus import Corpus
from lmscope.text.vocabulary import learn_tokenizer

TEXTS = ["the cat sat on the mat, the cat sat", "a river runs, a river ran; rivers run"]
TOKENIZER = learn_tokenizer(Corpus.from_texts(TEXTS), 275)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    special = set(TOKENIZER.all_special_tokens)
    if not any(word in text for word in special):
        assert TOKENIZER.decode(ids) == text
        assert not set(ids) & set(TOKENIZER.all_special_ids)


def test_equal_text_gives_an_equal_tokenizer():
    again = learn_tokenizer(Corpus.from_texts(TEXTS), 275)
    assert again.get_vocab() == TOKENIZER.get_vocab()
    assert len(again) == 275


def test_what_comes_often_becomes_one_token():
    assert len(TOKENIZER(" river", add_special_tokens=False)["input_ids"]) <= 2


@pytest.mark.parametrize(("size", "said"), [(100, "at least 258"), (5000, "too short for 5000")])
def test_a_size_that_cannot_be_is_refused(size, said):
    with pytest.raises(DataError, match=said):
        learn_tokenizer(Corpus.from_texts(TEXTS), size)
