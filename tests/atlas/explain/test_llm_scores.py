"""A server that follows labels by the letter: true ones score about 1, wrong ones about 0.5."""

import json
import re

import numpy as np
import pytest

from lmscope.atlas.explain.llm import LlmExplainer, LlmJudge
from lmscope.atlas.explain.protocols import Case, Evidence, Label
from lmscope.atlas.explain.scorers import Detection, Fuzzing, Intruder, Simulation
from lmscope.atlas.record import Example
from lmscope.runs.endpoint import Endpoint
from lmscope.runs.endpoint_config import EndpointConfig

OTHERS = ["sun", "rain", "wind", "snow", "fog", "hail"]


def literal_model(body) -> str:
    """Labels the commonest firing token; believes that a label's last word is what fires."""
    rows = [json.loads(line) for line in body["messages"][1]["content"].split("\n")]
    if "fires" in rows[0]:
        fired = [token for row in rows if row["fires"] for token, _ in row["firing"]]
        label = f"the word {max(set(fired), key=fired.count).strip()}"
        return json.dumps({"observations": "", "label": label})
    word = rows[0]["label"].split(" ")[-1]
    if "tokens" in rows[1]:
        numbers = [number for number, token in rows[1]["tokens"] if token.strip() == word]
        return json.dumps({"firing": [{"number": n, "strength": 9} for n in numbers]})
    verdicts = []
    for row in rows[1:]:
        marked = re.findall("⟦ ?(.*?)⟧", row["text"])
        fits = set(marked) == {word} if marked else word in row["text"].split(" ")
        verdicts.append({"number": row["number"], "percent": 95 if fits else 5})
    return json.dumps({"verdicts": verdicts})


def stretches(generator, n: int, trigger: str | None, first: int) -> tuple[Case, ...]:
    cases = []
    for i in range(n):
        words = generator.choice(OTHERS, 8).tolist()
        places = []
        if trigger is not None:
            places = sorted(generator.choice(8, 2, replace=False).tolist())
            for place in places:
                words[place] = trigger
        values = generator.uniform(1, 2, len(places)).astype(np.float32)
        peak = places[int(values.argmax())] if places else 0
        example = Example((first + i) * 20, 8, peak, np.array(places, dtype=np.int32), values)
        cases.append(Case(example, tuple(range(8)), tuple(f" {word}" for word in words)))
    return tuple(cases)


@pytest.fixture
def judged(chat_server, tmp_path, made_record):
    """Evidence of a latent that fires on `moon`, and an endpoint to the literal model."""
    generator = np.random.default_rng(0)
    chat_server.answer = literal_model
    config = EndpointConfig(base_url=chat_server.url, model="literal")
    with Endpoint(config, tmp_path / "answers.jsonl") as endpoint:
        seen, held_out = (
            Evidence(
                made_record(3),
                stretches(generator, 8, "moon", first),
                stretches(generator, 8, None, first + 8),
            )
            for first in (0, 16)
        )
        yield endpoint, seen, held_out


def test_a_true_label_is_found_and_scores_one(judged):
    endpoint, seen, held_out = judged
    label, judge = LlmExplainer(endpoint).explain(seen), LlmJudge(endpoint)
    assert label.text == "the word moon"
    for scorer in (Detection(), Fuzzing(), Intruder()):
        assert scorer.score(label, held_out, judge).value == 1.0
    assert Simulation().score(label, held_out, judge).value > 0.9


def test_a_wrong_label_scores_as_chance_does(judged):
    endpoint, _, held_out = judged
    label, judge = Label(3, "the word comet", "somebody"), LlmJudge(endpoint)
    assert Detection().score(label, held_out, judge).value == 0.5
    assert Fuzzing().score(label, held_out, judge).value == 0.5
    assert Intruder().score(label, held_out, judge).value == pytest.approx(0.2)
    assert Simulation().score(label, held_out, judge).value == 0.0


def test_scores_are_the_same_again_at_no_cost(judged, chat_server):
    endpoint, _, held_out = judged
    label = Label(3, "the word moon", "somebody")
    scorers = [Detection(), Fuzzing(), Intruder(), Simulation()]
    first = [scorer.score(label, held_out, LlmJudge(endpoint)) for scorer in scorers]
    n = len(chat_server.requests)
    # 16 stretches in batches of 8; 8 with two kinds of marks; 8 questions with an intruder; 16 alone.
    assert n == 2 + 2 + 8 + 16
    assert [scorer.score(label, held_out, LlmJudge(endpoint)) for scorer in scorers] == first
    assert len(chat_server.requests) == n
