"""One pass in parts says what a pass of all examples does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.models.miniature import miniature
from lmscope.prompting.baselines.passes import answers, length_of, parts, without_labels
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import ModelScorer
from lmscope.text.tasks.choices.rendering import PromptRow, PromptRows


@pytest.mark.parametrize(
    ("family", "place"), [("llama", "ahead"), ("llama", "behind"), ("bert", "between")]
)
def test_parts_say_what_all_examples_do(family, place, random_rows) -> None:
    model = miniature(family)
    rows = random_rows(model, place, n=7)
    added = torch.randn(1, 3, model.d_model, generator=torch.Generator().manual_seed(0))
    prompts = Prompts({0: added})
    whole = ModelScorer(model, rows, kind="whole").scores(prompts)[0]
    for tokens in (1, 30, 10_000):
        found = answers(model, rows, prompts, tokens_at_once=tokens)
        assert torch.allclose(found.scores, whole, atol=1e-4)
        assert found.finals.shape == (7, model.d_model)
        assert found.flops > 0


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(1, 60))
def test_parts_keep_order_and_fit(lengths, tokens) -> None:
    rows = tuple(PromptRow((5,), (7,) * n, n, 0) for n in lengths)
    found = parts(PromptRows((8, 9), (1, 2), rows, 0), tokens)
    assert tuple(row for part in found for row in part.rows) == rows
    for part in found:
        longest = max(length_of(row, 2) for row in part.rows)
        assert len(part.rows) == 1 or len(part.rows) * longest <= tokens


def test_no_example_is_an_error() -> None:
    with pytest.raises(DataError, match="no example to score"):
        parts(PromptRows((8,), (1, 2), (), 0), 10)


def test_labels_are_taken_away_and_nothing_else(random_rows) -> None:
    rows = random_rows(miniature("llama"))
    blind = without_labels(rows)
    assert {row.label for row in blind.rows} == {0}
    assert [(r.before, r.after, r.answer_at) for r in blind.rows] == [
        (r.before, r.after, r.answer_at) for r in rows.rows
    ]
