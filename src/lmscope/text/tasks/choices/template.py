"""Templates: the text around an example, with named places to fill (sun2022bbt, appendix)."""

from collections.abc import Sequence
from string import Formatter
from typing import Final, NamedTuple

PROMPT: Final = "prompt"
"""Where the tokens of the soft prompt stand."""
MASK: Final = "mask"
"""Where an encoder predicts the answer."""
OPTIONS: Final = "options"
"""Where the options of a question are listed."""
SPECIAL: Final = (PROMPT, MASK, OPTIONS)
"""Places that are no field of an example."""


class Piece(NamedTuple):
    """One piece of a template.

    Attributes:
        text: Text as it stands; empty for a place.
        place: Name of a place; empty for text.
    """

    text: str
    place: str


def pieces_of(template: str) -> tuple[Piece, ...]:
    """The texts and places of a template, in order; `{{` and `}}` are braces.

    Raises:
        ValueError: A brace has no partner, or a place no plain name.
    """
    found = []
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        raise ValueError(
            f"the template '{template}' has a brace without a partner: write {{{{ and }}}} for braces"
        ) from None
    for text, place, pattern, conversion in parts:
        if text:
            found.append(Piece(text, ""))
        if place is None:
            continue
        if not place.isidentifier() or pattern or conversion:
            raise ValueError(
                f"the template '{template}' has a place that is no plain name: write e.g. {{text}}"
            )
        found.append(Piece("", place))
    return tuple(found)


def places_of(pieces: Sequence[Piece]) -> tuple[str, ...]:
    """Names of the places, in order."""
    return tuple(piece.place for piece in pieces if piece.place)


def split_at(pieces: Sequence[Piece], place: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The pieces ahead of a place and behind it; all of them and none where it does not stand."""
    where = next((i for i, piece in enumerate(pieces) if piece.place == place), len(pieces))
    return tuple(pieces[:where]), tuple(pieces[where + 1 :])
