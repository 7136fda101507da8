"""`lmscope othello train`: a model that learns to play from random games."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from lmscope.cli.numbers import Count
from lmscope.cli.options import JobOptions, given

if TYPE_CHECKING:
    from lmscope.runs.run import Run

EXAMPLES: Final = """Example:

    lmscope othello train --dry-run
    lmscope othello train --games 64k --labels hard
    lmscope othello train othello-6x6 --name my-player
    lmscope othello train --resume RUN

What it makes is a Hugging Face folder, RUN/artifacts/model, which every other
command takes as --model.
"""
_JOB: Final = JobOptions()


def train(
    recipe: str | None = None,
    /,
    *,
    size: Literal[6, 8] | None = None,
    games: Count | None = None,
    batch_games: Count | None = None,
    labels: Literal["hard", "soft"] | None = None,
    layers: Count | None = None,
    width: Count | None = None,
    heads: Count | None = None,
    hidden: Count | None = None,
    device: Annotated[str | None, Parameter(metavar="NAME")] = None,
    job: JobOptions = _JOB,
) -> int:
    """Train a model on random games, and measure on others whether its moves are legal.

    Args:
        recipe: A file that ends in .toml or the name of a shipped recipe; options change it.
        size: Squares along a side of the board; the model's positions follow it.
        games: To train on; none comes twice.
        batch_games: Games of one batch.
        labels: hard is the move that was played, soft all legal moves alike.
        layers: Of the model.
        width: Of its stream.
        heads: Of each attention layer.
        hidden: Neurons of each feed-forward layer.
        device: auto, cpu, cuda or cuda:1.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.jobs import othello_train as othello

    options = given(
        {
            "games.size": size,
            "shape.max_positions": None if size is None else size * size - 4,
            "games.n_games": games,
            "games.batch_games": batch_games,
            "labels": labels,
            "shape.n_layers": layers,
            "shape.d_model": width,
            "shape.n_heads": heads,
            "shape.d_hidden": hidden,
            "device": device,
        }
    )

    def everyday(_recipe: Any) -> dict[str, Any]:
        return {**options, **job.everyday()}

    verb = Verb(
        "othello",
        othello.OthelloRecipe,
        othello.train_othello,
        othello.plan_othello,
        report_player,
    )
    return launch(verb, recipe, everyday, job)


def report_player(run: "Run", as_json: bool) -> None:
    """Print how well the model keeps to the rules on games that it never saw.

    Args:
        run: One that trained a model.
        as_json: One object instead of lines.
    """
    from lmscope.cli import console
    from lmscope.jobs.othello_train import FOLDER, REPORT_FILE

    folder: Path = run.artifacts / FOLDER
    figures = json_format.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    values = {"run": str(run.path), "model": str(folder), **figures}
    if as_json:
        console.print_json(values)
        return
    values.pop("by_move")
    console.print_rows(console.flat(values))
