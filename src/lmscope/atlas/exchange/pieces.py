"""Pieces: tokens put together until they are whole characters.

A byte-level tokenizer may split a character over several tokens. Shown one by one they would be signs
of replacement; a piece holds all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Spell = Callable[[int], str]
"""How a byte is shown that belongs to no whole character."""


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens that stand for whole characters together.

    Attributes:
        text: What they stand for.
        n_tokens: How many they are, nearly always one.
    """

    text: str
    n_tokens: int


def pieces(tokens: Sequence[bytes], spell: Spell) -> tuple[Piece, ...]:
    """As few tokens together as whole characters need.

    Args:
        tokens: The bytes of each token.
        spell: For bytes that no neighbour completes.

    Returns:
        Pieces in order; their `n_tokens` sum to the number of tokens.
    """
    found: list[Piece] = []
    waiting: list[bytes] = []
    for token in tokens:
        if not waiting and token.isascii():
            found.append(Piece(token.decode(), 1))
            continue
        waiting.append(token)
        text, unfinished = _decode(b"".join(waiting))
        if text is None and not unfinished and len(waiting) > 1:
            # What waited is not completed by this token, which may be whole on its own.
            found += [Piece(spelt(one, spell), 1) for one in waiting[:-1]]
            waiting = [token]
            text, unfinished = _decode(token)
        if text is not None:
            found.append(Piece(text, len(waiting)))
            waiting = []
        elif not unfinished:
            found.append(Piece(spelt(token, spell), 1))
            waiting = []
    return (*found, *(Piece(spelt(one, spell), 1) for one in waiting))


def spelt(token: bytes, spell: Spell) -> str:
    """The text of one token alone, each byte of a broken character spelt out."""
    text = ""
    while True:
        try:
            return text + token.decode()
        except UnicodeDecodeError as error:
            text += token[: error.start].decode()
            text += "".join(spell(byte) for byte in token[error.start : error.end])
            token = token[error.end :]


def _decode(data: bytes) -> tuple[str | None, bool]:
    """The text, or None and whether only the end of a character is missing."""
    try:
        return data.decode(), False
    except UnicodeDecodeError as error:
        return None, error.reason == "unexpected end of data"
