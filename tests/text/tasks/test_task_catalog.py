import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import DataError, RecipeError
from lmscope.text.tasks.catalog import TASKS, find_task, make_examples
from lmscope.text.tasks.lexicon import Lexicon
from lmscope.text.tasks.task import Example, prompt_row
from lmscope.text.tasks.words import NOUNS

N = 60


@pytest.fixture(scope="module", params=sorted(TASKS))
def drawn(request, words_tokenizer):
    return words_tokenizer, make_examples(request.param, words_tokenizer, N, seed=3)


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False)


def test_every_answer_is_one_token_that_leaves_the_prompt_as_it_is(drawn):
    tokenizer, examples = drawn
    for one in examples:
        before = ids(tokenizer, one.prompt)
        for text in (*one.answers, *one.wrongs):
            after = ids(tokenizer, one.prompt + text)
            assert after[:-1] == before
            assert tokenizer.decode(after[-1:]) == text


def test_a_counterfactual_has_as_many_tokens_and_differs(drawn):
    tokenizer, examples = drawn
    for one in examples:
        assert len(ids(tokenizer, one.counterfactual)) == len(ids(tokenizer, one.prompt))
        assert one.counterfactual != one.prompt


def test_right_and_wrong_have_nothing_in_common(drawn):
    _, examples = drawn
    for one in examples:
        assert one.answers
        assert one.wrongs
        assert not set(one.answers) & set(one.wrongs)
        assert len({*one.answers, *one.wrongs}) == len(one.answers) + len(one.wrongs)


def test_roles_are_positions_of_the_prompt(drawn):
    tokenizer, examples = drawn
    for one in examples:
        n = len(ids(tokenizer, one.prompt))
        assert one.roles["end"] == (n - 1,)
        assert all(0 <= place < n for places in one.roles.values() for place in places)


def test_prompts_differ_and_forms_vary(drawn):
    _, examples = drawn
    assert len({one.prompt for one in examples}) == N


def test_equal_seeds_give_equal_prompts_and_a_longer_draw_begins_with_a_shorter_one(drawn):
    tokenizer, examples = drawn
    name = next(name for name in TASKS if make_examples(name, tokenizer, 1, 3)[0] == examples[0])
    assert make_examples(name, tokenizer, 7, seed=3) == examples[:7]
    assert make_examples(name, tokenizer, 7, seed=4) != examples[:7]


def test_a_target_reads_as_the_difference_of_two_quoted_tokens():
    one = Example("p", ('"',), ("\\",), "q", {}, "k")
    assert one.target == r'"\"" - "\\"'


def test_a_row_holds_what_a_file_of_prompts_needs():
    one = Example("p", (" a", " b"), (" c",), "q", {"end": (0,)}, "k")
    row = json.loads(json.dumps(prompt_row(one, "ioi 000")))
    assert row["name"] == "ioi 000"
    assert (row["prompt"], row["target"], row["counterfactual"]) == ("p", '" a" - " c"', "q")
    assert row["roles"] == {"end": [0]}


def test_an_unknown_task_is_answered_with_near_ones():
    with pytest.raises(
        RecipeError, match=r"No task is called 'induktion'. Did you mean induction\?"
    ):
        find_task("induktion")


def test_no_prompt_is_none_to_make(words_tokenizer):
    with pytest.raises(RecipeError, match="at least 1"):
        make_examples("ioi", words_tokenizer, 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "ioi",
            "needs 6 first names that are one token each, and this tokenizer of 257 entries has 0",
        ),
        ("induction", "needs 24 words"),
        ("brackets", "needs two kinds of brackets"),
    ],
)
def test_a_tokenizer_without_the_words_is_refused_by_name(bytes_tokenizer, name, said):
    with pytest.raises(DataError, match=said):
        make_examples(name, bytes_tokenizer, 1)


def test_more_prompts_than_there_are_is_refused(words_tokenizer, monkeypatch):
    monkeypatch.setattr("lmscope.text.tasks.agreement._OPENINGS", ("The",))
    monkeypatch.setattr("lmscope.text.tasks.agreement._LINKS", (" near the",))
    # Six subjects, five nouns between, either number of both: 120 prompts.
    monkeypatch.setattr("lmscope.text.tasks.agreement.NOUNS", NOUNS[:6])
    with pytest.raises(DataError, match=r"'agreement' has only 120 different prompts .* 200 were"):
        make_examples("agreement", words_tokenizer, 200)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([" (", "[", "x", " river", "12", " é", "ab"]), min_size=1))
def test_places_cover_the_text_in_order_or_are_refused(words_tokenizer, units):
    lexicon = Lexicon(words_tokenizer)
    places = lexicon.places(units)
    whole = lexicon.ids("".join(units))
    if places is None:
        assert [i for unit in units for i in lexicon.ids(unit)] != whole
        return
    assert [i for place in places for i in place] == list(range(len(whole)))
    for unit, place in zip(units, places, strict=True):
        assert words_tokenizer.decode(whole[place.start : place.stop]) == unit


def test_words_are_filled_up_from_the_vocabulary_itself(words_tokenizer):
    lexicon = Lexicon(words_tokenizer)
    found = lexicon.words_or_own([" river", " qqqqzz"], 30, "words")
    assert found[0] == " river"
    assert " qqqqzz" not in found
    assert len(found) >= 30
    assert all(re.fullmatch(" [a-z]{3,}", word) and lexicon.is_one(word) for word in found)
