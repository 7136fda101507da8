"""What tokens of a corpus are called in other tools, remembered by id."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from lmscope.atlas.exchange.pieces import Spell, pieces, spelt
from lmscope.atlas.record import Example
from lmscope.atlas.text import CorpusText


def as_byte_token(byte: int) -> str:
    """`<0xE2>`, as SentencePiece vocabularies write a byte; hosts of dashboards know it."""
    return f"<0x{byte:02X}>"


def as_replacement(_byte: int) -> str:
    """The sign of replacement, U+FFFD."""
    return "\ufffd"


class TokenTexts:
    """Texts of single tokens and of stretches.

    Args:
        corpus: Where the bytes come from.
        spell: For bytes that make no whole character.
    """

    def __init__(self, corpus: CorpusText, spell: Spell) -> None:
        self._corpus = corpus
        self._spell = spell
        self._known: dict[int, str] = {}

    def one(self, token: int) -> str:
        """One token by itself; bytes of a broken character are spelt out."""
        text = self._known.get(token)
        if text is None:
            text = spelt(self._corpus.token_bytes(token), self._spell)
            self._known[token] = text
        return text

    def many(self, tokens: Sequence[int] | Int32[np.ndarray, "pos"]) -> list[str]:
        """Each token by itself."""
        return [self.one(int(token)) for token in tokens]

    def joined(self, tokens: Sequence[int] | Int32[np.ndarray, "pos"]) -> str:
        """The text of tokens together, characters that are split over several of them whole."""
        data = [self._corpus.token_bytes(int(token)) for token in tokens]
        return "".join(piece.text for piece in pieces(data, self._spell))

    def of(self, example: Example) -> list[str]:
        """The tokens of an example, each by itself."""
        return self.many(self._corpus.tokens(example.start, example.length))
