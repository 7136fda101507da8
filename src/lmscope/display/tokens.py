"""TokenStrip: tokens shaded by a value each, for notebooks, pages and the terminal."""

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from lmscope.core.errors import DataError
from lmscope.display.visible import visible

if TYPE_CHECKING:
    from rich.text import Text

_WHITE: Final = (255, 255, 255)
_POSITIVE: Final = (230, 120, 0)
_NEGATIVE: Final = (0, 114, 178)
"""Orange and blue tell apart with any common colour blindness."""


@dataclass(frozen=True)
class TokenStrip:
    """Tokens in order, each shaded by its value: orange above zero, blue below, none at zero.

    Newlines, tabs and invisible characters are shown as signs, and a newline also breaks the line.

    Attributes:
        tokens: Texts of the tokens; joined they are the text.
        values: One number for each token; NaN is not shaded.
        full: The size of value that gets the full colour; by default the largest one here.
    """

    tokens: tuple[str, ...]
    values: tuple[float | int, ...]
    full: float | int | None = None

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.values):
            raise DataError(
                f"A token strip has {len(self.tokens)} tokens and {len(self.values)} values: "
                "give one value for each token."
            )
        if self.full is not None and not self.full > 0:
            raise DataError(f"The full colour needs a value above 0, {self.full} was given.")

    def to_html(self) -> str:
        """The strip as one `div`; all text is escaped, and each token's value is its tooltip."""
        spans = "".join(self._spans())
        return (
            f'<div style="font-family:monospace;white-space:pre-wrap;line-height:1.7">{spans}</div>'
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_rich(self, *, break_lines: bool = True) -> "Text":
        """The strip as text with a coloured background, for a rich console.

        Args:
            break_lines: Whether a newline also breaks the line, beside its sign.
        """
        from rich.text import Text

        text = Text()
        for token, value in zip(self.tokens, self.values, strict=True):
            colour = self.colour(value)
            style = "" if colour is None else f"{_ink(colour)} on {_hex(colour)}"
            text.append(visible(token), style=style)
            if break_lines and "\n" in token:
                text.append("\n")
        return text

    def colour(self, value: float | int) -> tuple[int, int, int] | None:
        """Red, green and blue (0 to 255) behind a token of this value; None for no shade."""
        full = self._full()
        if not math.isfinite(value) or value == 0 or full == 0:
            return None
        strength = min(abs(value) / full, 1.0)
        if strength < 0.02:
            return None
        hue = _POSITIVE if value > 0 else _NEGATIVE
        red, green, blue = (
            round(white + (end - white) * strength) for white, end in zip(_WHITE, hue, strict=True)
        )
        return red, green, blue

    def _full(self) -> float | int:
        if self.full is not None:
            return self.full
        return max((abs(value) for value in self.values if math.isfinite(value)), default=0.0)

    def _spans(self) -> list[str]:
        spans = []
        for token, value in zip(self.tokens, self.values, strict=True):
            colour = self.colour(value)
            shade = "" if colour is None else f"background:{_hex(colour)};color:{_ink(colour)};"
            text = escape(visible(token))
            end = "<br>" if "\n" in token else ""
            spans.append(
                f'<span title="{value:.4g}" style="{shade}border-radius:2px">{text}</span>{end}'
            )
        return spans


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _ink(colour: tuple[int, int, int]) -> str:
    """Black or white, whichever reads better on the colour (ITU-R BT.709 luma)."""
    red, green, blue = colour
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 120 else "#ffffff"
