"""Scorers: what a perfect, a deaf and a contrary judge get, and the intervals."""

import numpy as np
import pytest

from lmscope.atlas.explain.protocols import Case, Evidence, Judge, Label, Scorer
from lmscope.atlas.explain.rule_judge import RuleJudge
from lmscope.atlas.explain.scorers import Detection, Fuzzing, Intruder, Simulation, wilson
from lmscope.atlas.record import Example
from lmscope.core.errors import RecipeError

SCORERS = (Detection(), Fuzzing(), Intruder(), Simulation())
LABEL = Label(0, "something", "test")


class Told:
    """A judge who knows the truth, and gives it times `sense` from -1 to 1; 0 is deaf."""

    name = "told"

    def __init__(self, sense: float) -> None:
        self.sense = sense

    def fires(self, label, cases):
        return [self._say(case.fires) for case in cases]

    def marked(self, label, cases, marks):
        pairs = zip(cases, marks, strict=True)
        return [self._say(set(case.example.places.tolist()) == places) for case, places in pairs]

    def activations(self, label, case):
        return (case.example.activations() * self.sense).tolist()

    def _say(self, truth):
        return 0.5 + self.sense * (0.5 if truth else -0.5)


def stretch(start: int, *places: int) -> Case:
    at = np.array(places, dtype=np.int32)
    values = np.arange(1, len(places) + 1, dtype=np.float32)
    example = Example(start, 8, int(at[-1]) if len(at) else 0, at, values)
    return Case(example, tuple(range(start, start + 8)), tuple("abcdefgh"))


@pytest.fixture
def cases(planted) -> Evidence:
    """12 stretches that fire and 8 that do not."""
    positives = tuple(stretch(8 * i, i % 8, *([7] if i % 8 < 7 else [])) for i in range(12))
    return Evidence(planted["token"], positives, tuple(stretch(1000 + 8 * i) for i in range(8)))


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_scorers_and_judges_keep_their_protocols(scorer):
    assert isinstance(scorer, Scorer)
    assert isinstance(RuleJudge(), Judge)
    assert isinstance(Told(1), Judge)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_who_knows_the_truth_gets_one(scorer, cases):
    score = scorer.score(LABEL, cases, Told(1))
    assert score.scorer == scorer.name
    assert score.value == pytest.approx(1)
    assert score.low <= score.value <= score.high + 1e-12


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_who_does_not_listen_gets_chance(scorer, cases):
    chance = {"intruder": 0.2, "simulation": 0.0}.get(scorer.name, 0.5)
    score = scorer.score(LABEL, cases, Told(0))
    assert score.value == pytest.approx(chance)
    assert score.low <= chance <= score.high


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_who_says_the_contrary_gets_the_worst(scorer, cases):
    worst = -1 if scorer.name == "simulation" else 0
    assert scorer.score(LABEL, cases, Told(-1)).value == pytest.approx(worst)


def test_detection_is_the_mean_of_two_shares_and_wilsons_intervals_give_its_own(cases):
    class Says(Told):
        def fires(self, label, stretches):
            n_right = iter([1.0] * 9 + [0.0] * 3 + [0.0] * 6 + [1.0] * 2)
            return [next(n_right) for _ in stretches]

    score = Detection().score(LABEL, cases, Says(0))
    assert score.value == pytest.approx((9 / 12 + 6 / 8) / 2)
    # Wilson: 9 of 12 is 0.46769 to 0.91106, 6 of 8 is 0.40927 to 0.92852.
    below = np.hypot(0.75 - 0.46769, 0.75 - 0.40927) / 2
    above = np.hypot(0.91106 - 0.75, 0.92852 - 0.75) / 2
    assert score.low == pytest.approx(0.75 - below, abs=1e-4)
    assert score.high == pytest.approx(0.75 + above, abs=1e-4)
    assert score.n == 20


def test_detection_is_0_5_whatever_a_judge_always_says(cases):
    class Always(Told):
        def fires(self, label, stretches):
            return [0.9] * len(stretches)

    assert Detection().score(LABEL, cases, Always(0)).value == 0.5


def test_wilson_keeps_away_from_0_and_1():
    # The interval of 10 of 10 begins at 10 / (10 + z^2).
    assert wilson(10.0, 10) == pytest.approx((10 / (10 + 3.8414588), 1.0))
    assert wilson(0.0, 10)[0] == 0.0


def test_false_marks_are_as_many_silent_tokens_of_the_same_stretch(cases):
    seen = []

    class Looks(Told):
        def marked(self, label, stretches, marks):
            seen.extend(zip(stretches, marks, strict=True))
            return super().marked(label, stretches, marks)

    Fuzzing(seed=3).score(LABEL, cases, Looks(1))
    assert len(seen) == 24
    for case, marks in seen[12:]:
        fires = set(case.example.places.tolist())
        assert len(marks) == len(fires)
        assert not marks & fires


def test_equal_seeds_ask_equal_questions(cases):
    scores = [Intruder(seed).score(LABEL, cases, Told(0.2)) for seed in (1, 1)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_there_is_no_score_without_a_label_or_with_too_few_stretches(scorer, cases):
    assert scorer.score(Label(0, "", "test"), cases, Told(1)) is None
    few = Evidence(cases.record, cases.positives[:2], cases.negatives)
    assert scorer.score(LABEL, few, Told(1)) is None
    if scorer.name != "fuzzing":
        assert scorer.score(LABEL, Evidence(cases.record, cases.positives, ()), Told(1)) is None


def test_a_judge_who_cannot_simulate_gives_no_simulation(cases):
    class Silent(Told):
        def activations(self, label, case):
            return None

    assert Simulation().score(LABEL, cases, Silent(1)) is None


def test_simulation_is_the_correlation_over_all_tokens(cases):
    draw = np.random.default_rng(0)
    guesses = {c.example.start: draw.random(8) for c in (*cases.positives, *cases.negatives)}

    class Guess(Told):
        def activations(self, label, case):
            return guesses[case.example.start].tolist()

    truth = np.concatenate([c.example.activations() for c in (*cases.positives, *cases.negatives)])
    expected = np.corrcoef(np.concatenate(list(guesses.values())), truth)[0, 1]
    assert Simulation().score(LABEL, cases, Guess(0)).value == pytest.approx(expected)


def test_the_rule_judge_follows_the_rule():
    rule = {"any_of": [[{"kind": "word", "values": ["c", "d"]}]], "context_length": 64}
    label = Label(0, "c or d", "test", rule=rule)
    here = stretch(0, 2, 3)
    other = Case(here.example, here.tokens, tuple("xyxyxyxy"))
    judge = RuleJudge()
    assert judge.fires(label, [here, other]) == [1.0, 0.0]
    assert judge.marked(label, [here, here, other], [{2, 3}, {2, 4}, {2}]) == [1.0, 0.5, 0.0]
    assert judge.activations(label, here) == [0, 0, 1, 1, 0, 0, 0, 0]


def test_a_rule_on_whole_stretches_does_not_say_which_tokens_fire():
    condition = {"kind": "word", "values": ["c"], "anywhere": True}
    label = Label(0, "text with c", "test", rule={"any_of": [[condition]], "context_length": 64})
    assert RuleJudge().marked(label, [stretch(0, 2)], [{2}]) == [0.5]


def test_the_rule_judge_needs_a_rule():
    with pytest.raises(RecipeError, match="has no rule that a program can follow"):
        RuleJudge().fires(LABEL, [stretch(0, 2)])
