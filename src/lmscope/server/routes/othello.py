"""Othello: players, games move by move, and squares whose logits are traced."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from lmscope.server.context import Context, context_of
from lmscope.server.responses import sealed
from lmscope.server.schemas.graph_live import TraceAnswer
from lmscope.server.schemas.othello import (
    Game,
    GameRead,
    GameRequest,
    PlayerPage,
    Players,
    ReadRequest,
    SquareRequest,
)
from lmscope.server.views import othello

router = APIRouter(prefix="/othello", tags=["othello"])
Served = Annotated[Context, Depends(context_of)]


@router.get("", response_model=Players)
def players(request: Request, context: Served) -> Response:
    """All players of Othello."""
    return sealed(request, othello.all_players(context.library))


@router.get("/{run}", response_model=PlayerPage)
def player(request: Request, context: Served, run: str) -> Response:
    """The player that a run trained or studied."""
    return sealed(request, othello.player_page(context, run))


@router.get("/{run}/random")
def random_game(
    context: Served, run: str, seed: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0
) -> Game:
    """A game of random legal moves; equal seeds give equal games."""
    return othello.random_game(context, run, seed)


@router.post("/{run}/game")
def game(context: Served, run: str, request: GameRequest) -> Game:
    """What is on the board after each move of a game."""
    return othello.game(context, run, request.game)


@router.post("/{run}/read")
async def read(context: Served, run: str, request: ReadRequest) -> GameRead:
    """What the model makes of a game, and which latents are on at each move."""
    return await othello.read(context, run, request)


@router.post("/{run}/trace", status_code=201)
async def trace(context: Served, run: str, request: SquareRequest) -> TraceAnswer:
    """Trace the logit of a square; the run of the graph lies below the first served folder."""
    return await othello.trace(context, run, request)
