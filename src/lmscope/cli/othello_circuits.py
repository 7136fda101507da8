"""`lmscope othello circuits`: circuits of a player over many games, held against the rules."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from lmscope.cli.circuit_options import Circuit, dictionary_source
from lmscope.cli.numbers import Count
from lmscope.cli.options import JobOptions, given
from lmscope.cli.run_names import is_recipe, model_name
from lmscope.core.errors import RecipeError

if TYPE_CHECKING:
    from lmscope.runs.run import Run

EXAMPLES: Final = """Example:

    lmscope othello circuits
    lmscope othello circuits PLAYER
    lmscope othello label RUN --out labels.json
    lmscope othello circuits RUN --labels labels.json --find ablation
    lmscope othello circuits othello-circuits --dictionaries RUN --labels FILE
    lmscope othello circuits --resume RUN

A move is legal because of the lines of discs that it turns. Looked for are:
logit, features of these lines in circuits of legal moves; ablation, whether a
move stops being legal for the model without them; state, whether features of
the board come from the moves that made it so; empty, whether those of empty
squares fall silent by the move that takes it; attention, whose moves heads
attend to and why; thresholds, how well circuits of different sizes tell the
lines. Beside each stands what chance gives. Numbers in brackets are intervals
over games. Without a name, the small player that comes with lmscope is taken.
"""
_CIRCUIT: Final = Circuit()
_JOB: Final = JobOptions()


def circuits(
    source: str | None = None,
    /,
    *,
    labels: Annotated[str | None, Parameter(metavar="FILE")] = None,
    find: Annotated[
        tuple[Literal["logit", "ablation", "state", "empty", "attention", "thresholds"], ...],
        Parameter(show_default=False),
    ] = (),
    games: Count | None = None,
    places: Annotated[Count | None, Parameter(metavar="N")] = None,
    threshold: Annotated[float | None, Parameter(metavar="SHARE")] = None,
    least_f1: Annotated[float | None, Parameter(metavar="F1")] = None,
    least_probability: Annotated[float | None, Parameter(metavar="P")] = None,
    circuit: Circuit = _CIRCUIT,
    job: JobOptions = _JOB,
) -> int:
    """Find circuits of legal moves at many places of games, and hold them against the rules.

    Args:
        source: A run that trained dictionaries of a player, a folder of them, or a player (a run or a model
            folder), of which attention is looked at; or a recipe (ends in .toml or is shipped); absent:
            `othello-mini`, which comes with lmscope.
        labels: What `lmscope othello label --out` wrote; absent: RUN/artifacts/labels.json where there is one.
        find: Only these; absent: all that labels allow. Repeatable.
        games: Random games of a random stream of their own.
        places: Of each game, at most.
        threshold: Share of a logit that a feature needs to be traced further.
        least_f1: Latents whose best label has less say nothing.
        least_probability: A move that the model gives more to is legal for it.
        circuit: Which dictionaries stand in which model.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.jobs import othello_circuits as job_of

    is_a_recipe = source is not None and is_recipe(source)
    named = {} if source is None or is_a_recipe else _named(source, circuit, job.runs_dir)
    options = given(
        {
            "labels.file": None if labels is None else str(Path(labels)),
            "labels.least_f1": least_f1,
            "findings": list(find) or None,
            "places.n_games": games,
            "places.places_per_game": places,
            "trace.threshold": threshold,
            "lines.least_probability": least_probability,
        }
    )

    def everyday(_recipe: Mapping[str, Any]) -> dict[str, Any]:
        return {**options, **circuit.everyday(job.runs_dir), **named, **job.everyday()}

    verb = Verb(
        "othello-circuits",
        job_of.OthelloCircuitsRecipe,
        job_of.find_othello_circuits,
        job_of.plan_othello_circuits,
        report_circuits,
    )
    return launch(verb, source if is_a_recipe else None, everyday, job)


def report_circuits(run: "Run", as_json: bool) -> None:
    """Print what was found.

    Args:
        run: One that looked at circuits of a player.
        as_json: One object instead of tables.
    """
    from lmscope.cli import console
    from lmscope.jobs.othello_circuits import read_othello_circuits

    found = read_othello_circuits(run)
    if as_json:
        console.print_json({"run": str(run.path), **found.to_mapping()})
        return
    for i, table in enumerate(found.tables()):
        if i:
            console.print_line("")
        console.print_table(table)


def _named(source: str, circuit: Circuit, runs_dir: Path) -> dict[str, Any]:
    """Recipe keys for what a person named: a player or dictionaries of one."""
    if circuit.dictionaries:
        raise RecipeError(
            f"'{source}' and --dictionaries both say what the circuits are of: leave one of them out."
        )
    found = dictionary_source(source, runs_dir)
    player = Path(model_name(found, runs_dir) or found)
    if not (player / "tokenizer.json").is_file():
        return {"dictionaries.sources": [found]}
    return {"dictionaries.sources": ["none"], "model.name": str(player)}
