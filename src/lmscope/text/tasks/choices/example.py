"""ChoiceExample: the texts of one example and its class."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lmscope.text.tasks.choices.task import ChoiceTask

CONTENT_FREE: Final = ("N/A", "", "[MASK]")
"""Texts that say nothing, by which a model's liking for a word is measured (zhao2021calibrate)."""


@dataclass(frozen=True)
class ChoiceExample:
    """One example of a task.

    Attributes:
        fields: Texts by name.
        label: Class index.
        options: The example's own options, in the order of the classes; empty where all share theirs.
    """

    fields: Mapping[str, str]
    label: int
    options: tuple[str, ...] = ()


def content_key(example: ChoiceExample) -> str:
    """Hex digits that name the texts and options of an example, whatever its label.

    Equal texts in other white space or case are other texts.
    """
    said = [sorted(example.fields.items()), list(example.options)]
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def content_free(task: ChoiceTask) -> tuple[ChoiceExample, ...]:
    """Examples that say nothing, to measure which word a model likes by itself (zhao2021calibrate).

    Their label is 0 and means nothing. Where rows bring their own options, these say nothing either.
    """
    n_options = len(task.labels) if task.row_options else 0
    return tuple(
        ChoiceExample(dict.fromkeys(task.fields, text), 0, (text,) * n_options)
        for text in CONTENT_FREE
    )
