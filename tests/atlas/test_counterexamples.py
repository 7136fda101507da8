"""Examples on which a latent fires although its label says that it does not are found and put in order."""

import numpy as np
import pytest

from lmscope.atlas.counterexamples import counter_examples
from lmscope.atlas.explain import meanings, rubric, scorers
from lmscope.atlas.explain.protocols import Label
from lmscope.atlas.record import Example, ExampleGroup

RULE = {"any_of": [[{"kind": "token", "values": [7]}]], "context_length": 4}


class Text:
    """Contexts of four tokens; the token 7 stands in the contexts 0 and 2 only."""

    digest, context_length, n_contexts = "c" * 64, 4, 5

    def tokens(self, start, length):
        first = 7 if start // 4 in (0, 2) else 1
        return np.asarray([first, 2, 3, 4], np.int32)[:length]

    def token_bytes(self, token):
        return b" word%d" % token

    def document(self, start):
        return None


def example(context: int, peak: float) -> Example:
    return Example(4 * context, 4, 1, np.asarray([1], np.int32), np.asarray([peak], np.float32))


@pytest.fixture
def record(made_record):
    from dataclasses import replace

    # By hand: contexts 1, 3 and 4 lack the token, and 3 stands in two groups.
    groups = (
        ExampleGroup("top", 3.0, 5.0, 0.5, (example(0, 5.0), example(3, 4.0), example(1, 3.0))),
        ExampleGroup("quantile", 4.0, 6.0, 0.5, (example(4, 6.0), example(3, 4.0), example(2, 1))),
    )
    return replace(made_record(0), groups=groups)


def test_what_the_rule_misses_comes_strongest_first(record):
    found = counter_examples(Label(0, "the word", "made", RULE), record, Text())
    assert found is not None
    assert found.n_asked == 5
    assert [one.start // 4 for one in found.missed] == [4, 3, 1]


def test_a_rule_that_holds_everywhere_misses_nothing(record):
    rule = {"any_of": [[{"kind": "token", "values": [2], "anywhere": True}]], "context_length": 4}
    found = counter_examples(Label(0, "always", "made", rule), record, Text())
    assert found is not None
    assert found.missed == ()


def test_labels_without_a_rule_promise_nothing(record):
    assert counter_examples(None, record, Text()) is None
    assert counter_examples(Label(0, "words", "made"), record, Text()) is None


def test_every_scorer_has_a_meaning():
    classes = (
        scorers.Detection,
        scorers.Fuzzing,
        scorers.Intruder,
        scorers.Simulation,
        rubric.Monosemanticity,
        rubric.Complexity,
    )
    assert set(meanings.MEANINGS) == {one.name for one in classes}
    assert meanings.MEANINGS["intruder"].chance == 1 / scorers.N_INTRUDER_CHOICES
