"""`lmscope lm`: a plain language model of one's own."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from lmscope.cli.numbers import Count
from lmscope.cli.options import JobOptions, given

if TYPE_CHECKING:
    from lmscope.runs.run import Run

_EXAMPLES: Final = """Example:

    lmscope lm train --dry-run
    lmscope lm train --corpus my-texts/ --layers 4 --width 256 --vocabulary 8k
    lmscope lm train garden --name my-garden
    lmscope lm train --resume RUN

What it makes is a Hugging Face folder, RUN/artifacts/model, which every other
command takes as --model.
"""
_JOB: Final = JobOptions()

app = App(
    name="lm",
    help="Train a plain language model of one's own, small enough to look through.",
    help_epilogue=_EXAMPLES,
    help_format="plaintext",
)


@app.command(name="train", help_epilogue=_EXAMPLES)
def train(
    recipe: str | None = None,
    /,
    *,
    corpus: Annotated[str | None, Parameter(metavar="TEXT")] = None,
    vocabulary: Count | None = None,
    context_length: Count | None = None,
    passes: Count | None = None,
    layers: Count | None = None,
    width: Count | None = None,
    heads: Count | None = None,
    job: JobOptions = _JOB,
) -> int:
    """Learn a tokenizer from text, train a model on it, and measure it on held-out documents.

    Args:
        recipe: A file that ends in .toml or the name of a shipped recipe; options change it.
        corpus: sample, a file or folder, hf:NAME[:SPLIT[:COLUMN]] or othello:6@20000 (games).
        vocabulary: Tokens of the tokenizer.
        context_length: Tokens of one context.
        passes: Over the text.
        layers: Of the model.
        width: Of its stream.
        heads: Of each attention layer.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.jobs import lm

    options = given(
        {
            "text.source": corpus,
            "text.vocabulary": vocabulary,
            "text.context_length": context_length,
            "text.passes": passes,
            "shape.n_layers": layers,
            "shape.d_model": width,
            "shape.n_heads": heads,
        }
    )

    def everyday(_recipe: Any) -> dict[str, Any]:
        return {**options, **job.everyday()}

    verb = Verb("lm", lm.LmRecipe, lm.train_lm, lm.plan_lm, report_lm)
    return launch(verb, recipe, everyday, job)


def report_lm(run: "Run", as_json: bool) -> None:
    """Print how well the model predicts held-out text.

    Args:
        run: One that trained a model.
        as_json: One object instead of lines.
    """
    from lmscope.cli import console
    from lmscope.jobs.lm import FOLDER, REPORT_FILE

    folder: Path = run.artifacts / FOLDER
    figures = json_format.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    values = {"run": str(run.path), "model": str(folder), **figures}
    if as_json:
        console.print_json(values)
    else:
        console.print_rows(console.flat(values))
