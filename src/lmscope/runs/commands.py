"""Commands: which words start a job that has no command of its own name."""

from typing import Final

_WORDS: Final = {
    "atlas": "atlas build",
    "lm": "lm train",
    "othello": "othello train",
    "othello-circuits": "othello circuits",
}


def command_of(job: str) -> str:
    """The words after `lmscope` that start a job.

    Args:
        job: As recipes and run.json call it.
    """
    return _WORDS.get(job, job)
