"""`lmscope atlas build`: what every latent of a dictionary fires on, worked out once."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from lmscope.cli.options import JobOptions, ModelAndText, given
from lmscope.core.errors import RecipeError

if TYPE_CHECKING:
    from lmscope.runs.run import Run

_EXAMPLES: Final = """Example:

    lmscope atlas build last
    lmscope atlas build RUN --tokens 2M --documents held_out
    lmscope atlas build RUN --only resid_post-14-4608-topk-32 --dry-run
    torchrun --nproc-per-node 8 -m lmscope atlas build RUN --tokens 100M

RUN is a path, a folder name, a beginning of one, or `last`: the newest that
trained a dictionary. All dictionaries of a run share one pass of the model.
"""
_WHERE: Final = ModelAndText()
_JOB: Final = JobOptions()

app = App(name="build", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def build(
    target: str | None = None,
    /,
    *,
    where: ModelAndText = _WHERE,
    documents: Literal["all", "train", "held_out"] | None = None,
    only: Annotated[tuple[str, ...], Parameter(metavar="NAME", show_default=False)] = (),
    job: JobOptions = _JOB,
) -> int:
    """Build the atlas of each dictionary of a run, or of one dictionary.

    Reads 1M tokens of the run's own text unless told otherwise, at even distances.

    Args:
        target: A run, the folder of one dictionary, or a recipe (ends in .toml or is shipped).
        where: Another model or text; --tokens is what the census reads.
        documents: Those that training read, those that it did not, or all; all by default.
        only: Of the run's dictionaries, the one of this name. Repeatable.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.jobs import atlas as atlas_job

    resumes = target is None and job.resume is not None
    recipe, place = (None, {}) if resumes else _split(target, job.runs_dir)

    def everyday(_recipe: Mapping[str, Any]) -> dict[str, Any]:
        options = given({"text.documents": documents, "only": list(only) or None})
        keys = where.everyday("census.tokens", job.runs_dir)
        return {**keys, **options, **job.everyday(), **place}

    verb = Verb(
        "atlas",
        atlas_job.AtlasRecipe,
        atlas_job.build_atlas,
        atlas_job.plan_atlas,
        report_atlas,
    )
    return launch(verb, recipe, everyday, job)


def report_atlas(run: "Run", as_json: bool) -> None:
    """Print what the atlases of a run hold.

    Args:
        run: One that built some.
        as_json: One object instead of a table.

    Raises:
        ArtifactError: An atlas is damaged.
    """
    from lmscope.cli import console
    from lmscope.display.tables import Table
    from lmscope.jobs.atlas import atlas_figures

    folders = sorted((run.artifacts / "atlas").glob("[!.]*"))
    found = {folder.name: atlas_figures(folder) for folder in folders}
    if as_json:
        atlases = {f.name: {"path": str(f), **found[f.name]} for f in folders}
        census = run.results().get("census", {})
        console.print_json(
            {"run": str(run.path), "status": run.status, "atlases": atlases, "census": census}
        )
        return
    columns = ("atlas", "latents", "dead", "dense", "tokens that count", "bytes a latent")
    keys = ("n_latents", "n_dead", "n_dense", "n_counted", "bytes_per_latent")
    rows = tuple((name, *(figures[key] for key in keys)) for name, figures in found.items())
    console.print_table(Table(columns, rows))
    console.say(f"Look at a latent with: lmscope atlas show {run.path} 0")


def _split(target: str | None, runs_dir: Path) -> tuple[str | None, dict[str, Any]]:
    """The positional as a recipe, or as the recipe key that names the dictionary."""
    from lmscope.cli.run_names import find_run, is_recipe

    if target is None:
        raise RecipeError(
            "There is nothing to build an atlas of: name a run (`last` for the newest) or the folder of a "
            "dictionary."
        )
    if is_recipe(target):
        return target, {}
    folder = Path(target)
    if not folder.is_dir():
        folder = find_run(target, runs_dir, holding="artifacts/dictionaries")
    return None, {"dictionary": str(folder)}
