import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.runs.json_answer import Answer, read_answer, schema_of


class Part(Answer):
    number: int


class Whole(Answer):
    thoughts: str
    level: Literal[1, 2, 3]
    parts: list[Part]


GOOD = {"thoughts": "a } and a ] and ,] stay", "level": 2, "parts": [{"number": 7}]}
TEXT = json.dumps(GOOD)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"  {TEXT}\n",
        f"```json\n{TEXT}\n```",
        f"Here it is:\n```\n{TEXT}\n```\nI hope that helps {{really}}.",
        f"Surely. {TEXT} Anything else?",
        f'<think>maybe {{"level": 3}}? no</think>{TEXT}',
        f'First {{"level": 9}}, or rather {TEXT}',
        f"{json.dumps(GOOD | {'level': 1})} No, rather {TEXT}",
        TEXT.replace("}]", ",} , ]").replace('"level": 2,', '"level": 2 ,'),
        "{{{" + TEXT,
        json.dumps(GOOD | {"extra": "</think>"}),
        TEXT[:-1] + ', "extra": null}',
    ],
)
def test_an_answer_is_found_wherever_it_stands(text):
    assert read_answer(text, Whole) == Whole.model_validate(GOOD)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no JSON object"),
        ("I would rather not.", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        (f"<think>perhaps {TEXT}</think>I do not know.", "no JSON object"),
        (TEXT[:-1], "'thoughts': Field required."),  # what is whole in it is the part
        (TEXT.replace('"level": 2', '"level": 4'), "'level': Input should be 1, 2 or 3."),
        (TEXT.replace("7", '"many"'), "'parts.0.number': "),
        ("{" * 100_000, "no JSON object"),
        ('{"a":' * 20_000, "no JSON object"),
        ('{"level": ' + "9" * 10_000 + "}", "no JSON object"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(text, problem):
    with pytest.raises(ValueError, match=problem):
        read_answer(text, Whole)


@given(st.text(), st.text(), st.integers(-5, 5), st.lists(st.integers(), max_size=3))
def test_any_text_around_or_inside_is_read_or_refused_and_never_misread(
    before, inside, level, parts
):
    values = {"thoughts": inside, "level": level, "parts": [{"number": part} for part in parts]}
    try:
        found = read_answer(before + json.dumps(values), Whole)
    except ValueError:
        assert not 1 <= level <= 3 or "{" in before or '"' in before
    else:
        assert found == Whole.model_validate(values)


def test_the_schema_allows_no_further_field_and_asks_for_all():
    schema = schema_of(Whole)
    assert schema["required"] == ["thoughts", "level", "parts"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Part"]["additionalProperties"] is False
    assert schema["properties"]["level"] == {"enum": [1, 2, 3], "type": "integer"}
