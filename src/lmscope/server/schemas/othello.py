"""Players of Othello: games move by move, what the model makes of them, and what features of it say."""

from typing import Annotated, Literal

from pydantic import Field

from lmscope.server.schemas.common import Answer, Problem
from lmscope.server.schemas.home import DictionaryLine, RunStatus

MAX_GAME = 1_000
"""Characters of a game: the longest one, 60 moves, has 180."""
Colour = Literal["black", "white"]
GameText = Annotated[str, Field(max_length=MAX_GAME)]


class PlayerLine(Answer):
    """A player of Othello in a line."""

    run: str
    """The run that trained it; where that is not served, a run that trained dictionaries of it."""
    name: str
    size: int
    """Squares along a side of the board."""
    status: RunStatus
    legal_top1: float | None = None
    """Share of moves of games it never saw after which its likeliest next move is legal."""
    n_dictionaries: int


class Players(Answer):
    """All players of Othello."""

    players: list[PlayerLine]
    """Newest first."""


class PlayerPage(Answer):
    """A player, and what can be asked of it."""

    player: PlayerLine
    dictionaries: list[DictionaryLine]
    """Of its activations, those whose weights are here."""
    labelled: list[str]
    """Ids of those whose latents were held against the rules (`lmscope othello label`)."""
    sources: list[str]
    """Runs whose dictionaries a trace can be made of."""
    read_only: bool
    problems: list[Problem]


class GameRequest(Answer):
    """A game, or the beginning of one."""

    game: GameText
    """Squares apart from each other by white space: `f5 d6 c3`. Passes are not written."""


class Place(Answer):
    """A moment of a game; squares are numbered from a1 along the row."""

    move: int | None
    """The square that was just taken; null before the first move."""
    by: Colour | None
    """Who took it."""
    black: list[int]
    white: list[int]
    flipped: list[int]
    """Squares whose discs the move turned."""
    legal: list[int]
    """Squares that may be taken next."""
    next: Colour | None
    """Who may; null where the game is over."""
    passed: bool
    """Whether the other player had to pass, so that the same one moves again."""


class Game(Answer):
    """A game, moment by moment."""

    game: str
    """As it was read."""
    size: int
    places: list[Place]
    """The start, and then one after each move."""


class ReadRequest(Answer):
    """A game for the model to read."""

    game: GameText
    dictionary: Annotated[str, Field(max_length=300)] | None = None
    """Id of a dictionary whose latents are wanted."""


class Said(Answer):
    """What a latent says of the game, judged on games that chose neither it nor its threshold."""

    label: str
    """`mine d3`, `legal d3`, `move d3 turning up right`, `black to move`, `position 12`, ..."""
    threshold: float
    """It says so where its activation is above."""
    f1: float | None
    """None for what a latent says precisely, though rarely."""
    precision: float
    recall: float | None


class PlayerLatent(Answer):
    """A latent that is on somewhere in the game."""

    latent: int
    says: list[Said]
    """Best first."""
    label: str
    """Of its atlas; empty without one."""
    label_known: bool


class LatentOn(Answer):
    """A latent at one move."""

    latent: int
    value: float


class MoveRead(Answer):
    """What the model makes of the game up to a move."""

    probabilities: list[float]
    """Of each square to be taken next, from a1 along the row; 0 for the four of the start."""
    legal_mass: float | None
    """Of all legal moves together; null after the last move of a game."""
    counts: bool
    """Whether dictionaries count the move: not the first of a game, no outlier."""
    latents: list[LatentOn]
    """Strongest first; 200 at most."""
    n_on: int
    """Latents that are on, in all."""


class GameRead(Answer):
    """What the model makes of a game."""

    moves: list[MoveRead]
    """One after each move; before the first one the model has read nothing."""
    latents: list[PlayerLatent]
    """All that are on in some move."""
    problems: list[Problem]
    elapsed_s: float


class SquareRequest(Answer):
    """A square whose logit is traced."""

    game: GameText
    at: Annotated[int, Field(ge=1, le=60)]
    """After so many moves."""
    square: Annotated[int, Field(ge=0, le=63)]
    """Numbered from a1 along the row."""
    dictionaries: Annotated[str, Field(max_length=300)] | None = None
    """One of the player's `sources`; null: none, so that attention and layers alone are traced."""
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the target that a feature needs; null: 0.01."""
