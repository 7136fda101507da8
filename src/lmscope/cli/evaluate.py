"""`lmscope evaluate`: a trained dictionary measured, here or elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Group, Parameter

from lmscope.cli.numbers import parse_count
from lmscope.cli.options import JobOptions, ModelAndText, Switch, given
from lmscope.core.errors import RecipeError

if TYPE_CHECKING:
    from lmscope.runs.run import Run

_EXAMPLES: Final = """Example:

    lmscope evaluate last
    lmscope evaluate last --context-length 512
    lmscope evaluate RUN --model path/to/fine-tuned --corpus other.jsonl --json
    lmscope evaluate RUN --transfer --context-lengths 256,512,1024,2048
    lmscope evaluate RUN --transfer --models path/to/fine-tuned --dry-run

RUN is a path, a folder name, a beginning of one, or `last`: the newest that
trained a dictionary.
"""
_WHERE: Final = ModelAndText()
_ELSEWHERE_GROUP: Final = Group("A table of several conditions", sort_key=5)


@Parameter(name="*", group=_ELSEWHERE_GROUP)
@dataclass(frozen=True)
class Elsewhere:
    """Which conditions are compared with home."""

    transfer: Switch = False
    """Compare conditions with the one that the other options give, which is home."""
    context_lengths: Annotated[str | None, Parameter(metavar="N,N,...")] = None
    """Tokens of one context, separated by commas; home's own length comes too."""
    models: Annotated[str | None, Parameter(metavar="NAME,NAME,...")] = None
    """Models of the same family and shape, separated by commas, e.g. fine-tuned ones."""
    within_documents: Switch = False
    """Only contexts that lie within one document."""

    def everyday(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe keys that were given here; a table that the recipe has stays.

        Raises:
            RecipeError: One was given without --transfer.
        """
        lengths = self.context_lengths and [_length(word) for word in _words(self.context_lengths)]
        models = self.models and _words(self.models)
        found = {"transfer.context_lengths": lengths, "transfer.models": models}
        found["transfer.within_documents"] = self.within_documents or None
        keys = given(found)
        if keys and not self.transfer:
            option = next(iter(keys)).removeprefix("transfer.").replace("_", "-")
            raise RecipeError(f"--{option} is of the table of conditions: give --transfer too.")
        return keys or ({"transfer": {}} if self.transfer and "transfer" not in recipe else {})


_ELSEWHERE: Final = Elsewhere()
_JOB: Final = JobOptions()

app = App(name="evaluate", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def evaluate(
    target: str | None = None,
    /,
    *,
    where: ModelAndText = _WHERE,
    elsewhere: Elsewhere = _ELSEWHERE,
    job: JobOptions = _JOB,
) -> int:
    """Measure dictionaries on held-out text.

    Without further options on the model and the held-out text of their own run, as much of it as
    the run measured.

    Args:
        target: A run, the folder of one dictionary, or a recipe (ends in .toml or is shipped).
        where: Another model or text.
        elsewhere: Several conditions, side by side.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.jobs import evaluate as evaluate_job

    resumes = target is None and job.resume is not None
    recipe, place = (None, {}) if resumes else _split(target, job.runs_dir)

    def everyday(values: Mapping[str, Any]) -> dict[str, Any]:
        keys = {**where.everyday("evaluation.tokens", job.runs_dir), **elsewhere.everyday(values)}
        return {**keys, **job.everyday(), **place}

    verb = Verb(
        "evaluate",
        evaluate_job.EvaluateRecipe,
        evaluate_job.evaluate,
        evaluate_job.plan_evaluation,
        _report,
    )
    return launch(verb, recipe, everyday, job)


def _report(run: "Run", as_json: bool) -> None:
    """Print the transfer tables of a run that has some, otherwise its health reports."""
    from lmscope.cli import console
    from lmscope.cli.reports import report_run
    from lmscope.jobs.transfer_files import positions_table, read_transfer, transfer_table

    folder = run.artifacts / "transfer"
    if not folder.is_dir():
        report_run(run, as_json)
        return
    reports = {path.name: read_transfer(path) for path in sorted(folder.glob("[!.]*"))}
    if as_json:
        tables = {name: report.to_mapping() for name, report in reports.items()}
        console.print_json({"run": str(run.path), "status": run.status, "transfer": tables})
        return
    for report in reports.values():
        console.print_table(transfer_table(report))
        console.print_line("")
        console.print_table(positions_table(report))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _length(word: str) -> int:
    try:
        return parse_count(word)
    except ValueError as error:
        raise RecipeError(f"--context-lengths: {error}") from None


def _split(target: str | None, runs_dir: Path) -> tuple[str | None, dict[str, Any]]:
    """The positional as a recipe, or as the recipe key that names the dictionary."""
    from lmscope.cli.run_names import find_run, is_recipe

    if target is None:
        raise RecipeError(
            "There is nothing to evaluate: name a run (`last` for the newest) or the folder of a dictionary."
        )
    if is_recipe(target):
        return target, {}
    folder = Path(target)
    if not folder.is_dir():
        folder = find_run(target, runs_dir, holding="artifacts/dictionaries")
    return None, {"dictionary": str(folder)}
