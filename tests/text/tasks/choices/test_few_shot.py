import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import DataError, RecipeError
from lmscope.text.tasks.choices.example import ChoiceExample, content_key
from lmscope.text.tasks.choices.sampling import few_shot, given_split, n_shared, take


def examples(n_labels, n_each, repeats=1):
    rows = [(label, i) for label in range(n_labels) for i in range(n_each)]
    return [ChoiceExample({"text": f"{label} {i}"}, label) for label, i in rows] * repeats


def texts(part):
    return [example.fields["text"] for example in part]


counts = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 4))


@given(counts, st.integers(0, 1000), st.randoms(use_true_random=False), st.integers(1, 3))
def test_a_draw_has_k_a_class_in_each_part_and_no_text_twice(sizes, seed, shuffler, repeats):
    n_labels, k, more = sizes
    rows = examples(n_labels, 2 * k + more, repeats)
    found = few_shot(rows, k, seed, n_labels)
    for part in found:
        assert [sum(e.label == i for e in part) for i in range(n_labels)] == [k] * n_labels
        # Every n_labels in a row have each class once.
        assert [e.label for e in part] == list(range(n_labels)) * k
    both = texts(found.train) + texts(found.dev)
    assert len(set(both)) == len(both)
    # However the rows are ordered, the draw is the same one.
    shuffler.shuffle(rows)
    assert few_shot(rows, k, seed, n_labels) == found


def test_seeds_draw_otherwise_and_k_changes_nothing_about_the_first():
    rows = examples(2, 40)
    draws = {tuple(texts(few_shot(rows, 4, seed, 2).train)) for seed in range(20)}
    assert len(draws) == 20
    assert few_shot(rows, 8, 3, 2).train[:8] == few_shot(rows, 4, 3, 2).train


def test_every_example_may_be_drawn_and_about_equally_often():
    # 10 texts, 2 of them for train in 400 draws: 80 each; three standard deviations are 3 * 8.
    seen = [texts(few_shot(examples(1, 10), 2, seed, 1).train) for seed in range(400)]
    often = [sum(f"0 {i}" in drawn for drawn in seen) for i in range(10)]
    assert all(abs(count - 80) <= 24 for count in often)


def test_a_text_under_two_labels_is_left_out():
    rows = [*examples(2, 2), ChoiceExample({"text": "0 0"}, 1), ChoiceExample({"text": "0 9"}, 0)]
    drawn = {text for part in few_shot(rows, 1, 0, 2) for text in texts(part)}
    assert drawn == {"0 1", "0 9", "1 0", "1 1"}


def test_options_are_part_of_what_an_example_says():
    one, other = (ChoiceExample({"text": "a"}, 0, options) for options in (("x",), ("y",)))
    assert content_key(one) != content_key(other)
    assert content_key(one) == content_key(ChoiceExample({"text": "a"}, 5, ("x",)))


def test_too_few_examples_of_a_class_are_one_sentence():
    rows = [*examples(2, 7), *examples(1, 20)]
    with pytest.raises(
        DataError,
        match=r"4 examples a class for train and 4 for dev .* class 1 has 7 different texts: .* k = 3 or less",
    ):
        few_shot(rows, 4, 0, 2)
    with pytest.raises(DataError, match="class 2 has 0 different texts"):
        few_shot(rows, 1, 0, 3)
    with pytest.raises(DataError, match="has class 1, and the task has 1 classes"):
        few_shot(rows, 1, 0, 1)
    with pytest.raises(RecipeError, match="give at least 1 of each"):
        few_shot(rows, 0, 0, 2)


def test_a_given_split_stays_as_it_is_and_may_not_overlap():
    rows = examples(2, 4)
    assert given_split(rows[:3], rows[3:]) == (tuple(rows[:3]), tuple(rows[3:]))
    with pytest.raises(DataError, match="2 of 4 texts of dev stand in train as well"):
        given_split(rows[:6], rows[4:])
    with pytest.raises(DataError, match="0 examples for train and 8 for dev"):
        given_split([], rows)
    assert n_shared(rows[:6], rows[4:]) == 2


@given(st.integers(1, 30), st.integers(0, 100), st.randoms(use_true_random=False))
def test_take_is_stable_over_order_and_a_longer_draw_begins_with_a_shorter(n, seed, shuffler):
    rows = examples(2, 10)
    found = take(rows, n, seed)
    assert len(found) == min(n, 20)
    assert len(set(texts(found))) == len(found)
    assert take(rows, 30, seed)[: len(found)] == found
    shuffler.shuffle(rows)
    assert take(rows, n, seed) == found


def test_take_keeps_equal_rows_of_a_test_set():
    rows = examples(1, 2, repeats=2)
    assert sorted(texts(take(rows, 9, 0))) == ["0 0", "0 0", "0 1", "0 1"]
    with pytest.raises(RecipeError, match="at least 1"):
        take(rows, 0, 0)
