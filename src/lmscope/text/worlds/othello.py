"""Othello: random games by the rules, and what was on the board after every move."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Int, Int16, Int64, UInt8, UInt64

from lmscope.core.errors import DataError
from lmscope.text.worlds.board import Board

_CHUNK: Final = 8192
"""Games that are played side by side: few enough for their boards to stay in the cache."""
_SPARE: Final = 16
"""One game in so many is drawn in addition, for those that end before the board is full."""
_U: Final = np.uint64
_HALVES: Final = tuple((width, _U((1 << width) - 1)) for width in (32, 16, 8, 4, 2, 1))


@dataclass(frozen=True)
class Games:
    """Games from their start.

    Attributes:
        world: What is played.
        moves: The square that was taken at each move, -1 behind the end.
        legal: The squares that each was chosen from, as bits; none behind the end.
        passes: How often a player could not move and the other went on, silently.
    """

    world: "Othello"
    moves: Int16[np.ndarray, "game move"]
    legal: UInt64[np.ndarray, "game move"]
    passes: Int64[np.ndarray, "game"]

    def __len__(self) -> int:
        return len(self.moves)

    @property
    def length(self) -> Int64[np.ndarray, "game"]:
        """Moves of each game."""
        return (self.moves >= 0).sum(1)

    def tokens(self) -> Int64[np.ndarray, "game move"]:
        """Each move as a token, 0 (padding) behind the end."""
        return np.where(self.moves >= 0, self.world.token_of[self.moves], 0)

    def take(self, index: slice | Int64[np.ndarray, "some"]) -> "Games":
        """Some of the games."""
        return Games(self.world, self.moves[index], self.legal[index], self.passes[index])

    @staticmethod
    def together(parts: list["Games"]) -> "Games":
        """Games of one world one after another."""
        if len(parts) == 1:
            return parts[0]
        return Games(
            parts[0].world,
            np.concatenate([part.moves for part in parts]),
            np.concatenate([part.legal for part in parts]),
            np.concatenate([part.passes for part in parts]),
        )


@dataclass(frozen=True)
class States:
    """What is known after each move, as the player sees it who moves next.

    That is the other player, or after a forced pass the same one again; where nobody can move any more it is the
    other one. Behind the end of a game everything is empty.

    Attributes:
        world: What is played.
        mine: Discs of the player who moves next, as bits.
        yours: Discs of the other.
        legal: Squares that may be taken next; none after the last move.
        flipped: Discs that the move turned.
        black: Whether black moves next.
        length: Moves of each game.
    """

    world: "Othello"
    mine: UInt64[np.ndarray, "game move"]
    yours: UInt64[np.ndarray, "game move"]
    legal: UInt64[np.ndarray, "game move"]
    flipped: UInt64[np.ndarray, "game move"]
    black: Bool[np.ndarray, "game move"]
    length: Int64[np.ndarray, "game"]


class Othello(Board):
    """Othello on a board of 6 by 6 or 8 by 8 squares (li2023othello; he2024othello).

    Black begins. A player takes an empty square from which a line of the other's discs leads to one of their own, and
    turns these lines. Who cannot move passes, and nothing is written for it; the game ends where neither can.
    """

    def random_games(self, n: int, rng: np.random.Generator, *, full: bool = True) -> Games:
        """Games of moves drawn uniformly from the legal ones.

        Args:
            n: So many.
            rng: What they are drawn from; equal generators give equal games.
            full: Only games that fill the board, as the paper takes them; others are drawn anew. Else all of them.
        """
        parts, missing = [self._draw(0, rng)], n
        while missing:
            drawn = self._draw(min(_CHUNK, missing + (missing // _SPARE + 8) * full), rng)
            if full:
                drawn = drawn.take(np.flatnonzero(drawn.length == self.n_moves))
            parts.append(drawn.take(slice(0, missing)))
            missing -= len(parts[-1])
        return Games.together(parts)

    def replay(self, moves: Int[np.ndarray, "game move"]) -> States:
        """What was on the board after each move of games.

        Args:
            moves: Squares, -1 behind the end; games may end early.

        Raises:
            DataError: A move is against the rules; the sentence names the game, the move and what was legal.
        """
        n, n_moves = moves.shape
        going = moves >= 0
        self._check_ends(moves, going)
        boards = np.zeros((4, n_moves, n), dtype=_U)
        black = np.zeros((n_moves, n), dtype=np.bool_)
        own, opp = self.start(n)
        is_black = np.ones(n, dtype=np.bool_)
        legal = self.legal(own, opp)
        for t in range(n_moves):
            on = going[:, t]
            move = np.where(on, _U(1) << moves[:, t].clip(0).astype(_U), _U(0))
            self._check_legal(moves, t, legal, move, is_black)
            turned = self.flips(move, own, opp)
            own, opp = np.where(on, opp & ~turned, own), np.where(on, own | move | turned, opp)
            is_black ^= on
            legal = self.legal(own, opp)
            passing = self._pass(own, opp, legal)
            is_black[passing] ^= True
            for kept, now in zip(boards, (own, opp, legal, turned), strict=True):
                kept[t] = np.where(on, now, _U(0))
            black[t] = is_black & on
        mine, yours, following, flipped = (np.ascontiguousarray(kept.T) for kept in boards)
        return States(
            self, mine, yours, following, flipped, np.ascontiguousarray(black.T), going.sum(1)
        )

    def _draw(self, n: int, rng: np.random.Generator) -> Games:
        own, opp = self.start(n)
        moves = np.full((self.n_moves, n), -1, dtype=np.int16)
        choices = np.zeros((self.n_moves, n), dtype=_U)
        passes = np.zeros(n, dtype=np.int64)
        for t in range(self.n_moves):
            legal = self.legal(own, opp)
            passes[self._pass(own, opp, legal)] += 1
            count = np.bitwise_count(legal)
            square = _nth_bit(legal, (rng.random(n) * count).astype(np.uint8))
            on = count > 0
            move = np.where(on, _U(1) << square, _U(0))
            moves[t] = np.where(on, square.astype(np.int16), np.int16(-1))
            choices[t] = legal
            turned = self.flips(move, own, opp)
            own, opp = np.where(on, opp & ~turned, own), np.where(on, own | move | turned, opp)
        return Games(self, np.ascontiguousarray(moves.T), np.ascontiguousarray(choices.T), passes)

    def _pass(
        self,
        own: UInt64[np.ndarray, "game"],
        opp: UInt64[np.ndarray, "game"],
        legal: UInt64[np.ndarray, "game"],
    ) -> Int64[np.ndarray, "some"]:
        """Where a player cannot move and the other can, change sides in place; the games where it is so."""
        stuck = np.flatnonzero(legal == 0)
        other = self.legal(opp[stuck], own[stuck])
        passing = stuck[other != 0]
        own[passing], opp[passing] = opp[passing], own[passing]
        legal[passing] = other[other != 0]
        return passing

    def _check_ends(
        self, moves: Int[np.ndarray, "game move"], going: Bool[np.ndarray, "game move"]
    ) -> None:
        if moves.shape[1] > self.n_moves:
            raise DataError(
                f"A game on a board of {self.size} by {self.size} has at most {self.n_moves} moves, not "
                f"{moves.shape[1]}: give a shorter one, or a larger board."
            )
        bad = np.argwhere((moves < -1) | (moves >= self.n_squares))
        if len(bad):
            game, t = bad[0].tolist()
            raise DataError(
                f"{_where(moves, game, t)}: {moves[game, t]} is no square of a board of {self.size} by {self.size}; "
                f"they go from 0 to {self.n_squares - 1}, and -1 stands behind the end of a game."
            )
        bad = np.argwhere(going[:, 1:] & ~going[:, :-1])
        if len(bad):
            game, t = bad[0].tolist()
            raise DataError(
                f"{_where(moves, game, t + 1)} comes behind the end of the game: -1 may stand only behind the last move."
            )

    def _check_legal(
        self,
        moves: Int[np.ndarray, "game move"],
        t: int,
        legal: UInt64[np.ndarray, "game"],
        move: UInt64[np.ndarray, "game"],
        is_black: Bool[np.ndarray, "game"],
    ) -> None:
        bad = np.flatnonzero(move & ~legal)
        if not len(bad):
            return
        game = int(bad[0])
        name = self.square_name(moves[game, t])
        if not legal[game]:
            raise DataError(
                f"{_where(moves, game, t)}: {name} comes after the game is over, nobody could move after move {t}."
            )
        raise DataError(
            f"{_where(moves, game, t)}: {name} is not legal for {'black' if is_black[game] else 'white'} there; "
            f"legal are {', '.join(self.names(legal[game]))}."
        )


def _where(moves: Int[np.ndarray, "game move"], game: int, t: int) -> str:
    return f"Move {t + 1}" if len(moves) == 1 else f"Game {game}, move {t + 1}"


def _nth_bit(
    boards: UInt64[np.ndarray, "game"], n: UInt8[np.ndarray, "game"]
) -> UInt64[np.ndarray, "game"]:
    """The place of each board's n-th set bit, from 0, by halving; no matter where there are fewer."""
    rest, left = boards.copy(), n.copy()
    place = np.zeros_like(boards)
    for width, low in _HALVES:
        count = np.bitwise_count(rest & low)
        beyond = left >= count
        left -= count * beyond
        skipped = beyond.astype(_U) * _U(width)
        rest >>= skipped
        place += skipped
    return place
