import numpy as np
import pytest

from lmscope.core.errors import DataError
from lmscope.text.tasks.brackets import KINDS, labelled_texts
from lmscope.text.tasks.catalog import make_examples

OPENS = {opens: kind for kind, (opens, _) in KINDS.items()}
CLOSES = {closes: kind for kind, (_, closes) in KINDS.items()}


def stack_of(text):
    """Kinds that are open at the end; None where a bracket does not match."""
    stack = []
    for char in text:
        if char in OPENS:
            stack.append(OPENS[char])
        elif char in CLOSES and (not stack or stack.pop() != CLOSES[char]):
            return None
    return stack


def test_the_answer_closes_what_was_opened_last(words_tokenizer):
    for one in make_examples("brackets", words_tokenizer, 80):
        open_kinds = stack_of(one.prompt)
        assert open_kinds
        assert KINDS[open_kinds[-1]][1] == one.answer
        assert set(one.wrongs) == {closes for _, closes in KINDS.values()} - {one.answer}


def test_in_the_counterfactual_the_wrong_kind_is_right(words_tokenizer):
    for one in make_examples("brackets", words_tokenizer, 80):
        changed = [i for i in range(len(one.prompt)) if one.prompt[i] != one.counterfactual[i]]
        assert len(changed) == 1
        kinds = stack_of(one.counterfactual)
        assert KINDS[kinds[-1]][1] == one.wrong


def test_open_is_where_the_innermost_open_bracket_stands(words_tokenizer):
    for one in make_examples("brackets", words_tokenizer, 80):
        tokens = words_tokenizer.encode(one.prompt, add_special_tokens=False)
        (place,) = one.roles["open"]
        after = words_tokenizer.decode(tokens[: place + 1])
        assert KINDS[stack_of(after)[-1]][1] == one.answer
        assert len(stack_of(after)) == len(stack_of(one.prompt))


def labelled(tokenizer, n=60, seed=0, **options):
    return labelled_texts(tokenizer, n, np.random.default_rng(seed), **options)


def test_labels_say_what_a_scan_of_the_text_says(words_tokenizer):
    for one in labelled(words_tokenizer, mismatch_fraction=0.0):
        for i in range(len(one.tokens)):
            stack = stack_of(words_tokenizer.decode(list(one.tokens[: i + 1])))
            assert stack is not None
            assert one.depth[i] == len(stack)
            assert one.labels["in_bracket"][i] == bool(stack)
            for depth in range(1, 5):
                assert one.labels[f"depth_{depth}"][i] == (len(stack) == depth)
            for kind in KINDS:
                assert one.labels[f"in_{kind}"][i] == (stack[-1:] == [kind])
                assert one.labels[f"within_{kind}"][i] == (kind in stack)
            token = words_tokenizer.decode([one.tokens[i]]).strip()
            assert one.labels["opening"][i] == (token in OPENS)
            assert one.labels["closing"][i] == (token in CLOSES)
            assert not one.labels["mismatch"][i]


def test_tokens_are_those_of_the_text(words_tokenizer):
    for one in labelled(words_tokenizer, 20):
        assert list(one.tokens) == words_tokenizer.encode(one.text, add_special_tokens=False)
        assert all(len(values) == len(one.tokens) for values in one.labels.values())


def test_a_mismatch_is_marked_where_it_first_shows(words_tokenizer):
    texts = labelled(words_tokenizer, mismatch_fraction=1.0)
    marked = [one for one in texts if one.labels["mismatch"].any()]
    assert len(marked) > len(texts) // 2
    for one in texts:
        ends = [
            stack_of(words_tokenizer.decode(list(one.tokens[: i + 1])))
            for i in range(len(one.tokens))
        ]
        wrong = [i for i, stack in enumerate(ends) if stack is None]
        places = np.flatnonzero(one.labels["mismatch"]).tolist()
        assert places == wrong[:1]


def test_every_depth_comes(words_tokenizer):
    depth = np.concatenate([one.depth for one in labelled(words_tokenizer)])
    assert set(depth.tolist()) == {0, 1, 2, 3, 4}


def test_about_half_of_the_tokens_stand_in_brackets(words_tokenizer):
    inside = np.concatenate([one.labels["in_bracket"] for one in labelled(words_tokenizer)])
    assert 0.35 < inside.mean() < 0.65


def test_equal_seeds_give_equal_texts(words_tokenizer):
    first, second = (labelled(words_tokenizer, 5, seed=2) for _ in range(2))
    assert [one.text for one in first] == [one.text for one in second]


def test_a_tokenizer_without_brackets_is_refused(bytes_tokenizer):
    with pytest.raises(DataError, match=r"two kinds of brackets .* has 0"):
        labelled(bytes_tokenizer, 1)
