"""Counter-examples: stretches in which a latent fires although its label promises that it does not.

Only a label with a rule that a program can follow promises anything that can be checked without a language
model.
"""

from typing import NamedTuple

from lmscope.atlas.explain.evidence import read_case
from lmscope.atlas.explain.protocols import Label
from lmscope.atlas.explain.rule_judge import UNDECIDED, RuleJudge
from lmscope.atlas.record import Example, LatentRecord
from lmscope.atlas.text import CorpusText


class CounterExamples(NamedTuple):
    """What a label's rule misses.

    Attributes:
        n_asked: Examples that the rule was asked about, each stretch once.
        missed: Those of which it says that the latent does not fire, strongest first.
    """

    n_asked: int
    missed: tuple[Example, ...]


def counter_examples(
    label: Label | None, record: LatentRecord, corpus: CorpusText
) -> CounterExamples | None:
    """The examples on which a latent fires although its label's rule says that it does not.

    Examples of both sides of the corpus are asked about, so the share that is missed is no score: what the
    rule was made from is among them.

    Returns:
        None where there is no label, or none with a rule.

    Raises:
        ArtifactError: The rule is damaged, or the corpus lacks a position.
    """
    if label is None or label.rule is None:
        return None
    examples = {one.start: one for group in record.groups for one in group.examples}
    ordered = sorted(examples.values(), key=lambda one: (-one.max, one.start))
    cases = [read_case(one.start, one.length, corpus) for one in ordered]
    verdicts = RuleJudge().fires(label, cases)
    missed = [one for one, says in zip(ordered, verdicts, strict=True) if says < UNDECIDED]
    return CounterExamples(len(ordered), tuple(missed))
