"""`lmscope trace`: what a prediction, a feature or an attention score of a prompt is made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from lmscope.cli.circuit_options import Circuit
from lmscope.cli.options import JobOptions, Switch, given
from lmscope.cli.trace_options import Shown, Together, Tried

if TYPE_CHECKING:
    from lmscope.jobs.trace import TraceRecipe
    from lmscope.runs.run import Run

_EXAMPLES: Final = """Example:

    lmscope trace "The king and the queen went to the"
    lmscope trace "The capital of France is" --dictionaries last
    lmscope trace "Tom met" --dictionaries RUN --target '" Ann" - " Bo"'
    lmscope trace "a b c a b" --dictionaries RUN --target 'score 3.5 5->2'
    lmscope trace "(a (b" --dictionaries RUN --target mlp_out@2/17@-1 --sweep
    lmscope trace --prompts many.jsonl --dictionaries RUN --together

TARGET is a token (' Paris', '" Paris"' or token:123), a difference
('" Paris" - " London"' or '" Paris" - mean'), a feature (site/latent@position),
a score ('score 3.5 8->2': head 5 of layer 3, from position 8 to 2), or a
difference of scores ('score 3.5 8->2 - 8->4' or 'score 3.5 8->2 - mean').
Tokens and features stand at the last position unless @ says another. Without a
target the model's own top prediction is traced.

--export takes a file that ends in .graph, .json (an attribution graph for other
tools) or .graphml, or for several prompts a folder with --export-format.
"""

_CIRCUIT_OPTIONS: Final = Circuit()
_TRIED_OPTIONS: Final = Tried()
_TOGETHER_OPTIONS: Final = Together()
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
    circuit: Circuit = _CIRCUIT_OPTIONS,
    tried: Tried = _TRIED_OPTIONS,
    together: Together = _TOGETHER_OPTIONS,
    shown: Shown = _SHOWN_OPTIONS,
    job: JobOptions = _JOB,
) -> int:
    """Trace a target down to features, tokens and constants that sum to it.

    Args:
        prompt: The text, or a recipe (ends in .toml).
        prompts: More of them: .txt with one a line, or .jsonl with `prompt`, `target`, `counterfactual`,
            `name`.
        target: What is traced; see below.
        threshold: Features with a smaller share of the target are not traced further.
        absolute: The threshold is in the target's units.
        signed: Cut what lowers the target too, as published.
        sweep: Show what other thresholds leave.
        circuit: Which dictionaries stand in which model.
        tried: How the circuit is tried.
        together: What is made of the circuits of many prompts.
        shown: What is shown.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.cli.trace_export import Export
    from lmscope.cli.trace_report import print_report
    from lmscope.jobs import trace as trace_job
    from lmscope.jobs.trace_prompts import read_prompts

    recipe, texts = (prompt, None) if (prompt or "").endswith(".toml") else (None, prompt)
    options = {
        "prompts.texts": None if texts is None else [texts],
        "prompts.file": prompts,
        "prompts.target": target,
        "trace.threshold": threshold,
        "trace.relative": False if absolute else None,
        "trace.rule": "signed" if signed else None,
        "sweep": list(trace_job.USUAL_SWEEP) if sweep else None,
        "labels": [_label_source(text, job.runs_dir) for text in shown.labels] or None,
    }
    export = Export.of(shown.export, shown.export_format)

    def everyday(_recipe: Mapping[str, Any]) -> dict[str, Any]:
        own = {**given(options), **tried.everyday(), **together.everyday()}
        return {**own, **circuit.everyday(job.runs_dir), **job.everyday()}

    def report(run: "Run", as_json: bool) -> None:
        if export is not None:
            export.write(run)
        print_report(run, shown, as_json)

    def run(recipe: "TraceRecipe", **how: Any) -> "Run":
        if export is not None:
            export.check(len(read_prompts(recipe.prompts)))
        return trace_job.trace(recipe, **how)

    verb = Verb("trace", trace_job.TraceRecipe, run, trace_job.plan_trace, report)
    return launch(verb, recipe, everyday, job)


def _label_source(text: str, runs_dir: Path) -> str:
    from lmscope.cli.run_names import find_run

    return text if Path(text).exists() else str(find_run(text, runs_dir, holding="artifacts/atlas"))
