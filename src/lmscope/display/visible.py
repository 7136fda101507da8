"""Text made safe to show: what cannot be seen, or could act on the page or terminal, is spelt out."""

import unicodedata
from typing import Final

_SIGNS: Final = {"\n": "↵", "\r": "␍", "\t": "⇥"}


def visible(text: str) -> str:
    """The text with newlines, tabs, control and invisible characters as visible signs.

    Terminal escapes and marks that reverse the writing direction lose their effect this way. Spaces
    stay, except where there is nothing else: then each is a middle dot.
    """
    if text and not text.strip(" "):
        return "·" * len(text)
    return "".join(_sign(character) for character in text)


def _sign(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"⟨{ord(character):04X}⟩"
    return character
