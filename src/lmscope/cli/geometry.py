"""`lmscope geometry`: how the latents of trained dictionaries lie to each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from lmscope.cli.options import JobOptions, given
from lmscope.core.errors import RecipeError

_EXAMPLES: Final = """Example:

    lmscope geometry last
    lmscope geometry RUN RUN --analysis matching
    lmscope geometry RUN path/to/dictionary --analysis splitting map --json

RUN is a path, a folder name, a beginning of one, or `last`: the newest that
trained a dictionary. Dictionaries of one site with different numbers of
latents are compared for splitting, others for matching.
"""
_JOB: Final = JobOptions()

app = App(name="geometry", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def geometry(
    *targets: Annotated[str, Parameter(show_default=False)],
    analysis: Annotated[
        tuple[Literal["splitting", "matching", "neighbours", "statistics", "map"], ...],
        Parameter(show_default=False, consume_multiple=True),
    ] = (),
    device: Annotated[str | None, Parameter(metavar="NAME")] = None,
    job: JobOptions = _JOB,
) -> int:
    """Compare the latents of dictionaries: matching, neighbours, splitting, maps.

    By their weights alone; every figure stands beside what chance gives.

    Args:
        targets: Runs, folders of single dictionaries, or one recipe (ends in .toml or is shipped).
        analysis: What is done; absent: everything for which there are dictionaries.
        device: auto, cpu, cuda or cuda:1.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.cli.geometry_report import report_geometry
    from lmscope.jobs import geometry as geometry_job

    resumes = not targets and job.resume is not None
    recipe, place = (None, {}) if resumes else _split(targets, job.runs_dir)

    def everyday(_recipe: Mapping[str, Any]) -> dict[str, Any]:
        options = given({"analyses": list(analysis) or None, "device": device})
        return {**options, **job.everyday(), **place}

    verb = Verb(
        "geometry",
        geometry_job.GeometryRecipe,
        geometry_job.geometry,
        geometry_job.plan_geometry,
        report_geometry,
    )
    return launch(verb, recipe, everyday, job)


def _split(targets: Sequence[str], runs_dir: Path) -> tuple[str | None, dict[str, Any]]:
    """The positionals as a recipe, or as the recipe key that names the dictionaries."""
    from lmscope.cli.run_names import find_run, is_recipe

    if not targets:
        raise RecipeError(
            "There is nothing to compare: name runs (`last` for the newest) or folders of dictionaries."
        )
    recipes = [t for t in targets if is_recipe(t)]
    if recipes and len(targets) > 1:
        raise RecipeError(
            f"'{recipes[0]}' is a recipe, which names its dictionaries itself: leave the other words out."
        )
    if recipes:
        return recipes[0], {}
    folders = [
        Path(target)
        if Path(target).is_dir()
        else find_run(target, runs_dir, holding="artifacts/dictionaries")
        for target in targets
    ]
    return None, {"dictionaries": [str(folder) for folder in folders]}
