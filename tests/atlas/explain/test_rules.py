"""Rules hold where they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.atlas.explain.protocols import Case
from lmscope.atlas.explain.rules import CLASSES, Condition, Passages, Rule, classes_of, shifted
from lmscope.atlas.explain.wording import say
from lmscope.atlas.record import Example
from lmscope.core.errors import ArtifactError, RecipeError

NONE = np.zeros(0, dtype=np.int32)


def case(text: str, start: int = 0) -> Case:
    """Tokens are set apart by |, their ids are their lengths."""
    texts = tuple(text.split("|"))
    example = Example(start, len(texts), 0, NONE, NONE.astype(np.float32))
    return Case(example, tuple(len(t) for t in texts), texts)


def places(text: str, *clauses: list[dict], start: int = 0) -> list[int]:
    """Where a rule holds."""
    values = {"any_of": clauses, "context_length": 100}
    rule = Rule.from_mapping(values)
    return Passages.of([case(text, start)]).matches(rule)[0].nonzero()[0].tolist()


TEXT = "The| bank|,| 12| Banks|\n| of| BANK"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"kind": "token", "values": [5]}, [1, 7]),
        ({"kind": "word", "values": ["bank"]}, [1, 7]),
        ({"kind": "class", "values": ["digits"]}, [3]),
        ({"kind": "class", "values": ["punctuation", "newline"]}, [2, 5]),
        ({"kind": "class", "values": ["capitalised"]}, [0, 4]),
        ({"kind": "class", "values": ["upper"]}, [7]),
        ({"kind": "prefix", "values": ["ban"]}, [1, 4, 7]),
        ({"kind": "prefix", "values": ["bank"]}, [4]),
        ({"kind": "suffix", "values": ["ks", "nk"]}, [1, 4, 7]),
        ({"kind": "word", "values": ["bank"], "low": -1, "high": -1}, [2]),
        ({"kind": "word", "values": ["bank"], "low": 1, "high": 1}, [0, 6]),
        ({"kind": "word", "values": ["bank"], "low": -3, "high": -1}, [2, 3, 4]),
        ({"kind": "word", "values": ["of"], "anywhere": True}, list(range(8))),
        ({"kind": "word", "values": ["of", "to"], "anywhere": True, "at_least": 2}, []),
        ({"kind": "word", "values": ["of", "the"], "anywhere": True, "at_least": 2}, list(range(8))),
        ({"kind": "position", "values": [0, 3]}, [0, 1, 2]),
    ],
)  # fmt: skip
def test_a_condition_holds_at_its_places(condition, expected):
    assert places(TEXT, [condition]) == expected


def test_conditions_of_a_clause_hold_together_and_clauses_are_alternatives():
    bank, after_the = (
        {"kind": "word", "values": ["bank"]},
        {"kind": "word", "values": ["the"], "low": -1, "high": -1},
    )
    assert places(TEXT, [bank, after_the]) == [1]
    assert places(TEXT, [bank, after_the], [{"kind": "class", "values": ["digits"]}]) == [1, 3]


def test_a_place_is_counted_from_the_start_of_the_context():
    condition = {"kind": "position", "values": [0, 3]}
    assert places(TEXT, [condition], start=200) == [0, 1, 2]
    assert places(TEXT, [condition], start=201) == [0, 1]
    assert places(TEXT, [condition], start=150) == []


def test_nothing_holds_beyond_the_end_of_a_shorter_stretch():
    passages = Passages.of([case("a|b|c"), case("a")])
    anything = Rule.from_mapping(
        {
            "any_of": [[{"kind": "class", "values": list(CLASSES)}]],
            "context_length": 100,
        }
    )
    assert passages.matches(anything).tolist() == [[True, True, True], [True, False, False]]
    before = Condition(kind="word", values=("a",), low=-1, high=-1)
    assert passages.where(before, 100).tolist() == [[False, True, False], [False, True, False]]
    rule = Rule(any_of=((before,),), context_length=100)
    assert passages.matches(rule).tolist() == [[False, True, False], [False, False, False]]


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(-8, 8))
def test_shifted_looks_that_far_on(row, offset):
    found = shifted(np.array([row]), offset)[0].tolist()
    expected = [0 <= i + offset < len(row) and row[i + offset] for i in range(len(row))]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        (" 1848", {"digits"}),
        ("n't", {"piece"}),
        ("—", {"punctuation"}),
        ("\n\n", {"newline", "space"}),
        (" Paris", {"capitalised", "capital"}),
        (" A", {"capital", "letter"}),
        ("", {"bytes"}),
        (" 東京", {"han"}),
        ("naïve", {"accented", "piece"}),
        ("Москва", {"capitalised", "capital", "piece", "cyrillic"}),
    ],
)
def test_tokens_are_of_the_classes_that_a_reader_expects(text, classes):
    assert classes_of(text) == classes


def test_a_rule_survives_json():
    clause = (Condition(kind="word", values=("bank", "of"), low=-2, high=-1),)
    rule = Rule(any_of=(clause,), context_length=64)
    assert Rule.read(rule.to_mapping()) == rule


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"kind": "token", "values": ["bank"]}, "kind 'token' needs numbers as values"),
        ({"kind": "word", "values": []}, "needs words as values"),
        ({"kind": "word", "values": ["a"], "low": 2, "high": 1}, "backwards"),
        ({"kind": "class", "values": ["digit"]}, "no class of tokens 'digit'"),
        ({"kind": "position", "values": [3]}, "a first place and the one after the last"),
        ({"kind": "word", "values": ["a"], "low": -99}, "greater than or equal to -16"),
    ],
)
def test_a_condition_without_sense_is_refused(condition, said):
    values = {"any_of": [[condition]], "context_length": 8}
    with pytest.raises(RecipeError, match=said):
        Rule.from_mapping(values)
    with pytest.raises(ArtifactError, match="make them anew"):
        Rule.read(values)


@pytest.mark.parametrize(
    ("clauses", "label"),
    [
        ([[{"kind": "token", "values": [1]}]], '"t1"'),
        ([[{"kind": "token", "values": [9]}]], '"↵"'),
        ([[{"kind": "word", "values": ["bank"]}]], 'the word "bank"'),
        (
            [[{"kind": "word", "values": list("abcdefgh")}]],
            'the words "a", "b", "c", "d", "e" and 3 more',
        ),
        ([[{"kind": "class", "values": ["digits", "greek"]}]], "digits or Greek script"),
        ([[{"kind": "suffix", "values": ["ing"]}]], 'words that end in "-ing"'),
        (
            [[{"kind": "token", "values": [2], "low": -1, "high": -1}]],
            'any token right after "t2"',
        ),
        (
            [
                [
                    {"kind": "token", "values": [2], "low": -8, "high": -1},
                    {"kind": "class", "values": ["digits"]},
                ]
            ],
            'digits shortly after "t2"',
        ),
        ([[{"kind": "token", "values": [2], "low": 2, "high": 2}]], 'any token 2 tokens before "t2"'),
        (
            [[{"kind": "position", "values": [0, 4]}]],
            "any token among the first 4 tokens of a context",
        ),
        (
            [[{"kind": "word", "values": ["a", "b"], "anywhere": True, "at_least": 2}]],
            'text with two of the words "a", "b"',
        ),
        (
            [[{"kind": "word", "values": ["a"]}], [{"kind": "word", "values": ["b"]}]],
            'the word "a"; or the word "b"',
        ),
    ],
)  # fmt: skip
def test_a_rule_is_said_in_words(clauses, label):
    rule = Rule.from_mapping({"any_of": clauses, "context_length": 64})
    assert say(rule, lambda token: "\n" if token == 9 else f"t{token}") == label
