"""Task and Example: a prompt with its right and wrong next tokens, and a prompt to compare it with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmscope.core.protocols import Tokenizer


@dataclass(frozen=True)
class Example:
    """One prompt whose next token is known.

    Attributes:
        prompt: The text; a model's BOS is no part of it.
        answers: Right next tokens as texts, each one token after the prompt; the first is the one
            that is traced.
        wrongs: Wrong ones that a model which does not do the task would give just as well; the first
            is the one that the answer is compared with.
        counterfactual: A prompt of as many tokens, in which the first wrong answer is right or the
            answers are no better than the wrong ones.
        roles: Positions of what matters, by name, among the tokens of the prompt without BOS.
        kind: Which form of the task it is, e.g. `ABBA`.
    """

    prompt: str
    answers: tuple[str, ...]
    wrongs: tuple[str, ...]
    counterfactual: str
    roles: Mapping[str, tuple[int, ...]]
    kind: str

    @property
    def answer(self) -> str:
        """The right next token that is traced."""
        return self.answers[0]

    @property
    def wrong(self) -> str:
        """The wrong one that it is compared with."""
        return self.wrongs[0]

    @property
    def target(self) -> str:
        """The difference of their logits, as `lmscope trace` reads targets."""
        return f"{_quoted(self.answer)} - {_quoted(self.wrong)}"

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "prompt": self.prompt,
            "target": self.target,
            "counterfactual": self.counterfactual,
            "answers": list(self.answers),
            "wrongs": list(self.wrongs),
            "roles": {name: list(places) for name, places in self.roles.items()},
            "kind": self.kind,
        }


Draw = Callable[[np.random.Generator], Example | None]
"""Makes one example; None where what was drawn is no use and it is to be tried again."""


@dataclass(frozen=True)
class Task:
    """A task by name.

    Attributes:
        name: As the command line takes it.
        what: A line that says what is to be done.
        source: The paper that it comes from, a key of docs/papers.bib.
        prepare: Chooses words that a tokenizer has, and gives what draws examples of them.
    """

    name: str
    what: str
    source: str
    prepare: Callable[[Tokenizer], Draw]


def prompt_row(example: Example, name: str) -> dict[str, Any]:
    """A row of a file of prompts that `lmscope trace --prompts` reads."""
    row = example.to_mapping()
    return {"name": name, **row}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
