"""How every job is launched: its recipe, the plan or the run, and what to do after a stop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.options import JobOptions, overlay, refuse_beside_resume
from lmscope.cli.progress import ProgressListener
from lmscope.cli.run_names import find_run
from lmscope.core.errors import RecipeError
from lmscope.core.mesh import is_first_started
from lmscope.core.protocols import Listener
from lmscope.runs.commands import command_of
from lmscope.runs.listing import list_runs
from lmscope.runs.recipe import Recipe, read_recipe
from lmscope.runs.record import now
from lmscope.runs.run import Run
from lmscope.runs.signals import Interrupted
from lmscope.runs.trackers import TrackioTracker, WandbTracker


@dataclass(frozen=True)
class Verb:
    """A job as the command line sees it."""

    name: str
    recipe: type[Recipe]
    run: Callable[..., Any]
    """`run(recipe, *, root, listeners, resume)`: a Run, or a result that has one as `.run`."""
    plan: Callable[[Any], Any] | None = None
    """`plan(recipe)`: a Plan with `rows()`, `shown_tables()` and `to_mapping()`; writes nothing."""
    report: Callable[[Any, bool], None] | None = None
    """Prints the result to stdout, as JSON when its second argument is true."""

    @property
    def words(self) -> str:
        """What starts it, after `lmscope`."""
        return command_of(self.name)


def launch(
    verb: Verb,
    recipe: str | None,
    everyday: Callable[[Mapping[str, Any]], dict[str, Any]],
    job: JobOptions,
) -> int:
    """Do what a command was asked for: print the plan, run, or go on with a run.

    Args:
        verb: The job.
        recipe: A recipe by path or shipped name; absent: options and defaults alone.
        everyday: From the plain values of the recipe to the keys that options change.
        job: Options of every job.

    Returns:
        The exit code.
    """
    folder = None
    if job.resume is None:
        made = _assemble(verb, recipe, everyday, job)
    else:
        refuse_beside_resume(_given_beside_resume(recipe, everyday({}), job))
        folder = find_run(job.resume, job.runs_dir)
        made = _recipe_of(verb, folder)
    if job.dry_run:
        _print_plan(verb, made, job)
        return DONE
    result = _run(verb, made, job, folder)
    if verb.report is not None and is_first_started():
        verb.report(result, job.json)
    return DONE


def _assemble(
    verb: Verb,
    recipe: str | None,
    everyday: Callable[[Mapping[str, Any]], dict[str, Any]],
    job: JobOptions,
) -> Recipe:
    values = {} if recipe is None else read_recipe(recipe)
    source = "the recipe" if recipe is None else f"recipe '{recipe}'"
    values = overlay(values, everyday(values), job.set)
    _check_job(verb, values, source)
    return verb.recipe.from_mapping(values, source)


def _recipe_of(verb: Verb, folder: Path) -> Recipe:
    values = Run.open(folder).recipe_values
    source = f"run '{folder}'"
    _check_job(verb, values, source)
    return verb.recipe.from_mapping(values, source)


def _check_job(verb: Verb, values: Mapping[str, Any], source: str) -> None:
    asked = values.get("job", verb.name)
    if asked != verb.name:
        raise RecipeError(
            f"{source[0].upper()}{source[1:]} is one of the job '{asked}': use `lmscope {command_of(asked)}`."
        )


def _given_beside_resume(
    recipe: str | None, everyday: Mapping[str, Any], job: JobOptions
) -> dict[str, Any]:
    found = {} if recipe is None else {recipe: recipe}
    return {**found, **everyday, **dict.fromkeys(job.set)}


def _print_plan(verb: Verb, recipe: Recipe, job: JobOptions) -> None:
    plan = None if verb.plan is None else verb.plan(recipe)
    values = recipe.to_mapping() if plan is None else plan.to_mapping()
    if job.json:
        console.print_json(values)
        return
    console.print_rows(console.flat(values) if plan is None else plan.rows())
    for table in () if plan is None else plan.shown_tables():
        console.print_line("")
        console.print_table(table)
    console.say("This is the plan; nothing was written. Leave --dry-run out to run it.")


def _run(verb: Verb, recipe: Recipe, job: JobOptions, folder: Path | None) -> Any:
    began = now()
    with ProgressListener(console.stderr()) as listener:
        try:
            root = job.runs_dir if folder is None else folder.parent
            listeners = (listener, *_trackers(recipe, job))
            result = verb.run(recipe, root=root, listeners=listeners, resume=folder)
        except KeyboardInterrupt:
            stopped = folder or _stopped_since(began, verb, job.runs_dir)
            raise Interrupted(_how_to_go_on(verb, stopped)) from None
    run = result if isinstance(result, Run) else result.run
    if run.status == "interrupted":
        raise Interrupted(_how_to_go_on(verb, run.path))
    if is_first_started():
        console.say(f"Run: {run.path}")
    return result


def _trackers(recipe: Recipe, job: JobOptions) -> tuple[Listener, ...]:
    match job.track:
        case "wandb":
            return (WandbTracker("lmscope", recipe.name, recipe.to_mapping()),)
        case "trackio":
            return (TrackioTracker("lmscope", recipe.name, recipe.to_mapping()),)
        case None:
            return ()


def _stopped_since(began: datetime, verb: Verb, root: Path) -> Path | None:
    """The run that this process has just left unfinished; None when that is not certain."""
    runs = [entry.run for entry in list_runs(root) if entry.run is not None]
    mine = [
        run.path
        for run in runs
        if run.record.created >= began and run.record.job == verb.name
        if run.status == "interrupted"
    ]
    return mine[0] if len(mine) == 1 else None


def _how_to_go_on(verb: Verb, folder: Path | None) -> str:
    if folder is None:
        return f"Interrupted. `lmscope runs list` shows the runs that `lmscope {verb.words} --resume RUN` can go on with."
    return f"Interrupted. Go on with: lmscope {verb.words} --resume {folder}"
