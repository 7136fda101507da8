"""Train a model on random games of Othello, and measure how well it keeps to the rules."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import Field
from torch import nn

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.evaluation.legal_moves import LegalMoveScore, score_games
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.jobs.running import Plan, running
from lmscope.models.fresh import ModelShape, fresh_model
from lmscope.models.language_model import LanguageModel
from lmscope.models.loading import find_device
from lmscope.models.quiet import quiet_transformers
from lmscope.models.weights import weights_hash
from lmscope.runs.artifact import write_artifact
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.text.worlds.games import GameBatch, GameStream, game_batch
from lmscope.text.worlds.notation import othello_tokenizer
from lmscope.text.worlds.othello import Othello
from lmscope.training.checkpoint import Checkpoints
from lmscope.training.config import ScheduleConfig, TrainingConfig
from lmscope.training.loop import fit, planned_steps
from lmscope.training.next_move import Labels, NextMove

KIND: Final = "language-model"
FORMAT_VERSION: Final = 1
FOLDER: Final = "model"
"""Below `artifacts`: a Hugging Face folder with a manifest."""
REPORT_FILE: Final = "held_out.json"
Count = Annotated[int, Field(ge=1)]


class OthelloGames(Config):
    """What is played, and how much of it."""

    size: Literal[6, 8] = 6
    """Squares along a side of the board."""
    n_games: Count = 256_000
    """Games to train on; each is drawn when its turn comes, and none comes twice."""
    batch_games: Count = 256
    """Games of one batch."""
    full: bool = True
    """Only games that fill the board, as the paper takes them."""
    held_out_games: Count = 2000
    """Games on which the result is measured, of a random stream of their own."""


class PlayerShape(ModelShape):
    """The shape of a player; what is not said is that of a small one on 6 by 6 squares."""

    family: Literal["llama", "qwen3", "gpt2"] = "gpt2"
    """gpt2 is that of the paper: learned positions, layer norms, GELU."""
    n_layers: Count = 2
    d_model: Count = 64
    n_heads: Count = 4
    d_hidden: Count = 256
    """Neurons of a feed-forward layer."""
    max_positions: Count = 32
    """At least as many as a game has moves: 32 on 6 by 6 squares, 60 on 8 by 8."""


class OthelloRecipe(Recipe):
    """What `lmscope othello train` does."""

    job: Literal["othello"] = "othello"
    name: str = "othello"
    games: OthelloGames = OthelloGames()
    labels: Labels = "soft"
    """What predictions are held against: `hard` the move that was played, `soft` all legal moves alike."""
    shape: PlayerShape = PlayerShape()
    """Of the new model."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of the matrices of the layers."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """In which the weights are stored."""
    device: str = "auto"
    """Where to train: auto, cpu, cuda."""
    bootstrap: BootstrapOptions = BootstrapOptions()
    """Of the intervals, over games."""
    training: TrainingConfig = TrainingConfig(
        lr=2e-3,
        schedule=ScheduleConfig(warmup=0.02, decay="cosine", decay_fraction=0.98, end_factor=0.01),
    )


def train_othello(
    recipe: OthelloRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Any] = (),
    resume: Path | str | None = None,
) -> Run:
    """Train a model on random games, and measure on others how well it keeps to the rules.

    The run holds `artifacts/model`, a Hugging Face folder that `LanguageModel.load` opens, with
    `held_out.json` in it (`evaluation.legal_moves.LegalMoveScore`).

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with, begun with the same recipe.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
        KeyboardInterrupt: It was stopped; its state is saved.
    """
    with running(recipe, root, listeners, resume) as (run, stop):
        world, model, stream = _open(recipe)
        _move(model, find_device(recipe.device))
        objective = NextMove(model, labels=recipe.labels, weight_decay=recipe.weight_decay)
        checkpoints = Checkpoints(run.checkpoints, keep=recipe.training.checkpoint.keep)
        checkpoint = checkpoints.latest()
        if run.record.n_resumed:
            run.rewind(0 if checkpoint is None else checkpoint.step)
        run.event("phase", phase="train")
        outcome = fit(
            [objective],
            stream,
            recipe.training,
            checkpoints=checkpoints,
            listener=run,
            stop=stop,
            resume=checkpoint,
            seed=recipe.seed,
        )
        if outcome.interrupted:
            stop.raise_if_requested()
        trained = objective.finish()
        run.event("phase", phase="evaluate")
        score = score_games(
            trained,
            world,
            held_out_games(world, recipe.games, recipe.seed),
            bootstrap=recipe.bootstrap,
            seed=recipe.seed,
        )
        digest = _save(recipe, trained, score, run.artifacts / FOLDER)
        run.note_weights({recipe.name: digest})
        run.event("result", name="held_out", figures=score.to_mapping())
    return run


def plan_othello(recipe: OthelloRecipe) -> Plan:
    """Sizes and steps; plays nothing, writes nothing."""
    world, model, stream = _open(recipe)
    steps = planned_steps(stream, recipe.training)
    n_games = steps * recipe.training.accumulate * recipe.games.batch_games
    n_parameters = sum(p.numel() for p in model.hf.parameters())
    return Plan(
        {
            "n_parameters": n_parameters,
            "n_vocabulary": world.n_tokens,
            "n_games": n_games,
            "n_steps": steps,
            "games_per_step": n_games // steps,
            "tokens_per_step": n_games // steps * world.n_moves,
            "training_flops": 6.0 * n_parameters * n_games * world.n_moves,
        }
    )


def held_out_games(
    world: Othello, games: OthelloGames, seed: int, *, batch_games: int = 256
) -> Iterator[GameBatch]:
    """The games that a recipe holds out, a few at a time."""
    n = games.held_out_games
    stream = GameStream(
        world, batch_games=1, n_games=n, seed=seed, part="held_out", full=games.full
    )
    for first in range(0, n, batch_games):
        yield game_batch(stream.games(first, min(first + batch_games, n)))


def _open(recipe: OthelloRecipe) -> tuple[Othello, LanguageModel, GameStream]:
    games = recipe.games
    world = Othello(games.size)
    if recipe.shape.max_positions < world.n_moves:
        raise RecipeError(
            f"A game on a board of {games.size} by {games.size} has {world.n_moves} moves, and the model has positions for "
            f"{recipe.shape.max_positions}: set shape.max_positions to {world.n_moves}."
        )
    model = fresh_model(
        recipe.shape, othello_tokenizer(games.size), name=recipe.name, seed=recipe.seed
    )
    stream = GameStream(
        world,
        batch_games=games.batch_games,
        n_games=games.n_games,
        seed=recipe.seed,
        full=games.full,
    )
    _check_length(recipe, stream.total_batches)
    return world, model, stream


def _check_length(recipe: OthelloRecipe, n_batches: int) -> None:
    """Refuse steps that the games do not last for."""
    training, size = recipe.training, recipe.games.batch_games
    wanted = (training.steps or 1) * training.accumulate
    if wanted <= n_batches:
        return
    steps = f"{training.steps:,} steps need" if training.steps else "One step needs"
    raise RecipeError(
        f"{steps} {wanted:,} batches of {size:,} games, and {recipe.games.n_games:,} games fill {n_batches:,}: take at "
        f"least {wanted * size:,} games, or set training.{'steps' if training.steps else 'accumulate'} lower."
    )


def _move(model: LanguageModel, device: torch.device) -> None:
    nn.Module.to(model.hf, device)  # transformers' own `to` has no type that says what it takes


def _save(recipe: OthelloRecipe, model: LanguageModel, score: LegalMoveScore, path: Path) -> str:
    """Write the model folder; its weights hash."""
    with write_artifact(path, KIND, FORMAT_VERSION) as folder:
        with quiet_transformers():
            _move(model, torch.device("cpu"))
            model.hf.to(getattr(torch, recipe.dtype)).save_pretrained(folder)
            model.tokenizer.save_pretrained(folder)
        text = json.dumps(score.to_mapping(), indent=1, sort_keys=True)
        (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    return weights_hash(path)
