"""`lmscope explain`: a label for each latent of an atlas, scored on text kept for that."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Group, Parameter

from lmscope.cli.numbers import Count
from lmscope.cli.options import JobOptions, given
from lmscope.core.errors import RecipeError

if TYPE_CHECKING:
    from lmscope.runs.run import Run

_EXAMPLES: Final = """Example:

    lmscope explain last
    lmscope explain RUN --latents 500 --threshold 0.7
    lmscope explain RUN --judge llm --endpoint URL --llm NAME
    lmscope explain RUN --explainer llm --endpoint URL --llm NAME --key-env KEY

RUN is a path, a folder name, a beginning of one, or `last`: the newest that
built an atlas. The folder of one atlas will do too.
"""
_SERVER_GROUP: Final = Group("A language model behind a server", sort_key=5)


@Parameter(name="*", group=_SERVER_GROUP)
@dataclass(frozen=True)
class Server:
    """Who is asked, if a language model is; further keys are in the table `endpoint` of a recipe."""

    endpoint: Annotated[str | None, Parameter(metavar="URL")] = None
    """A server with OpenAI's chat completions, up to and without /chat/completions."""
    llm: Annotated[str | None, Parameter(metavar="NAME")] = None
    """The model, as the server calls it."""
    key_env: Annotated[str | None, Parameter(metavar="NAME")] = None
    """The environment variable that holds the key."""
    max_calls: Count | None = None
    """At most so many requests, over every start of the run."""

    def everyday(self) -> dict[str, Any]:
        """The recipe keys that were given here."""
        return given(
            {
                "endpoint.base_url": self.endpoint,
                "endpoint.model": self.llm,
                "endpoint.key_env": self.key_env,
                "endpoint.caps.n_calls": self.max_calls,
            }
        )


_SERVER: Final = Server()
_JOB: Final = JobOptions()

app = App(name="explain", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def explain(
    target: str | None = None,
    /,
    *,
    explainer: Literal["statistics", "llm"] | None = None,
    judge: Literal["rule", "llm"] | None = None,
    scorer: Annotated[tuple[str, ...], Parameter(metavar="NAME", show_default=False)] = (),
    latents: Annotated[Count | None, Parameter(metavar="N")] = None,
    threshold: Annotated[float | None, Parameter(metavar="X")] = None,
    server: Server = _SERVER,
    job: JobOptions = _JOB,
) -> int:
    """Say what the latents of an atlas mean, and how far to trust it.

    Every second context of the atlas is kept for the scores; what makes the labels reads the others.
    A label whose detection score is too low reads `not known`.

    Args:
        target: A run, the folder of one atlas, or a recipe (ends in .toml or is shipped).
        explainer: statistics counts and needs no language model; llm asks one.
        judge: Who answers for labels: rule for those of statistics, or llm.
        scorer: detection, fuzzing, intruder, simulation, and with a language model monosemanticity
            and complexity. Repeatable; detection always takes part.
        latents: Only so many, drawn at random.
        threshold: Show labels whose detection score is surely at least this; 0.5 is chance.
        server: Which language model.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.jobs import explain as explain_job

    resumes = target is None and job.resume is not None
    recipe, place = (None, {}) if resumes else _split(target, job.runs_dir)

    def everyday(_recipe: Mapping[str, Any]) -> dict[str, Any]:
        scorers = list(dict.fromkeys(("detection", *scorer))) if scorer else None
        options = given(
            {
                "explainer": explainer,
                "judge": judge,
                "scorers": scorers,
                "n_latents": latents,
                "threshold": threshold,
            }
        )
        return {**options, **server.everyday(), **job.everyday(), **place}

    verb = Verb(
        "explain",
        explain_job.ExplainRecipe,
        explain_job.explain,
        explain_job.plan_explanation,
        _report,
    )
    return launch(verb, recipe, everyday, job)


def _report(run: "Run", as_json: bool) -> None:
    """Print the scores of each atlas' labels, and the controls."""
    from lmscope.cli import console
    from lmscope.jobs.explain import read_report

    folders = sorted((run.artifacts / "labels").glob("[!.]*"))
    reports = {path.name: read_report(path) for path in folders}
    if as_json:
        labels = {name: report.to_mapping() for name, report in reports.items()}
        console.print_json({"run": str(run.path), "status": run.status, "labels": labels})
        return
    for name, report in reports.items():
        console.print_table(report.table(name))


def _split(target: str | None, runs_dir: Path) -> tuple[str | None, dict[str, Any]]:
    """The positional as a recipe, or as the recipe key that names the atlas."""
    from lmscope.cli.run_names import find_run, is_recipe

    if target is None:
        raise RecipeError(
            "There is nothing to explain: name a run that built an atlas (`last` for the newest), or the "
            "folder of one atlas."
        )
    if is_recipe(target):
        return target, {}
    path = Path(target)
    if not path.exists():
        path = find_run(target, runs_dir, holding="artifacts/atlas")
    return None, {"atlas": str(path)}
