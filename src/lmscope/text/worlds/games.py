"""GameStream: batches of games to train on, each drawn when it is asked for and never again."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lmscope.core.errors import DataError, RunError
from lmscope.core.rng import numpy_generator
from lmscope.text.worlds.othello import Games, Othello

Part = Literal["train", "held_out"]
_BLOCK: Final = 4096
"""Games that are drawn at once, each block from a random stream of its own."""


class GameBatch(NamedTuple):
    """Some games.

    Attributes:
        tokens: A token for each move, 0 behind the end.
        mask: True where there is a move.
        legal: Which tokens are legal after each move; none after the last one of a game and behind it.
    """

    tokens: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    legal: Bool[Tensor, "batch pos vocab"]


class GameStream(Iterator[GameBatch]):
    """Random games in an order that the seed fixes; a `training.objective.Stream`.

    Game number i is the same one whatever the size of the batches and wherever a run was resumed. Games are drawn
    from the whole tree of games, in which two drawn games are equal so seldom that a stream of millions repeats none
    (docs/results/othello_world.json has the probability); the two parts are other random streams.

    Args:
        world: What is played.
        batch_games: Of one batch; what does not fill one at the end is left out.
        n_games: In all.
        seed: The recipe's.
        part: Which of two streams: to train on, or to measure on.
        full: Only games that fill the board.

    Raises:
        DataError: There are fewer games than one batch holds.
    """

    def __init__(
        self,
        world: Othello,
        *,
        batch_games: int,
        n_games: int,
        seed: int = 0,
        part: Part = "train",
        full: bool = True,
    ) -> None:
        if not 0 < batch_games <= n_games:
            raise DataError(
                f"A batch of {batch_games} games cannot be had from {n_games}: take more games, or batches of 1 to "
                f"{n_games}."
            )
        self._world, self._seed, self._part, self._full = world, seed, part, full
        self._size, self._n_batches = batch_games, n_games // batch_games
        self._place = 0
        self._block_number = -1
        self._block: Games | None = None

    @property
    def total_batches(self) -> int:
        """Of the whole stream."""
        return self._n_batches

    def __iter__(self) -> "GameStream":
        return self

    def __next__(self) -> GameBatch:
        if self._place >= self._n_batches:
            raise StopIteration
        first = self._place * self._size
        self._place += 1
        return game_batch(self.games(first, first + self._size))

    def games(self, first: int, last: int) -> Games:
        """The games from one number up to another, whatever was given before."""
        parts: list[Games] = []
        while first < last:
            number, start = divmod(first, _BLOCK)
            stop = min(_BLOCK, start + last - first)
            parts.append(self._drawn(number).take(slice(start, stop)))
            first += stop - start
        return Games.together(parts)

    def state(self) -> dict[str, Any]:
        """How many batches were given, and of which stream."""
        return {"place": self._place, "fingerprint": self._fingerprint}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on behind them.

        Raises:
            RunError: They were of another stream.
        """
        if state["fingerprint"] != self._fingerprint:
            raise RunError(
                "The games are not those that the run was started with: give the same board, seed and size of batch."
            )
        self._place = int(state["place"])

    @property
    def _fingerprint(self) -> str:
        kind = "full" if self._full else "all"
        return f"othello:{self._world.size}:{self._seed}:{self._part}:{kind}:{self._size}"

    def _drawn(self, number: int) -> Games:
        if self._block is None or self._block_number != number:
            rng = numpy_generator(self._seed, "othello", self._world.size, self._part, number)
            self._block = self._world.random_games(_BLOCK, rng, full=self._full)
            self._block_number = number
        return self._block


def game_batch(games: Games) -> GameBatch:
    """Games as tensors."""
    tokens = games.tokens()
    following = np.zeros_like(games.legal)
    following[:, :-1] = games.legal[:, 1:]
    legal = np.zeros((*tokens.shape, games.world.n_tokens), dtype=np.bool_)
    legal[..., 1:] = games.world.bits(following)[..., games.world.squares]
    return GameBatch(
        torch.from_numpy(tokens), torch.from_numpy(tokens > 0), torch.from_numpy(legal)
    )
