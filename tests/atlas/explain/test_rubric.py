import json

import numpy as np
import pytest

from lmscope.atlas.explain.llm import LlmJudge
from lmscope.atlas.explain.protocols import Case, Evidence, Label, Score, Scorer
from lmscope.atlas.explain.rubric import Complexity, Monosemanticity
from lmscope.atlas.record import Example
from lmscope.core.errors import BudgetError
from lmscope.runs.endpoint import Endpoint
from lmscope.runs.endpoint_config import EndpointConfig

LABEL = Label(3, "the word cat", "somebody")
RATING = {"pattern": "cats", "monosemanticity": 4, "complexity": 2}


def firing(start: int, value: float) -> Case:
    places, values = np.array([1], dtype=np.int32), np.array([value], dtype=np.float32)
    return Case(Example(start, 3, 1, places, values), (7, 8, 9), ("the", " cat", f" {start}"))


@pytest.fixture
def endpoint(chat_server, tmp_path):
    config = EndpointConfig(base_url=chat_server.url, model="tiny")
    with Endpoint(config, tmp_path / "answers.jsonl", wait=lambda seconds: None) as endpoint:
        yield endpoint


@pytest.fixture
def evidence(made_record):
    return Evidence(made_record(3), tuple(firing(20 * i, 1.0 + i) for i in range(30)), ())


def test_one_answer_gives_both_levels(endpoint, chat_server, evidence):
    chat_server.next.append(json.dumps(RATING))
    judge = LlmJudge(endpoint)
    scorers = [Monosemanticity(endpoint), Complexity(endpoint)]
    assert all(isinstance(scorer, Scorer) for scorer in scorers)
    assert [scorer.score(LABEL, evidence, judge) for scorer in scorers] == [
        Score("monosemanticity", 4.0, 4.0, 4.0, 20),
        Score("complexity", 2.0, 2.0, 2.0, 20),
    ]
    assert len(chat_server.requests) == 1
    assert endpoint.spent.n_reused == 1
    rows = chat_server.requests[0][2]["messages"][1]["content"].split("\n")
    assert len(rows) == 20
    assert json.loads(rows[0])["text"] == "the⟦ cat⟧ 580"  # the strongest comes first


def test_the_label_has_no_say(endpoint, chat_server, evidence):
    chat_server.next.append(json.dumps(RATING))
    scorer, judge = Monosemanticity(endpoint), LlmJudge(endpoint)
    other = Label(3, "something else", "somebody")
    assert scorer.score(LABEL, evidence, judge) == scorer.score(other, evidence, judge)


def test_too_few_stretches_give_no_level_and_cost_nothing(endpoint, chat_server, made_record):
    few = Evidence(made_record(3), (firing(0, 1.0), firing(20, 1.0)), ())
    assert Complexity(endpoint).score(LABEL, few, LlmJudge(endpoint)) is None
    assert chat_server.requests == []


@pytest.mark.parametrize("level", [0, 6, "high", None, 4.5])
def test_a_level_outside_the_scale_gives_no_score(endpoint, chat_server, evidence, level):
    chat_server.answer = lambda body: json.dumps({**RATING, "monosemanticity": level})
    assert Monosemanticity(endpoint).score(LABEL, evidence, LlmJudge(endpoint)) is None
    assert len(chat_server.requests) == 3


def test_a_spent_budget_is_no_missing_score(chat_server, tmp_path, evidence):
    config = EndpointConfig.from_mapping(
        {"base_url": chat_server.url, "model": "tiny", "caps": {"n_calls": 0}}
    )
    with Endpoint(config, tmp_path / "other.jsonl") as endpoint, pytest.raises(BudgetError):
        Monosemanticity(endpoint).score(LABEL, evidence, LlmJudge(endpoint))
