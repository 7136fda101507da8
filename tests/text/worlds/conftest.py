"""The rules of Othello once more: by loops over a board of letters, square by square."""

from dataclasses import dataclass, field

import pytest

DIRECTIONS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
OTHER = {"black": "white", "white": "black"}


@dataclass
class PlainGame:
    """One game; `colour` moves next, or nobody where it is None."""

    size: int
    discs: dict[tuple[int, int], str] = field(default_factory=dict)
    colour: str | None = "black"
    passes: int = 0
    flipped: list[int] = field(default_factory=list)

    def __post_init__(self):
        low = self.size // 2 - 1
        self.discs[low, low] = self.discs[low + 1, low + 1] = "white"
        self.discs[low, low + 1] = self.discs[low + 1, low] = "black"

    def turned(self, row, column, colour):
        """Discs that a disc of a colour would turn if it were put there."""
        if (row, column) in self.discs:
            return []
        found = []
        for down, right in DIRECTIONS:
            line = []
            r, c = row + down, column + right
            while 0 <= r < self.size and 0 <= c < self.size:
                disc = self.discs.get((r, c))
                if disc is None:
                    break
                if disc == colour:
                    found += line
                    break
                line.append((r, c))
                r, c = r + down, c + right
        return found

    def can_take(self, colour):
        """Squares as numbers, ascending."""
        return [
            row * self.size + column
            for row in range(self.size)
            for column in range(self.size)
            if self.turned(row, column, colour)
        ]

    @property
    def legal(self):
        """Squares that may be taken next."""
        return [] if self.colour is None else self.can_take(self.colour)

    def play(self, square):
        """Take a square; then the other moves, or whoever can."""
        row, column = divmod(square, self.size)
        turned = self.turned(row, column, self.colour)
        assert turned, "not legal"
        for place in [*turned, (row, column)]:
            self.discs[place] = self.colour
        self.flipped = sorted(r * self.size + c for r, c in turned)
        mover, other = self.colour, OTHER[self.colour]
        if self.can_take(other):
            self.colour = other
        elif self.can_take(mover):
            self.passes += 1
        else:
            self.colour = None

    def of(self, colour):
        """Squares with discs of a colour, ascending."""
        return sorted(r * self.size + c for (r, c), disc in self.discs.items() if disc == colour)


def mismatches(world, games, states):
    """Positions in which the world says anything else than the plain rules, and how many there are."""
    wrong, n = [], 0
    boards = [world.bits(b) for b in (states.mine, states.yours, states.legal, states.flipped)]
    drawn_from = world.bits(games.legal)
    for g in range(len(games)):
        plain = PlainGame(world.size)
        for t in range(int(states.length[g])):
            before = plain.legal
            mover = plain.colour
            plain.play(int(games.moves[g, t]))
            me = plain.colour or OTHER[mover]
            expected = [plain.of(me), plain.of(OTHER[me]), plain.legal, plain.flipped]
            found = [board[g, t].nonzero()[0].tolist() for board in boards]
            same = (
                found == expected
                and drawn_from[g, t].nonzero()[0].tolist() == before
                and states.black[g, t] == (me == "black")
            )
            n += 1
            if not same:
                wrong.append((g, t, found, expected))
        if plain.colour is not None or plain.passes != games.passes[g]:
            wrong.append((g, "end", plain.colour, plain.passes, int(games.passes[g])))
    return wrong, n


@pytest.fixture
def plain_game():
    """A game by the plain rules."""
    return PlainGame


@pytest.fixture
def find_mismatches():
    """Compares a world with the plain rules."""
    return mismatches
