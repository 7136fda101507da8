"""The planted check: the built-in explainer names every trigger, and scores tell true from wrong labels."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from lmscope.atlas.explain.background import Background
from lmscope.atlas.explain.evidence import evidence
from lmscope.atlas.explain.protocols import Evidence, Explainer, Label
from lmscope.atlas.explain.rule_judge import RuleJudge
from lmscope.atlas.explain.scorers import Detection, Fuzzing, Intruder, Simulation
from lmscope.atlas.explain.statistics import StatisticsExplainer

LABELS = {
    "token": '" bank"',
    "casings": 'the word "take"',
    "digits": "digits",
    "newline": '"↵"',
    "suffix": 'words that end in "-ing"',
    "after": 'any token right after " New"',
    "before": 'any token right before " old"',
    "bigram": '" York" right after " New"',
    "start": "any token among the first 4 tokens of a context",
}


@pytest.fixture(scope="module")
def background(planted_corpus) -> Background:
    return Background(planted_corpus, stretch=16)


@pytest.fixture(scope="module")
def labels(planted, planted_corpus, background) -> dict[str, Label]:
    explainer = StatisticsExplainer(background)
    assert isinstance(explainer, Explainer)
    return {
        name: explainer.explain(evidence(record, planted_corpus, "open", stretch=16))
        for name, record in planted.items()
    }


@pytest.fixture(scope="module")
def held_out(planted, planted_corpus) -> dict[str, Evidence]:
    return {
        name: evidence(record, planted_corpus, "held_out", stretch=16)
        for name, record in planted.items()
    }


@pytest.mark.parametrize("name", LABELS)
def test_it_names_the_trigger(name, labels):
    assert labels[name].text == LABELS[name]
    assert labels[name].precision > 0.95
    assert labels[name].recall > 0.95


def test_it_lists_a_set_of_words(labels):
    assert set(labels["set"].text.split(", ")) == {'" bank"', '" old"', '" York"'}


def test_it_names_a_topic_by_its_words(labels):
    text = labels["topic"].text
    assert text.startswith('"," in text with the words ')
    assert set(text.split('"')[3::2]) <= {"inflation", "market", "wages", "prices"}


def test_it_is_silent_where_nothing_tells(labels):
    assert labels["chance"].text == ""
    assert labels["chance"].rule is None


@pytest.mark.parametrize("scorer", [Detection(), Fuzzing(), Intruder(), Simulation()])
def test_true_labels_score_near_one_on_text_that_the_explainer_did_not_see(
    scorer, labels, held_out
):
    least = 0.75 if scorer.name == "simulation" else 0.95  # sizes are random, so no rule gives them
    for name, label in labels.items():
        if label.text:
            assert scorer.score(label, held_out[name], RuleJudge()).value > least, name


def test_wrong_labels_score_near_one_half(labels, held_out):
    # Not those of triggers that share words: " bank" is in the set, " York" in it and in the bigram.
    apart = ("casings", "digits", "newline", "suffix", "start", "token")
    for scorer in (Detection(), Fuzzing()):
        scores = [
            scorer.score(labels[wrong], held_out[name], RuleJudge()).value
            for name, wrong in permutations(apart, 2)
        ]
        assert np.mean(scores) == pytest.approx(0.5, abs=0.05)
        assert max(scores) < 0.8


def test_the_explainer_never_reads_the_held_out_side(planted, planted_corpus, background):
    """Firings of held-out stretches are moved elsewhere: the label stays the same."""
    record = planted["bigram"]
    seen = evidence(record, planted_corpus, "open", stretch=16)
    hidden = evidence(record, planted_corpus, "held_out", stretch=16).positives
    moved = {
        case.example.start: replace(case.example, places=(case.example.places + 1) % 16)
        for case in hidden
    }
    groups = tuple(
        replace(group, examples=tuple(moved.get(e.start, e) for e in group.examples))
        for group in record.groups
    )
    changed = evidence(replace(record, groups=groups), planted_corpus, "open", stretch=16)
    explainer = StatisticsExplainer(background)
    assert explainer.explain(changed) == explainer.explain(seen)


def test_it_says_nothing_of_a_latent_with_few_stretches(planted, planted_corpus, background):
    found = evidence(planted["token"], planted_corpus, "open", stretch=16)
    few = replace(found, positives=found.positives[:4])
    assert StatisticsExplainer(background).explain(few).text == ""


def test_it_needs_no_negatives(planted, planted_corpus, background):
    found = evidence(planted["token"], planted_corpus, "open", stretch=16)
    label = StatisticsExplainer(background).explain(replace(found, negatives=()))
    assert label.text == LABELS["token"]


def test_the_background_is_of_the_open_side_and_counts_rightly(
    planted_corpus, background, token_id
):
    open_ids = planted_corpus.ids[::2]
    assert background.n_tokens == 1024 * 16
    shown = set(background.passages.starts.tolist())
    assert all((start // 64) % 2 == 0 for start in shown)
    share = float((open_ids == token_id(" bank")).mean())
    assert background.token_share(token_id(" bank")) == pytest.approx(share, rel=0.15)
    rows = open_ids.reshape(-1, 16)
    share = float((rows == token_id(" inflation")).any(axis=1).mean())
    assert background.stretch_share("inflation") == pytest.approx(share, rel=0.15)
    assert background.stretch_share("zebra") == 0.5 / 1025
