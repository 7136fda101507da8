"""Everything that a user can cause ends in one of these, with one clear sentence."""

from collections.abc import Iterable
from difflib import get_close_matches


class LmscopeError(Exception):
    """A failure that a user can cause and mend; its text says asked, found, and what to do."""


class RecipeError(LmscopeError):
    """A recipe or an option is wrong: an unknown key, a wrong type, values that contradict."""


class SiteError(LmscopeError):
    """A site is misspelt, absent from the model, or did not fire."""


class ModelError(LmscopeError):
    """A model cannot be found, loaded, or asked for what it does not have."""


class ArtifactError(LmscopeError):
    """A file on disk is missing, damaged, half-written or of an unknown format."""


class RunError(LmscopeError):
    """A run folder is in use, finished, or does not fit the recipe."""


class ProcessGone(RunError):  # noqa: N818 - what happened, in the words of those who read it
    """Another process of the run ended early; it says why itself."""


class DataError(LmscopeError):
    """Text that cannot be read, is empty, or is too short for what was asked."""


class BudgetError(LmscopeError):
    """A cap on queries, tokens, time or money is reached."""


def did_you_mean(word: str, choices: Iterable[str], n: int = 3) -> str:
    """A sentence that names near matches of `word`, or the choices when none is near.

    Args:
        word: What was asked for.
        choices: What exists.
        n: At most so many near matches.

    Returns:
        `" Did you mean a, b?"`, `" Known: a, b, c."`, or an empty string when nothing exists.
    """
    known = sorted(set(choices))
    folded = {choice.casefold(): choice for choice in known}
    near = [folded[match] for match in get_close_matches(word.casefold(), folded, n=n, cutoff=0.6)]
    if near:
        return f" Did you mean {', '.join(near)}?"
    if not known:
        return ""
    shown = ", ".join(known[:20])
    return f" Known: {shown}{', ...' if len(known) > 20 else '.'}"
