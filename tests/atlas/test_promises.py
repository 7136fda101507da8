"""Which tokens a record or a rule promises."""

import pytest

from lmscope.atlas.explain.rules import Condition, Rule
from lmscope.atlas.promises import record_promises, rule_promise
from lmscope.atlas.record import LatentRecord, Weighted

TEXTS = ("<bos>", " king", "King", " queen", " 12", ",", "kings")


def record(top=(), peaks=()) -> LatentRecord:
    return LatentRecord(
        latent=3, n_fired=5, density=0.1, mean=1.0, max=2.0, histogram=(), n_stretches=1, n_documents=1,
        document_share=1.0, groups=(), silent=(), peak_tokens=peaks, tokens=(), top_logits=top,
        bottom_logits=(), neighbours=(), coactive=(),
    )  # fmt: skip


def rule(*clauses: tuple[Condition, ...]) -> Rule:
    return Rule(any_of=clauses, context_length=32)


def test_a_record_promises_its_top_logits_and_its_peak_tokens() -> None:
    found = record_promises(record((Weighted(9, 2.0), Weighted(4, 1.0)), (Weighted(1, 7.0),)), 1)
    assert found == {"top_logits": (9,), "peak_tokens": (1,)}


def test_a_record_without_logits_promises_none() -> None:
    assert record_promises(record(peaks=(Weighted(1, 7.0),))) == {"peak_tokens": (1,)}


WORD = Condition(kind="word", values=("king",))
DIGITS = Condition(kind="class", values=("digits",))
CAPITAL = Condition(kind="class", values=("capital",))
BEFORE = Condition(kind="word", values=("queen",), low=-1, high=-1)
TOPIC = Condition(kind="word", values=("king", "queen"), anywhere=True, at_least=2)
PLACE = Condition(kind="position", values=(0, 4))


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        (((WORD,),), (1, 2)),
        (((WORD,), (DIGITS,)), (1, 2, 4)),
        (((WORD, CAPITAL),), (2,)),
        (((WORD, BEFORE),), (1, 2)),
        (((BEFORE,),), (3,)),
        (((TOPIC,),), (1, 2, 3)),
        (((WORD, PLACE),), (1, 2)),
        (((PLACE,),), ()),
        (((Condition(kind="token", values=(5,)),),), (5,)),
        (((Condition(kind="prefix", values=("king",)),),), (6,)),
    ],
    ids=[
        "word",
        "either",
        "both",
        "own wins",
        "before",
        "topic",
        "placed",
        "place",
        "id",
        "prefix",
    ],
)
def test_a_rule_promises_the_tokens_that_it_names(clauses, expected) -> None:
    assert rule_promise(rule(*clauses), TEXTS) == expected
