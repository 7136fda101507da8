"""The tasks by name, and how examples of them are made."""

from typing import Final

from lmscope.core.errors import DataError, RecipeError, did_you_mean
from lmscope.core.protocols import Tokenizer
from lmscope.core.rng import numpy_generator
from lmscope.text.tasks.agreement import AGREEMENT
from lmscope.text.tasks.brackets import BRACKETS
from lmscope.text.tasks.greater_than import GREATER_THAN
from lmscope.text.tasks.induction import INDUCTION
from lmscope.text.tasks.ioi import IOI
from lmscope.text.tasks.task import Example, Task

TASKS: Final = {task.name: task for task in (IOI, INDUCTION, BRACKETS, GREATER_THAN, AGREEMENT)}
"""All tasks, in the order in which they are shown."""
_TRIES: Final = 50
"""Draws for each example before it is given up."""


def find_task(name: str) -> Task:
    """A task by name.

    Raises:
        RecipeError: There is none.
    """
    if name not in TASKS:
        raise RecipeError(f"No task is called '{name}'.{did_you_mean(name, TASKS)}")
    return TASKS[name]


def make_examples(name: str, tokenizer: Tokenizer, n: int, seed: int = 0) -> tuple[Example, ...]:
    """Different prompts of a task, fitted to a tokenizer; equal arguments give equal prompts.

    Args:
        name: Of the task.
        tokenizer: Whose tokens answers and roles are counted in.
        n: So many prompts.
        seed: Names the draw; the first prompts of a longer draw are those of a shorter one.

    Raises:
        RecipeError: There is no such task, or none is asked for.
        DataError: The tokenizer has not got the words, or there are fewer different prompts.
    """
    task = find_task(name)
    if n < 1:
        raise RecipeError(f"{n} prompts were asked for: give at least 1.")
    draw, rng = task.prepare(tokenizer), numpy_generator(seed, "task", name)
    found: dict[str, Example] = {}
    for _ in range(_TRIES * n):
        if len(found) == n:
            break
        example = draw(rng)
        if example is not None:
            found.setdefault(example.prompt, example)
    if len(found) < n:
        raise DataError(
            f"The task '{name}' has only {len(found)} different prompts for this tokenizer, and {n} were asked for: "
            "ask for fewer."
        )
    return tuple(found.values())
