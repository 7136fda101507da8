"""What explainers, judges and scorers have to do; both the built-in ones and those with an LLM do it.

An explainer reads evidence and gives a label. A judge reads a label and says what it promises about a
stretch of text. A scorer asks a judge about held-out stretches whose truth is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from lmscope.atlas.record import Example, LatentRecord

NOT_KNOWN: Final = "not known"
"""What a reader sees in place of a label whose score is too low."""


@dataclass(frozen=True)
class Case:
    """A stretch of text with its truth.

    Attributes:
        example: Where it is and how the latent fires on it; without places it is silent.
        tokens: Vocabulary ids.
        texts: What each token shows as; joined they are the text.
    """

    example: Example
    tokens: tuple[int, ...]
    texts: tuple[str, ...]

    @property
    def fires(self) -> bool:
        """Whether the latent fires in it."""
        return len(self.example.places) > 0


@dataclass(frozen=True)
class Evidence:
    """What there is to say about one latent, from one side of the corpus.

    Attributes:
        record: The latent.
        positives: Stretches in which it fires, by falling peak.
        negatives: Stretches in which it does not.
    """

    record: LatentRecord
    positives: tuple[Case, ...]
    negatives: tuple[Case, ...]


@dataclass(frozen=True)
class Label:
    """What somebody or something says that a latent means.

    Attributes:
        latent: Its number.
        text: A short description; empty where the explainer has nothing to say.
        explainer: Who says it.
        rule: The same as data, where a program can follow it; else None.
        precision: Of the rule on the explainer's own evidence; None without a rule.
        recall: Likewise.
    """

    latent: int
    text: str
    explainer: str
    rule: dict[str, Any] | None = None
    precision: float | None = None
    recall: float | None = None


@dataclass(frozen=True)
class Score:
    """How far a label can be trusted, by one scorer.

    Attributes:
        scorer: `detection`, `fuzzing`, `intruder`, `simulation`, `monosemanticity`, `complexity`.
        value: 0.5 is chance for the first two (balanced accuracy); intruder: share found, chance is
            1 / choices; simulation: correlation; the rubrics: 1 to 5.
        low: Lower end of the 95 % interval; equal to value where there is none.
        high: Upper end.
        n: Cases or questions.
    """

    scorer: str
    value: float
    low: float
    high: float
    n: int


@runtime_checkable
class Explainer(Protocol):
    """Gives a latent a label."""

    name: str

    def explain(self, evidence: Evidence) -> Label:
        """A label from evidence that is not held out; its text is empty where nothing can be said."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Says what a label promises; it never sees where the latent fires."""

    name: str

    def fires(self, label: Label, cases: Sequence[Case]) -> list[float]:
        """For each stretch, how probable it is that such a latent fires in it, 0 to 1."""
        ...

    def marked(self, label: Label, cases: Sequence[Case], marks: Sequence[set[int]]) -> list[float]:
        """For each stretch, how probable it is that the marked places are those on which it fires."""
        ...

    def activations(self, label: Label, case: Case) -> list[float] | None:
        """How strongly such a latent would fire on each token; None: this judge cannot say."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Scores a label on held-out evidence."""

    name: str

    def score(self, label: Label, evidence: Evidence, judge: Judge) -> Score | None:
        """The score; None where the evidence or the judge does not allow one."""
        ...
