"""GameSource: random games as documents, so that whatever learns from text learns from games."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lmscope.core.errors import DataError
from lmscope.core.rng import numpy_generator
from lmscope.text.document import Document, DocumentSource, text_key
from lmscope.text.sources import digest
from lmscope.text.worlds.game_text import game_text
from lmscope.text.worlds.othello import Othello

PREFIX: Final = "othello:"
DEFAULT_GAMES: Final = 20_000
_ADDRESS: Final = re.compile(r"othello:(?P<size>\d+)(?:@(?P<n>[\d_]+))?")
_BLOCK: Final = 4096
_FORMAT: Final = 1
"""Raised when the same address would give other games than before."""


def fewer_games(address: str, n_games: int) -> str:
    """The same games, at most so many; an address of other text stays as it is."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return address
    n = min(int(match["n"] or DEFAULT_GAMES), n_games)
    return f"{PREFIX}{match['size']}@{n}"


@dataclass(frozen=True)
class GameSource(DocumentSource):
    """Random full games, each a document of its moves: `f5 d6 c3 ...`.

    The first n games of an address are those of any other with the same board. They are no games of a
    `worlds.games.GameStream`, which draws from random streams of its own.

    Attributes:
        world: What is played.
        n_games: So many.
    """

    world: Othello
    n_games: int = DEFAULT_GAMES

    @classmethod
    def parse(cls, address: str) -> "GameSource":
        """The source that `othello:6@20000` means; without a number it has 20,000 games.

        Raises:
            DataError: It is no such address.
        """
        match = _ADDRESS.fullmatch(address)
        n_games = int(match["n"] or DEFAULT_GAMES) if match else 0
        if match is None or n_games < 1:
            raise DataError(
                f"'{address}' names no games: write the size of the board and how many, e.g. othello:6@20000."
            )
        return cls(Othello(int(match["size"])), n_games)

    @property
    def name(self) -> str:
        """The address."""
        return f"{PREFIX}{self.world.size}@{self.n_games}"

    @property
    def fingerprint(self) -> str:
        """Hash of what the games are drawn from."""
        return digest("othello", _FORMAT, self.world.size, self.n_games)

    def documents(self) -> Iterator[Document]:
        """The games, one after another."""
        for first in range(0, self.n_games, _BLOCK):
            rng = numpy_generator(0, "othello", self.world.size, "documents", first // _BLOCK)
            games = self.world.random_games(_BLOCK, rng)
            for i, moves in enumerate(games.moves[: self.n_games - first], start=first):
                text = game_text(moves, self.world)
                yield Document(
                    id=f"{PREFIX}{self.world.size}:{i}",
                    text=text,
                    title=f"game {i}",
                    source=f"{PREFIX}{self.world.size}",
                    licence="public domain",
                    group=text_key(text),
                )
