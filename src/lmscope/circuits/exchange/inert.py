"""Texts made harmless for pages that put them into their markup as they are."""

from lmscope.display.visible import visible

_OPEN, _CLOSE = "\u2039", "\u203a"
"""Signs that look like the brackets of a tag and open none."""


def inert(text: str) -> str:
    """The text with no tag in it, and nothing invisible.

    circuit-tracer's page shows labels and tokens through `html(...)`, so a label could run code there.
    """
    return visible(text).replace("<", _OPEN).replace(">", _CLOSE)


def storable(text: str) -> str:
    """The text without the two things that databases refuse: NUL and halves of surrogate pairs."""
    return "".join(
        "\ufffd" if char == "\0" or "\ud800" <= char <= "\udfff" else char for char in text
    )
