"""`lmscope evaluate`: a trained dictionary measured, here or elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cyclopts import App

from lmscope.cli.options import JobOptions, ModelAndText
from lmscope.core.errors import RecipeError

_EXAMPLES: Final = """Example:

    lmscope evaluate last
    lmscope evaluate last --context-length 512
    lmscope evaluate RUN --model path/to/fine-tuned --corpus other.jsonl --json

RUN is a path, a folder name, a beginning of one, or `last`: the newest that
trained a dictionary.
"""
_WHERE: Final = ModelAndText()
_JOB: Final = JobOptions()

app = App(name="evaluate", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def evaluate(
    target: str | None = None, /, *, where: ModelAndText = _WHERE, job: JobOptions = _JOB
) -> int:
    """Measure dictionaries on held-out text.

    Without further options on the model and the held-out text of their own run.

    Args:
        target: A run, the folder of one dictionary, or a recipe (ends in .toml or is shipped).
        where: Another model or text.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.cli.reports import report_run
    from lmscope.jobs import evaluate as evaluate_job

    resumes = target is None and job.resume is not None
    recipe, place = (None, {}) if resumes else _split(target, job.runs_dir)

    def everyday(_recipe: Mapping[str, Any]) -> dict[str, Any]:
        return {**where.everyday("evaluation.tokens"), **job.everyday(), **place}

    verb = Verb(
        "evaluate",
        evaluate_job.EvaluateRecipe,
        evaluate_job.evaluate,
        evaluate_job.plan_evaluation,
        report_run,
    )
    return launch(verb, recipe, everyday, job)


def _split(target: str | None, runs_dir: Path) -> tuple[str | None, dict[str, Any]]:
    """The positional as a recipe, or as the recipe key that names the dictionary."""
    from lmscope.cli.run_names import find_run
    from lmscope.runs.recipe import shipped_recipes

    if target is None:
        raise RecipeError(
            "There is nothing to evaluate: name a run (`last` for the newest) or the folder of a dictionary."
        )
    if target.endswith(".toml") or target in shipped_recipes():
        return target, {}
    folder = Path(target)
    if not folder.is_dir():
        folder = find_run(target, runs_dir, holding="artifacts/dictionaries")
    return None, {"dictionary": str(folder)}
