import errno

import pytest

from lmscope.cli.failures import explain
from lmscope.core.errors import ModelError, RecipeError


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RecipeError("Write k."), 2, "Write k."),
        (ModelError("Go online."), 1, "Go online."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (KeyboardInterrupt("Go on with X."), 130, "Go on with X."),
        (MemoryError(), 1, "memory does not suffice"),
        (OutOfMemoryError("CUDA out of memory"), 1, "memory does not suffice"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "memory does not suffice"),
        (OSError(errno.ENOSPC, "No space left"), 1, "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "'/x': Permission denied."),
        (BrokenPipeError(), 0, ""),
        (ZeroDivisionError("division by zero"), 1, "Unexpected ZeroDivisionError"),
    ],
)
def test_a_failure_has_its_code_and_its_sentence(
    error: BaseException, code: int, said: str
) -> None:
    found, sentence = explain(error)
    assert found == code
    assert said in sentence
    assert "\n" not in sentence


def test_an_unexpected_failure_says_how_to_see_more() -> None:
    _, sentence = explain(ValueError("a\nb"))
    assert "Unexpected ValueError: a b." in sentence
    assert "--debug" in sentence
