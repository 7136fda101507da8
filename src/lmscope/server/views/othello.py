"""Players of Othello: games by the rules, what the model makes of them, and squares whose logits are traced."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from lmscope.core.errors import DataError, LmscopeError, did_you_mean
from lmscope.server.context import Context
from lmscope.server.failures import WrongInput
from lmscope.server.library.entries import DictionaryEntry
from lmscope.server.library.library import Library
from lmscope.server.library.players import Player, player_of, players
from lmscope.server.schemas.common import Problem
from lmscope.server.schemas.graph_live import TraceAnswer
from lmscope.server.schemas.othello import (
    Game,
    GameRead,
    LatentOn,
    MoveRead,
    Place,
    PlayerLatent,
    PlayerLine,
    PlayerPage,
    Players,
    ReadRequest,
    Said,
    SquareRequest,
)
from lmscope.server.views.features import is_known
from lmscope.server.views.graph_live import folder_of_traces, traced
from lmscope.server.views.latents import summaries
from lmscope.server.views.lines import dictionary_line
from lmscope.server.views.live import wanted
from lmscope.text.worlds.game_text import game_text, parse_game
from lmscope.text.worlds.othello import Othello

FIGURES_FILE: Final = "held_out.json"
_NO_DICTIONARIES: Final = "none"


def all_players(library: Library) -> Players:
    """All players that are served, unfinished ones among them."""
    return Players(players=[_line(one) for one in players(library)])


def player_page(context: Context, run: str) -> PlayerPage:
    """A player, and what can be asked of it.

    Raises:
        NotFound: There is no such run.
        WrongInput: It is of no player, or the training is not finished.
    """
    player = player_of(context.library, run)
    files, troubles = context.othello_labels.found(context.library, player)
    where = context.library.where
    return PlayerPage(
        player=_line(player),
        dictionaries=[dictionary_line(one) for one in player.dictionaries],
        labelled=[one.id for one in player.dictionaries if any(file.of(one) for file in files)],
        sources=list(player.sources),
        read_only=context.settings.read_only,
        problems=[Problem(where=where(one.path), message=one.message) for one in troubles],
    )


def game(context: Context, run: str, text: str) -> Game:
    """What is on the board after each move of a game.

    Raises:
        NotFound: There is no such run.
        WrongInput: It is of no player, or the training is not finished.
        DataError: It is no game by the rules of the player's board.
    """
    world = player_of(context.library, run).world
    return _game(world, text)


def random_game(context: Context, run: str, seed: int) -> Game:
    """A game of moves that are drawn evenly from the legal ones; equal seeds give equal games.

    Raises:
        NotFound: There is no such run.
        WrongInput: It is of no player, or the training is not finished.
    """
    world = player_of(context.library, run).world
    drawn = world.random_games(1, np.random.default_rng(seed))
    return _game(world, game_text(drawn.moves[0], world))


async def read(context: Context, run: str, request: ReadRequest) -> GameRead:
    """What the model makes of a game, and which latents of a dictionary are on at each move.

    Raises:
        NotFound: There is no such run or dictionary.
        WrongInput: It is of no player, the dictionary is of another model, or there is no model to ask.
        DataError: It is no game by the rules.
        LmscopeError: The process with the model says why not.
    """
    player = player_of(context.library, run)
    played = _game(player.world, request.game)
    if not played.game:
        return GameRead(moves=[], latents=[], problems=[], elapsed_s=0.0)
    entry = None if request.dictionary is None else _dictionary(context, player, request.dictionary)
    asked = entry
    if asked is None and player.folder is None:
        asked = (
            player.dictionaries[0] if player.dictionaries else None
        )  # it knows where its model is
    answer = await context.live.ask(
        "game",
        {
            "game": played.game,
            "size": player.size,
            "model": None if player.folder is None else str(player.folder),
            "dictionary": None if asked is None else wanted(context, asked),
        },
    )
    return await asyncio.to_thread(_read, context, player, played, entry, answer)


async def trace(context: Context, run: str, request: SquareRequest) -> TraceAnswer:
    """Trace the logit of a square after some moves of a game, as a run of its own.

    Raises:
        NotFound: There is no such run.
        ReadOnly: This server changes nothing.
        WrongInput: It is of no player, the run has no dictionaries of it, or there is no folder for runs.
        DataError: It is no game by the rules, or has not so many moves, or the square is never taken.
        LmscopeError: The process with the model says why not.
    """
    player = player_of(context.library, run)
    world = player.world
    moves = parse_game(request.game, world)
    if request.at > len(moves):
        raise DataError(
            f"The game has {len(moves)} moves, so there is no position after {request.at}. Give a longer game, or a place "
            "in it."
        )
    token = int(world.token_of[request.square]) if request.square < world.n_squares else 0
    if not token:
        raise DataError(_no_token(world, request.square))
    if request.dictionaries is not None and request.dictionaries not in player.sources:
        raise WrongInput(
            f"The run '{request.dictionaries[:200]}' has no dictionaries of '{player.name}'."
            f"{did_you_mean(request.dictionaries[:200], player.sources)}"
        )
    source = _NO_DICTIONARIES
    if request.dictionaries is not None:
        source = str(context.library.run(request.dictionaries).path)
    payload = {
        "root": folder_of_traces(context),
        "like": None,
        "dictionaries": source,
        "only": [],
        "prompt": game_text(moves[: request.at], world),
        "target": f"token:{token}",
        "threshold": request.threshold,
    }
    if player.folder is not None:
        payload["model"] = str(player.folder)
    return await traced(context, payload)


def _line(player: Player) -> PlayerLine:
    return PlayerLine(
        run=player.run.id,
        name=player.name,
        size=player.size,
        status=player.run.status,
        legal_top1=_legal_top1(player),
        n_dictionaries=len(player.dictionaries),
    )


def _legal_top1(player: Player) -> float | None:
    """As its own training measured it."""
    if player.folder is None:
        return None
    try:
        figures = json.loads((player.folder / FIGURES_FILE).read_text(encoding="utf-8"))
        return float(figures["legal_top1"]["value"])
    except (OSError, ValueError, KeyError, TypeError):  # not measured yet
        return None


def _game(world: Othello, text: str) -> Game:
    moves = parse_game(text, world)
    black, white = world.start(1)
    start = Place(
        move=None,
        by=None,
        black=_squares(world, black[0]),
        white=_squares(world, white[0]),
        flipped=[],
        legal=_squares(world, world.legal(black, white)[0]),
        next="black",
        passed=False,
    )
    places = [start]
    states = world.replay(moves[None]) if len(moves) else None
    for t, move in enumerate(moves.tolist()):
        assert states is not None
        mine, yours = _squares(world, states.mine[0, t]), _squares(world, states.yours[0, t])
        is_black, legal = bool(states.black[0, t]), _squares(world, states.legal[0, t])
        by, after = places[-1].next, "black" if is_black else "white"
        places.append(
            Place(
                move=move,
                by=by,
                black=mine if is_black else yours,
                white=yours if is_black else mine,
                flipped=_squares(world, states.flipped[0, t]),
                legal=legal,
                next=after if legal else None,
                passed=bool(legal) and after == by,
            )
        )
    return Game(game=game_text(moves, world), size=world.size, places=places)


def _squares(world: Othello, board: np.uint64) -> list[int]:
    bits = world.bits(np.array([board], dtype=np.uint64))[0]
    return np.flatnonzero(bits).tolist()


def _dictionary(context: Context, player: Player, id_: str) -> DictionaryEntry:
    entry = context.library.dictionary(id_)
    if all(one.id != entry.id for one in player.dictionaries):
        raise WrongInput(
            f"The dictionary '{entry.name}' is not of '{player.name}', or its weights are not here. Choose one that was "
            "trained on this player."
        )
    return entry


def _read(
    context: Context,
    player: Player,
    played: Game,
    entry: DictionaryEntry | None,
    answer: Mapping[str, Any],
) -> GameRead:
    world = player.world
    moves = []
    for place, found in zip(played.places[1:], answer["moves"], strict=True):
        row = np.zeros(world.n_squares)
        row[world.squares] = found["probabilities"][1:]
        latents = found["latents"] if entry is not None else []
        moves.append(
            MoveRead(
                probabilities=[float(f"{value:.4g}") for value in row.tolist()],
                legal_mass=float(row[place.legal].sum()) if place.legal else None,
                counts=found["counts"],
                latents=[LatentOn(latent=latent, value=value) for latent, value in latents],
                n_on=found["n_on"] if entry is not None else 0,
            )
        )
    seen = sorted({one.latent for move in moves for one in move.latents})
    known, problems = [], []
    if entry is not None:
        known, problems = _known(context, player, entry, seen)
    return GameRead(moves=moves, latents=known, problems=problems, elapsed_s=answer["elapsed_s"])


def _known(
    context: Context, player: Player, entry: DictionaryEntry, latents: Sequence[int]
) -> tuple[list[PlayerLatent], list[Problem]]:
    """What is known of latents: by the rules from label files, the newest first, and by their atlas."""
    files, troubles = context.othello_labels.found(context.library, player)
    says: Mapping[int, tuple[Said, ...]] = next(
        (one for file in files if (one := file.of(entry))), {}
    )
    where = context.library.where
    problems = [Problem(where=where(one.path), message=one.message) for one in troubles]
    rows = {}
    if entry.atlases:
        try:
            rows = summaries(context.library, entry.id, latents)
        except LmscopeError as error:  # the answer stands without it
            problems.append(Problem(where=entry.name, message=str(error)))
    found = []
    for latent in latents:
        label = rows[latent].label if latent in rows else ""
        found.append(
            PlayerLatent(
                latent=latent,
                says=list(says.get(latent, ())),
                label=label,
                label_known=is_known(label),
            )
        )
    return found, problems


def _no_token(world: Othello, square: int) -> str:
    size = world.size
    if square >= world.n_squares:
        return f"There is no square {square} on a board of {size} by {size}. They go from 0 to {world.n_squares - 1}."
    return f"{world.square_name(square)} is taken from the start and is no move, so it has no logit. Choose another square."
