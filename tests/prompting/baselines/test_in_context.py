"""Demonstrations: words verbatim, as many as fit, the example itself last and without its label."""

from dataclasses import replace

import pytest
import torch

from lmscope.core.errors import DataError
from lmscope.models.batch import Batch
from lmscope.models.miniature import miniature
from lmscope.models.word_scores import word_logits
from lmscope.prompting.baselines.in_context import demonstration, in_context, in_order, shown
from lmscope.prompting.baselines.passes import length_of
from lmscope.text.tasks.choices.rendering import PromptRow, PromptRows, Special


def test_a_demonstration_is_the_example_with_its_word() -> None:
    # 5 begins a context, 7 ends it, 6 is a mask, 21 and 22 are the words.
    rows = PromptRows((10, 11), (21, 22), (), 0)
    causal = PromptRow((5, 30), (31, 32), 5, 1)
    assert demonstration(rows, causal, Special(5), (9,)) == (30, 10, 11, 31, 32, 22, 9)
    assert demonstration(rows, causal, Special(), ()) == (5, 30, 10, 11, 31, 32, 22)
    masked = PromptRow((5, 30), (6, 31, 7), 4, 0)
    assert demonstration(rows, masked, Special(5, 7, 6), (9,)) == (30, 10, 11, 21, 31, 9)


def test_as_many_as_fit_stand_between_the_beginning_and_the_example() -> None:
    rows = PromptRows(
        (10,), (21, 22), (PromptRow((5, 1), (2,), 3, 1), PromptRow((5,), (2,), 2, 0)), 0
    )
    ahead = [(30, 31), (40,), (50, 51, 52)]
    found = shown(rows, ahead, Special(5), 7)  # rows have 4 and 3 tokens
    assert found.n_shown == (2, 2)
    assert found.rows.rows[0] == PromptRow((5, 30, 31, 40, 1), (2,), 6, 1)
    assert shown(rows, ahead, Special(5), 6).n_shown == (1, 2)
    assert shown(rows, ahead, Special(5), None).n_shown == (3, 3)
    assert shown(rows, ahead, Special(), None).rows.rows[1].before[:2] == (30, 31)


@pytest.mark.parametrize("place", ["ahead", "behind"])
def test_rows_end_with_the_example_and_show_no_label_of_it(place, random_rows) -> None:
    model = miniature("llama")
    train, test = random_rows(model, place, n=8, seed=1), random_rows(model, place, seed=2)
    ahead = [demonstration(train, row, Special(5), (9,)) for row in in_order(train, 0)]
    found = shown(test, ahead, Special(5), 90)
    other = PromptRows(
        test.prompt, test.words, tuple(replace(r, label=(r.label + 1) % 3) for r in test.rows), 0
    )
    changed = shown(other, ahead, Special(5), 90)
    for own, row, its in zip(test.rows, found.rows.rows, changed.rows.rows, strict=True):
        assert (row.before, row.after, row.answer_at) == (its.before, its.after, its.answer_at)
        assert row.after == own.after
        assert row.before[0] == 5
        assert row.before[len(row.before) - len(own.before) + 1 :] == own.before[1:]
        assert length_of(row, 3) <= 90
        assert row.answer_at - own.answer_at == len(row.before) - len(own.before)


def test_the_order_is_the_seeds_and_classes_take_turns(random_rows) -> None:
    rows = random_rows(miniature("llama"), n=12)
    orders = [in_order(rows, seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert set(orders[0]) == set(rows.rows)
    for first in range(0, 12, 3):
        assert {row.label for row in orders[2][first : first + 3]} == {0, 1, 2}
    uneven = PromptRows(rows.prompt, rows.words, (*rows.rows[:3], rows.rows[0]), 0)
    assert [row.label for row in in_order(uneven, 0)][-1] == 0


@pytest.mark.parametrize(
    ("family", "place"), [("llama", "ahead"), ("llama", "behind"), ("bert", "between")]
)
def test_scores_are_those_of_each_example_by_itself(family, place, random_rows) -> None:
    model = miniature(family)
    special = Special(5) if model.is_causal else Special(5, 7, 6)
    train, test = random_rows(model, place, n=3, seed=1), random_rows(model, place, n=4, seed=2)
    ahead = [demonstration(train, row, special, (9,)) for row in train.rows]
    shortest = min(length_of(row, 3) for row in test.rows)
    limit = shortest + sum(map(len, ahead))  # all fit ahead of the shortest alone
    found = in_context(model, shown(test, ahead, special, limit))
    assert len(set(found.n_shown)) > 1
    for i, row in enumerate(test.rows):
        tokens = [5, *(t for one in ahead[: found.n_shown[i]] for t in one)]
        tokens += [*row.before[1:], *test.prompt, *row.after]
        at = row.answer_at + sum(len(one) for one in ahead[: found.n_shown[i]])
        (value,) = model.read(Batch(tokens=torch.tensor([tokens])), ["final"]).values()
        wanted = word_logits(model, value[:, at], test.words)[0]
        assert torch.allclose(found.scores[i], wanted, atol=1e-4)


def test_no_room_for_any_is_an_error(random_rows) -> None:
    model = miniature("llama")
    rows = random_rows(model)
    ahead = [demonstration(rows, row, Special(5), ()) for row in rows.rows]
    with pytest.raises(DataError, match="room for a single demonstration"):
        in_context(model, shown(rows, ahead, Special(5), 3))
