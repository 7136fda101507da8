import re

import pytest

from lmscope.core.errors import DataError
from lmscope.text.tasks.catalog import make_examples


@pytest.mark.parametrize(
    ("fixture", "kind", "width"),
    [("pairs_tokenizer", "two digits", 2), ("words_tokenizer", "one digit", 1)],
)
def test_answers_are_later_and_wrongs_earlier(request, fixture, kind, width):
    tokenizer = request.getfixturevalue(fixture)
    for one in make_examples("greater_than", tokenizer, 60):
        assert one.kind == kind
        start = re.search(r"\d{4}", one.prompt)[0]
        assert one.prompt.endswith(start[:2])
        shown = start[2 : 2 + width]
        assert all(len(text) == width for text in (*one.answers, *one.wrongs))
        assert all(text > shown for text in one.answers)
        assert all(text < shown for text in one.wrongs)


def test_the_first_year_of_the_counterfactual_is_the_earliest(pairs_tokenizer):
    for one in make_examples("greater_than", pairs_tokenizer, 30):
        start = re.search(r"\d{4}", one.counterfactual)[0]
        assert start[2:] == "01"
        assert re.sub(r"\d{4}", "", one.counterfactual) == re.sub(r"\d{4}", "", one.prompt)


def test_start_is_where_the_first_year_stands(pairs_tokenizer):
    for one in make_examples("greater_than", pairs_tokenizer, 30):
        tokens = pairs_tokenizer.encode(one.prompt, add_special_tokens=False)
        year = pairs_tokenizer.decode([tokens[i] for i in one.roles["start"]])
        assert re.fullmatch(r" \d{4}", year)


def test_a_tokenizer_that_takes_years_whole_is_refused(years_tokenizer):
    with pytest.raises(DataError, match="cuts years otherwise"):
        make_examples("greater_than", years_tokenizer, 1)
