"""LlmExplainer and LlmJudge: a language model behind an endpoint names latents and judges labels."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from lmscope.atlas.explain import prompts
from lmscope.atlas.explain.protocols import Case, Evidence, Label
from lmscope.display.visible import visible
from lmscope.runs.endpoint import Answer, Endpoint

LONGEST_LABEL: Final = 200
"""Characters."""


class _Naming(Answer):
    observations: str
    """What the firing tokens and their contexts have in common."""
    label: str
    """At most fifteen words; empty when nothing is common to the excerpts."""


class _Verdict(Answer):
    number: int
    """Of the excerpt."""
    percent: int
    """0 to 100."""


class _Verdicts(Answer):
    verdicts: list[_Verdict]
    """One for each excerpt."""


class _Firing(Answer):
    number: int
    """Of the token."""
    strength: int
    """1 to 10."""


class _Simulation(Answer):
    firing: list[_Firing]
    """Tokens on which the latent fires."""


class LlmExplainer:
    """Labels a latent from excerpts with marked tokens and strengths 1 to 10 (paulo2024millions).

    Args:
        endpoint: What answers.
        n_examples: Excerpts in which the latent fires, from the strongest to the weakest.
        n_silent: Excerpts in which it is silent.
    """

    def __init__(self, endpoint: Endpoint, *, n_examples: int = 20, n_silent: int = 5) -> None:
        self.endpoint, self.n_examples, self.n_silent = endpoint, n_examples, n_silent
        self.name = f"llm:{endpoint.config.model}"

    def explain(self, evidence: Evidence) -> Label:
        """A label; its text is empty where the model sees no pattern or nothing fires.

        Raises:
            AnswerError: The model gave nothing usable for this latent; others may still be asked.
            LmscopeError: As `Endpoint.ask`.
        """
        record = evidence.record
        positives = prompts.spread(
            evidence.positives, self.n_examples, lambda case: case.example.max
        )
        if not positives:
            return Label(record.latent, "", self.name)
        rows = [{"fires": True, **prompts.firing_excerpt(case, record.max)} for case in positives]
        for case in prompts.spread(evidence.negatives, self.n_silent, lambda case: 0.0):
            rows.append({"fires": False, "text": prompts.excerpt(case)})
        answer = self.endpoint.ask(prompts.EXPLAIN, prompts.lines(rows), _Naming, _too_long)
        return Label(record.latent, _tidy(answer.label), self.name)


class LlmJudge:
    """Says what a label promises about stretches, in batches, without seeing activations.

    A batch holds stretches in an order of its own, so that the one in which they are given tells the
    model nothing, and no stretch twice (detection, fuzzing: paulo2024millions; simulation of all
    tokens at once: bills2023neurons).

    Args:
        endpoint: What answers.
        n_batch: Stretches of one question.
    """

    def __init__(self, endpoint: Endpoint, *, n_batch: int = 8) -> None:
        if n_batch < 1:
            raise ValueError("n_batch must be at least 1.")
        self.endpoint, self.n_batch = endpoint, n_batch
        self.name = f"llm:{endpoint.config.model}"

    def fires(self, label: Label, cases: Sequence[Case]) -> list[float]:
        """For each stretch, how probable it is that such a latent fires in it, 0 to 1.

        Raises:
            AnswerError: The model gave nothing usable about this label; others may still be asked.
            LmscopeError: As `Endpoint.ask`.
        """
        return self._verdicts(prompts.FIRES, label, cases, [set() for _ in cases])

    def marked(self, label: Label, cases: Sequence[Case], marks: Sequence[set[int]]) -> list[float]:
        """For each stretch, how probable it is that the marked places are those on which it fires.

        Raises:
            AnswerError: The model gave nothing usable about this label; others may still be asked.
            LmscopeError: As `Endpoint.ask`.
        """
        return self._verdicts(prompts.MARKED, label, cases, marks)

    def activations(self, label: Label, case: Case) -> list[float]:
        """How strongly such a latent would fire on each token, 0 to 10.

        Raises:
            AnswerError: The model gave nothing usable about this label; others may still be asked.
            LmscopeError: As `Endpoint.ask`.
        """
        n_tokens = len(case.texts)
        tokens = [[number, prompts.shown(text)] for number, text in enumerate(case.texts, 1)]
        material = prompts.lines([_label(label), {"tokens": tokens}])

        def check(answer: _Simulation) -> str | None:
            for firing in answer.firing:
                if not 1 <= firing.number <= n_tokens:
                    return f"There is no token {firing.number}: they are numbered 1 to {n_tokens}."
                if not 0 <= firing.strength <= 10:
                    return f"A strength of {firing.strength} is not between 1 and 10."
            return None

        answer = self.endpoint.ask(prompts.ACTIVATIONS, material, _Simulation, check)
        values = [0.0] * n_tokens
        for firing in answer.firing:
            values[firing.number - 1] = float(firing.strength)
        return values

    def _verdicts(
        self, instructions: str, label: Label, cases: Sequence[Case], marks: Sequence[set[int]]
    ) -> list[float]:
        result = [0.0] * len(cases)
        for batch in _batches(label, cases, marks, self.n_batch):
            rows = [
                {"number": number, "text": prompts.excerpt(cases[i], marks[i])}
                for number, i in enumerate(batch, 1)
            ]
            material = prompts.lines([_label(label), *rows])
            check = _answers_all(len(batch))
            answer = self.endpoint.ask(instructions, material, _Verdicts, check)
            for verdict in answer.verdicts:
                result[batch[verdict.number - 1]] = verdict.percent / 100
        return result


def _answers_all(n: int) -> Callable[[_Verdicts], str | None]:
    def check(answer: _Verdicts) -> str | None:
        if sorted(verdict.number for verdict in answer.verdicts) != list(range(1, n + 1)):
            return f"Each number from 1 to {n} needs one verdict."
        if any(not 0 <= verdict.percent <= 100 for verdict in answer.verdicts):
            return "Every percent must lie between 0 and 100."
        return None

    return check


def _too_long(answer: _Naming) -> str | None:
    if len(answer.label) > LONGEST_LABEL:
        return f"The label has {len(answer.label)} characters; at most fifteen words are wanted."
    return None


def _tidy(text: str) -> str:
    """One line; what could act on a page or terminal is spelt out."""
    words = " ".join(text.split()).strip("\"'` .")
    return visible(words) if words else ""


def _label(label: Label) -> dict[str, str]:
    return {"label": prompts.shown(label.text)}


def _batches(
    label: Label, cases: Sequence[Case], marks: Sequence[set[int]], size: int
) -> Iterator[list[int]]:
    """Numbers of cases, shuffled by their content; a stretch that comes twice is in two batches.

    Beside its twin with other marks, a stretch would be judged by comparison.
    """

    def drawn(i: int) -> str:
        content = f"{label.latent} {cases[i].example.start} {sorted(marks[i])}"
        return hashlib.sha256(content.encode()).hexdigest()

    rounds: list[list[int]] = []
    n_seen: Counter[int] = Counter()
    for i in sorted(range(len(cases)), key=drawn):
        turn = n_seen[cases[i].example.start]
        n_seen[cases[i].example.start] += 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(i)
    for one in rounds:
        yield from (one[first : first + size] for first in range(0, len(one), size))
