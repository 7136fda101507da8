"""What each token of a text shows as, so that the pieces joined are the text."""

from collections.abc import Sequence
from typing import Final

from lmscope.core.protocols import Tokenizer

_INCOMPLETE: Final = "\ufffd"
"""What a decoder gives for bytes that are no whole character yet."""
_BEFORE: Final = 8
"""Tokens decoded together with each one: spaces and bytes depend on what stands just before."""


def token_pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each token in its place.

    A character that several tokens share stands at the last of them, and the others are empty.

    Args:
        tokenizer: Whose tokens.
        ids: Vocabulary ids of one text, in order.
    """
    pieces: list[str] = []
    begun = 0  # the first token of a character that is not whole yet
    for i, token in enumerate(ids):
        start = max(begun - _BEFORE, 0)
        before = tokenizer.decode(list(ids[start:begun])) if begun > start else ""
        both = tokenizer.decode(list(ids[start : i + 1]))
        if both.endswith(_INCOMPLETE) and i + 1 < len(ids) and i - begun < 3:
            pieces.append("")
            continue
        joined = both.startswith(before)
        pieces.append(both[len(before) :] if joined else tokenizer.decode([token]))
        begun = i + 1
    return tuple(pieces)
