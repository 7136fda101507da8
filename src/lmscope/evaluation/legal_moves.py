"""How well a model plays by the rules: whether its moves are legal, and how near it comes to the law of random games."""

from collections.abc import Iterable
from typing import Any, Final, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import DataError, ModelError
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Estimate,
    Resamples,
    ratio,
)
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel
from lmscope.text.worlds.games import GameBatch
from lmscope.text.worlds.othello import Othello

_FIGURES: Final = ("legal_top1", "legal_mass", "nats_per_move", "floor_nats", "divergence_nats")


class MoveScore(Config):
    """A model at one place of games."""

    move: int
    """Number of the predicted move, from 1; the first that is predicted is 2."""
    n: int
    """Games that have this move."""
    legal_top1: float
    legal_mass: float
    nats_per_move: float
    floor_nats: float
    divergence_nats: float


class LegalMoveScore(Config):
    """A model on random games; the first move of a game is not predicted.

    Intervals are percentiles of a bootstrap over games.
    """

    n_games: int
    n_moves: int
    """Predicted moves of all games."""
    legal_top1: Estimate
    """Share of places where the likeliest token is a legal move."""
    legal_mass: Estimate
    """Probability of all legal moves together, averaged over places."""
    nats_per_move: Estimate
    """Cross-entropy of the moves that were played."""
    floor_nats: Estimate
    """Mean logarithm of the number of legal moves, which is the entropy of random games: the least cross-entropy there is."""
    divergence_nats: Estimate
    """Kullback-Leibler divergence of the model from the law of random games, uniform over legal moves; 0 at best."""
    legal_by_chance: float
    """Share of empty squares that are legal: the legal top-1 and mass of a model that knows only what is taken."""
    by_move: tuple[MoveScore, ...]
    """Each place by itself."""


@torch.no_grad()
def score_games(
    model: LanguageModel,
    world: Othello,
    batches: Iterable[GameBatch],
    *,
    bootstrap: BootstrapOptions = BootstrapOptions(),  # noqa: B008 (a frozen value)
    seed: int = 0,
) -> LegalMoveScore:
    """Measure a model on games, under the edits in force.

    Args:
        model: One that reads moves of this world.
        world: What is played.
        batches: The games, held out.
        bootstrap: How intervals are made.
        seed: Of the bootstrap.

    Raises:
        ModelError: The model does not read moves of this world.
        DataError: There is no game of two moves.
    """
    check_plays(model, world)
    sums = _add_up(model, world, batches)
    n_places = sums.columns["n"].sum(0)
    if not n_places.any():
        raise DataError("No game has a second move to predict: give longer games.")
    resamples = Resamples(_grouped(sums, bootstrap.max_units), bootstrap, seed)
    places = {name: ratio(sums.columns[name].sum(0), n_places) for name in (*_FIGURES, "chance")}
    by_move = tuple(
        MoveScore(
            move=place + 2, n=int(n), **{name: float(places[name][place]) for name in _FIGURES}
        )
        for place, n in enumerate(n_places)
        if n
    )
    total = resamples.total("n")
    figures = {name: resamples.estimate(ratio(resamples.total(name), total)) for name in _FIGURES}
    return LegalMoveScore(
        n_games=sums.n_contexts,
        n_moves=int(n_places.sum()),
        legal_by_chance=float(sums.columns["chance"].sum() / n_places.sum()),
        by_move=by_move,
        **cast("dict[str, Any]", figures),
    )


def check_plays(model: LanguageModel, world: Othello) -> None:
    """Whether a model reads and predicts moves of a world.

    Raises:
        ModelError: It reads something else, or another board, or has too few positions.
    """
    board = f"Othello on {world.size} by {world.size} squares"
    advice = f"give one that was trained for it, e.g. by `lmscope othello train othello-{world.size}x{world.size}`"
    if not model.is_causal or not model.has_logits:
        raise ModelError(f"'{model.name}' predicts no next token, so it cannot play: {advice}.")
    names = [world.square_name(int(square)) for square in world.squares]
    known = model.tokenizer.get_vocab()
    if model.d_vocab != world.n_tokens or [known.get(name) for name in names] != [
        int(world.token_of[square]) for square in world.squares
    ]:
        raise ModelError(
            f"'{model.name}' has a vocabulary of {model.d_vocab} tokens, which are not the {world.n_tokens} of "
            f"{board} (padding and the squares): {advice}."
        )
    if model.max_positions is not None and model.max_positions < world.n_moves:
        raise ModelError(
            f"'{model.name}' has positions for {model.max_positions} moves, and a game of {board} has up to "
            f"{world.n_moves}: {advice}."
        )


def _add_up(model: LanguageModel, world: Othello, batches: Iterable[GameBatch]) -> ContextSums:
    parts = [
        {name: value.double().cpu() for name, value in _figures(model, world, batch).items()}
        for batch in batches
    ]
    if not parts:
        raise DataError("There is no game to measure on: take at least one.")
    columns = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    sums = ContextSums(len(columns["n"]), columns["n"].shape[1])
    sums.columns = columns
    return sums


def _grouped(sums: ContextSums, max_units: int) -> ContextSums:
    """At most so many groups of neighbouring games, to bound the memory of a bootstrap."""
    n = sums.n_contexts
    if n <= max_units:
        return sums
    return sums.regrouped(np.arange(n) * max_units // n, max_units)


def _figures(
    model: LanguageModel, world: Othello, batch: GameBatch
) -> dict[str, Float[Tensor, "game place"]]:
    """Figures of each game at each place but the last, 0 where the game is over."""
    tokens, mask, legal = (value.to(model.device) for value in batch)
    logits = model(Batch(tokens=tokens, mask=mask)).logits[:, :-1].float()
    log_p = logits.log_softmax(-1)
    wanted, counts, legal = tokens[:, 1:], mask[:, 1:], legal[:, :-1]
    n_legal = legal.sum(-1).clamp(min=1)
    best = log_p.argmax(-1, keepdim=True)
    floor = n_legal.log()
    n_empty = world.n_moves - torch.arange(1, 1 + logits.shape[1], device=logits.device)
    found = {
        "legal_top1": legal.gather(-1, best)[..., 0].float(),
        "legal_mass": (log_p.exp() * legal).sum(-1),
        "nats_per_move": -log_p.gather(-1, wanted[..., None])[..., 0],
        "floor_nats": floor,
        "divergence_nats": -(log_p * legal).sum(-1) / n_legal - floor,
        "chance": n_legal / n_empty,
        "n": torch.ones_like(floor),
    }
    return {name: value * counts for name, value in found.items()}
