"""A rule in words, short enough for a label."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lmscope.atlas.explain.rules import Condition, Rule
from lmscope.display.visible import visible

N_SHOWN: Final = 6
"""Values that a label lists; of more it says how many. The rule has them all."""
_CLASSES: Final[Mapping[str, str]] = {
    "digits": "digits",
    "punctuation": "punctuation",
    "newline": "line breaks",
    "space": "white space",
    "capitalised": "capitalised words",
    "upper": "words in capitals",
    "capital": "tokens that begin with a capital",
    "letter": "single letters",
    "piece": "pieces without a space before them",
    "bytes": "parts of characters",
    "accented": "accented letters",
}


def say(rule: Rule, show: Callable[[int], str]) -> str:
    """A rule in words.

    Args:
        rule: What is to be said.
        show: What a token id shows as.
    """
    return "; or ".join(_clause(clause, show) for clause in rule.any_of)


def _clause(clause: Sequence[Condition], show: Callable[[int], str]) -> str:
    if all(condition.anywhere for condition in clause):
        return "text with " + " and ".join(_what(condition, show) for condition in clause)
    here = [_what(condition, show) for condition in clause if _is_here(condition)]
    others = [_place(condition, show) for condition in clause if not _is_here(condition)]
    return " ".join([" that are ".join(here) or "any token", *others])


def _is_here(condition: Condition) -> bool:
    is_at_token = condition.low == condition.high == 0 and not condition.anywhere
    return is_at_token and condition.kind != "position"


def _place(condition: Condition, show: Callable[[int], str]) -> str:
    """A condition on something else than the token itself."""
    if condition.kind == "position":
        first, stop = condition.values
        return (
            f"among the first {stop} tokens of a context"
            if first == 0
            else f"from place {first} of a context to {stop}"
        )
    what = _what(condition, show)
    match condition.anywhere, condition.low, condition.high:
        case True, _, _:
            return f"in text with {what}"
        case _, -1, -1:
            return f"right after {what}"
        case _, 1, 1:
            return f"right before {what}"
        case _, low, high if low == high:
            return f"{abs(low)} tokens {'after' if low < 0 else 'before'} {what}"
        case _, _, high if high < 0:
            return f"shortly after {what}"
        case _:
            return f"near {what}"


def _what(condition: Condition, show: Callable[[int], str]) -> str:
    """The values of a condition."""
    values = condition.values
    match condition.kind:
        case "class":
            names = [str(value) for value in values]
            return " or ".join(_CLASSES.get(name, f"{name.capitalize()} script") for name in names)
        case "token":
            return _listed([_quoted(show(int(value))) for value in values])
        case "prefix":
            return "words that begin with " + _listed([_quoted(f"{value}-") for value in values])
        case "suffix":
            return "words that end in " + _listed([_quoted(f"-{value}") for value in values])
        case _:
            words = _listed([_quoted(str(value)) for value in values])
            several = (
                f"two of the words {words}" if condition.at_least == 2 else f"the words {words}"
            )
            return several if len(values) > 1 else f"the word {words}"


def _listed(names: list[str]) -> str:
    if len(names) > N_SHOWN:
        return ", ".join(names[: N_SHOWN - 1]) + f" and {len(names) - N_SHOWN + 1} more"
    return ", ".join(names)


def _quoted(text: str) -> str:
    return f'"{visible(text)}"'
