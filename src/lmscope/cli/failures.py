"""The one place where a failure becomes a sentence on stderr and an exit code."""

import errno
from collections.abc import Sequence
from typing import Final

from cyclopts import (
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from lmscope.core.errors import LmscopeError, RecipeError, did_you_mean

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

_MEMORY: Final = (
    "The memory does not suffice. Take fewer or narrower dictionaries, smaller batches "
    "(--set stream.batch_tokens=...), or a machine with more memory."
)


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence of a failure; an empty sentence where nothing is to be said.

    Args:
        error: What a command raised. Whatever a user can cause has a sentence of its own;
            anything else is named as unexpected.
    """
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED, str(error) or "Interrupted."
        case CycloptsError():
            return USAGE, f"{_usage(error)} {_see_help(error.command_chain)}"
        case RecipeError():
            return USAGE, str(error)
        case LmscopeError():
            return FAILED, str(error)
        case BrokenPipeError():
            return DONE, ""
        case _ if _is_out_of_memory(error):
            return FAILED, _MEMORY
        case OSError():
            return FAILED, _system(error)
        case _:
            return FAILED, (
                f"Unexpected {type(error).__name__}: {_one_line(str(error))} "
                "This is a defect of lmscope; run again with --debug for the traceback."
            )


def _usage(error: CycloptsError) -> str:
    command = _command(error.command_chain)
    match error:
        case UnknownCommandError():
            word = (error.unused_tokens or ["?"])[0]
            if word.startswith("-"):
                return f"'{word}' is no option of '{command}'."
            names = [name for name in error.app or () if not name.startswith("-")]
            return f"'{command}' has no command '{word}'.{did_you_mean(word, names)}"
        case UnknownOptionError():
            word = (error.token.keyword or error.token.value).partition("=")[0]
            names = [name for one in error.argument_collection for name in one.names]
            names = [name for name in names if name.startswith("--")]
            return f"'{word}' is no option of '{command}'.{did_you_mean(word, names)}"
        case MissingArgumentError():
            name = error.keyword or (error.argument.name if error.argument else "an argument")
            if name.startswith("-"):
                return f"'{name}' of '{command}' needs a value."
            return f"'{command}' needs {name.upper()}."
        case RepeatArgumentError():
            return f"'{error.token.keyword}' can be given only once."
        case UnusedCliTokensError():
            word = (error.unused_tokens or ["?"])[0]
            return f"'{word}' is one argument too many for '{command}'."
        case _:
            return str(error)


def _command(chain: Sequence[str] | None) -> str:
    return " ".join(("lmscope", *(chain or ())))


def _see_help(chain: Sequence[str] | None) -> str:
    return f"See '{_command(chain)} --help'."


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; recognised by name, so that torch is not imported to ask."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _system(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full: free space, then go on with --resume; what was whole on disk is unharmed."
    reason = error.strerror or _one_line(str(error))
    return f"'{error.filename}': {reason}." if error.filename else f"The system refused: {reason}."


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    line = line if len(line) <= 300 else line[:297] + "..."
    return line if line.endswith((".", "!", "?")) else f"{line}."
