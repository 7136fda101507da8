"""`lmscope trace`: what a prediction, a feature or an attention score of a prompt is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Group, Parameter

from lmscope.cli import console
from lmscope.cli.circuit_options import Circuit
from lmscope.cli.options import JobOptions, Switch, given
from lmscope.display.tables import Table

if TYPE_CHECKING:
    from lmscope.jobs.trace_record import TraceRecord
    from lmscope.runs.run import Run

_EXAMPLES: Final = """Example:

    lmscope trace "The capital of France is" --dictionaries last
    lmscope trace "Tom met" --dictionaries RUN --target '" Ann" - " Bo"'
    lmscope trace "a b c a b" --dictionaries RUN --target 'score 3.5 5->2'
    lmscope trace "(a (b" --dictionaries RUN --target mlp_out@2/17@-1 --sweep
    lmscope trace --prompts many.jsonl --dictionaries RUN --json

TARGET is a token (' Paris', '" Paris"' or token:123), a difference
('" Paris" - " London"' or '" Paris" - mean'), a feature (site/latent@position),
or a score ('score 3.5 8->2': head 5 of layer 3, from position 8 to 2). Tokens
and features stand at the last position unless @ says another. Without a target
the model's own top prediction is traced.

--export takes a file that ends in .graph, .json (an attribution graph for other
tools) or .graphml, or for several prompts a folder with --export-format.
"""
_SHOWN: Final = Group("What is shown", sort_key=6)


@Parameter(name="*", group=_SHOWN)
@dataclass(frozen=True)
class Shown:
    """What is shown of the circuit."""

    depth: Annotated[int, Parameter(metavar="N")] = 3
    """Levels of the tree."""
    children: Annotated[int, Parameter(metavar="N")] = 5
    """Lines below each node."""
    labels: Annotated[tuple[str, ...], Parameter(metavar="ATLAS", show_default=False)] = ()
    """Atlases that say what features mean: runs, folders or packed files. Repeatable."""
    export: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """Write the graph to a file that ends in .graph, .json or .graphml; of several prompts, a folder."""
    export_format: Literal["graph", "json", "graphml"] | None = None
    """Of the files in that folder."""


_CIRCUIT_OPTIONS: Final = Circuit()
_SHOWN_OPTIONS: Final = Shown()
_JOB: Final = JobOptions()

app = App(name="trace", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def trace(
    prompt: str | None = None,
    /,
    *,
    prompts: Annotated[str | None, Parameter(metavar="FILE")] = None,
    target: Annotated[str | None, Parameter(metavar="TARGET", allow_leading_hyphen=True)] = None,
    threshold: Annotated[float | None, Parameter(metavar="X")] = None,
    absolute: Switch = False,
    signed: Switch = False,
    sweep: Switch = False,
    unverified: Switch = False,
    circuit: Circuit = _CIRCUIT_OPTIONS,
    shown: Shown = _SHOWN_OPTIONS,
    job: JobOptions = _JOB,
) -> int:
    """Trace a target down to features, tokens and constants that sum to it.

    Args:
        prompt: The text, or a recipe (ends in .toml).
        prompts: More of them: .txt with one a line, or .jsonl with `prompt`, `target`, `name`.
        target: What is traced; see below.
        threshold: Features with a smaller share of the target are not traced further.
        absolute: The threshold is in the target's units.
        signed: Cut what lowers the target too, as published.
        sweep: Show what other thresholds leave.
        unverified: Leave out the trial of the circuit, with the features outside it silenced.
        circuit: Which dictionaries stand in which model.
        shown: What is shown.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.cli.trace_export import Export
    from lmscope.jobs import trace as trace_job

    recipe, texts = (prompt, None) if (prompt or "").endswith(".toml") else (None, prompt)
    options = {
        "prompts.texts": None if texts is None else [texts],
        "prompts.file": prompts,
        "prompts.target": target,
        "trace.threshold": threshold,
        "trace.relative": False if absolute else None,
        "trace.rule": "signed" if signed else None,
        "sweep": list(trace_job.USUAL_SWEEP) if sweep else None,
        "verify": False if unverified else None,
        "labels": [_label_source(text, job.runs_dir) for text in shown.labels] or None,
    }
    export = Export.of(shown.export, shown.export_format)

    def everyday(_recipe: Mapping[str, Any]) -> dict[str, Any]:
        return {**given(options), **circuit.everyday(job.runs_dir), **job.everyday()}

    def report(run: "Run", as_json: bool) -> None:
        if export is not None:
            export.write(run)
        _report(run, shown, as_json)

    verb = Verb("trace", trace_job.TraceRecipe, trace_job.trace, trace_job.plan_trace, report)
    return launch(verb, recipe, everyday, job)


def _report(run: "Run", shown: Shown, as_json: bool) -> None:
    from lmscope.cli.trace_tree import CircuitTree, TreeShape
    from lmscope.jobs.trace_labels import read_labels
    from lmscope.jobs.trace_record import load_graph, read_report

    found, labels = read_report(run), read_labels(run)
    graphs = {one.name: load_graph(run, one.name) for one in found.traces}
    if as_json:
        values = found.to_mapping()
        for row in values["traces"]:
            whole = graphs[row["name"]].to_mapping()
            row |= {"tokens": whole["texts"], "nodes": whole["nodes"], "edges": whole["edges"]}
        named = {str(feature): text for feature, text in labels.items()}
        console.print_json({"run": str(run.path), **values, "labels": named})
        return
    shape = TreeShape(shown.children, shown.depth)
    for i, one in enumerate(found.traces):
        if i:
            console.print_line("")
        _show(one)
        console.print_line("")
        for line in CircuitTree(graphs[one.name], labels, shape).lines():
            console.print_line(line)
        if one.faithfulness:
            console.print_line("")
            console.print_table(_faithfulness_table(one))
        if one.sweep:
            console.print_line("")
            console.print_table(_sweep_table(one))


def _show(one: "TraceRecord") -> None:
    parts = one.ledger
    names = ("tokens", "positions", "errors", "leaves", "biases", "cut")
    told = ", ".join(f"{name} {parts[name]:+.4g}" for name in names if parts[name])
    best = ", ".join(f'"{p.text}" {p.probability:.1%}' for p in one.predictions[:3])
    in_model = "" if one.model_value is None else f" ({one.model_value:.5g} in the model)"
    recovered = "—" if one.recovered is None else f"{one.recovered:.1%}"
    console.print_rows(
        [
            ("prompt", one.prompt),
            (f"after {one.position}", best),
            ("target", f"{one.target} = {one.value:.5g}{in_model}"),
            (
                "ledger",
                f"{told}; residual {parts['residual']:.1e}, at most {parts['tolerance']:.1e}",
            ),
            ("recovered", f"{recovered} from tokens and positions through what is kept"),
            (
                "circuit",
                f"{one.n_features} features kept of {one.n_reached} that add something, {one.n_edges} edges",
            ),
        ]
    )


def _faithfulness_table(one: "TraceRecord") -> Table:
    models = {"linear": "linear model", "real": "model itself"}
    rows = tuple(
        (
            models[row.where],
            row.errors,
            row.full,
            row.empty,
            row.kept,
            row.faithfulness,
            row.completeness,
        )
        for row in one.faithfulness
    )
    columns = ("in the", "errors", "target", "no feature", "circuit", "faithful", "left out")
    return Table(columns, rows, caption="What the circuit alone brings about")


def _sweep_table(one: "TraceRecord") -> Table:
    rows = tuple(
        (row.threshold, row.n_features, row.recovered, row.errors, row.cut, row.residual)
        for row in one.sweep
    )
    columns = ("threshold", "features", "recovered", "errors", "cut", "residual")
    return Table(columns, rows, caption="What other thresholds leave")


def _label_source(text: str, runs_dir: Path) -> str:
    from lmscope.cli.run_names import find_run

    return text if Path(text).exists() else str(find_run(text, runs_dir, holding="artifacts/atlas"))
