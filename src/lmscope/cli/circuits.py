"""`lmscope circuits`: circuits of many prompts, found in three ways, side by side at matched sizes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from lmscope.cli import console
from lmscope.cli.circuit_options import Circuit
from lmscope.cli.options import JobOptions, Switch, given
from lmscope.display.tables import Alignment, Table

if TYPE_CHECKING:
    from lmscope.evaluation.statistics import Estimate
    from lmscope.jobs.compare_circuits import Setting
    from lmscope.runs.run import Run

_EXAMPLES: Final = """Example:

    lmscope tasks write induction --n 50 > induction.jsonl
    lmscope circuits induction.jsonl
    lmscope circuits ioi.jsonl --dictionaries RUN --ablation counterfactual
    lmscope circuits induction.jsonl --dictionaries RUN --at-most 20 --json
    lmscope circuits --resume RUN

Circuits are found by hierarchical attribution, by standard attribution (largest
first, in the whole linear model) and at random, of the same sizes, and tried:
features outside them are replaced. A faithfulness of 1 brings the target back
whole, 0 as little as no feature does. CPR is the area under it over sizes (1 is
best), CMD that of what lacks to 1 (0 is best).
"""
_CIRCUIT: Final = Circuit()
_JOB: Final = JobOptions()

app = App(name="circuits", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def circuits(
    prompts: str | None = None,
    /,
    *,
    at_most: Annotated[int | None, Parameter(metavar="N")] = None,
    target: Annotated[str | None, Parameter(metavar="TARGET", allow_leading_hyphen=True)] = None,
    ablation: Literal["zero", "mean", "counterfactual"] | None = None,
    completeness: Switch = False,
    circuit: Circuit = _CIRCUIT,
    job: JobOptions = _JOB,
) -> int:
    """Try circuits of many prompts: hierarchical, standard and random ones at matched sizes.

    Args:
        prompts: A file: .jsonl with `prompt`, `target`, `counterfactual`, or .txt; or a recipe (ends in .toml).
        at_most: Only so many prompts, from the first.
        target: What is traced where a prompt has none of its own.
        ablation: What features outside a circuit become: nothing, their mean over the prompts, or what they
            are on each prompt's counterfactual.
        completeness: Try all features but the circuit, too.
        circuit: Which dictionaries stand in which model.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.jobs import compare_circuits as job_of

    is_recipe = (prompts or "").endswith(".toml")
    recipe, file = (prompts, None) if is_recipe else (None, prompts)
    options = {
        "prompts.file": None if file is None else str(Path(file)),
        "prompts.target": target,
        "at_most": at_most,
        "comparison.ablation": ablation,
        "comparison.completeness": completeness or None,
    }

    def everyday(_recipe: Mapping[str, Any]) -> dict[str, Any]:
        return {**given(options), **circuit.everyday(job.runs_dir), **job.everyday()}

    verb = Verb(
        "circuits",
        job_of.CompareCircuitsRecipe,
        job_of.compare_circuits,
        job_of.plan_circuits,
        _report,
    )
    return launch(verb, recipe, everyday, job)


def _report(run: "Run", as_json: bool) -> None:
    from lmscope.jobs.compare_circuits import read_circuits

    found = read_circuits(run)
    if as_json:
        console.print_json({"run": str(run.path), **found.to_mapping()})
        return
    for i, one in enumerate(found.settings):
        if i:
            console.print_line("")
        console.print_table(_table(one))
    if found.left_out:
        n = len(found.left_out)
        console.say(f"{n} prompts are left out: below their targets no feature fires.")


def _table(one: "Setting") -> Table:
    report, tried = one.report, one.tried
    place = "linear model" if tried.where == "linear" else "model itself"
    caption = (
        f"In the {place}, errors {tried.errors}, others by {report.options.ablation}: {report.n_prompts} prompts, "
        f"{report.n_features:.0f} features each on average"
    )
    columns = ("features", *(method.method for method in report.methods))
    rows: list[tuple[str, ...]] = [
        (f"{size:.1f} ({share:.1%})", *(_cell(m.faithfulness[i]) for m in report.methods))
        for i, (size, share) in enumerate(zip(report.sizes, report.options.fractions, strict=True))
    ]
    rows += [
        ("CPR", *(_cell(m.cpr) for m in report.methods)),
        ("CMD", *(_cell(m.cmd) for m in report.methods)),
    ]
    if report.options.completeness:
        rest: Sequence[tuple[str, ...]] = [
            (f"all but {size:.1f}", *(_cell(m.completeness[i]) for m in report.methods))
            for i, size in enumerate(report.sizes)
        ]
        rows += rest
    right: tuple[Alignment, ...] = ("right",) * len(report.methods)
    return Table(columns, tuple(rows), alignment=("left", *right), caption=caption)


def _cell(estimate: "Estimate | None") -> str:
    if estimate is None:
        return "—"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
