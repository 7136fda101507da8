"""`lmscope prompt`: soft prompts found through a model's scores alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from lmscope.cli.numbers import Count
from lmscope.cli.options import JobOptions, Switch, given

if TYPE_CHECKING:
    from lmscope.jobs.prompt import Tuned

_EXAMPLES: Final = """Example:

    lmscope prompt --task sst2 --train train.txt --test test.txt
    lmscope prompt --task sst2 --train train.txt --method bbtv2 --group 5 \\
        --calls 6k --set projection.alpha=0.2
    lmscope prompt my-recipe.toml --dry-run
    lmscope prompt apply RUN "A film to remember."
    lmscope prompt compare RUN RUN
    lmscope prompt baselines RUN
    lmscope prompt tasks
"""
_JOB: Final = JobOptions()

app = App(
    name="prompt",
    help="Tune soft prompts for a task through the model's scores alone, and use them.",
    help_epilogue=_EXAMPLES,
    help_format="plaintext",
)


@app.default
def tune(
    recipe: str | None = None,
    /,
    *,
    task: Annotated[str | None, Parameter(metavar="NAME")] = None,
    form: Annotated[str | None, Parameter(metavar="NAME")] = None,
    train: Annotated[str | None, Parameter(metavar="FILE")] = None,
    dev: Annotated[str | None, Parameter(metavar="FILE")] = None,
    test: Annotated[str | None, Parameter(metavar="FILE")] = None,
    shots: Annotated[int | None, Parameter(metavar="N")] = None,
    model: Annotated[str | None, Parameter(metavar="NAME")] = None,
    device: Annotated[str | None, Parameter(metavar="NAME")] = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    method: Literal["bbt", "bbtv2", "joint"] | None = None,
    group: Annotated[int | None, Parameter(metavar="N")] = None,
    calls: Count | None = None,
    job: JobOptions = _JOB,
) -> int:
    """Search numbers that make a soft prompt, choose the best on held-out examples, and measure it on others.

    Args:
        recipe: A file that ends in .toml; options change it.
        task: A task that ships (see `lmscope prompt tasks`), or a .toml file of one.
        form: One of its forms: causal, postfix or masked.
        train: A file or hf:NAME:SPLIT from which examples are drawn.
        dev: Examples to choose by; absent: drawn from --train too.
        test: Examples to measure on, which nothing is chosen by.
        shots: Examples of each class to train on, and as many to choose by; 0: all.
        model: Catalog name, local folder, run that trained a model, .gguf file or Hugging Face id.
        device: auto, cpu, cuda or cuda:1.
        dtype: In which the model computes.
        method: bbt steers the lowest layer's input, bbtv2 each layer's in turn, joint all at once.
        group: Layers that bbtv2 steers together.
        calls: Candidates to try, each on all training examples.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.cli.run_names import model_name
    from lmscope.jobs import prompt

    options = given(
        {
            "data.task": task,
            "data.form": form,
            "data.train": train,
            "data.dev": dev,
            "data.test": test,
            "data.n_each": shots,
            "model.name": model_name(model, job.runs_dir),
            "model.device": device,
            "model.dtype": dtype,
            "method.kind": method,
            "method.group": group,
            "n_calls": calls,
        }
    )

    def everyday(_recipe: Any) -> dict[str, Any]:
        return {**options, **job.everyday()}

    verb = Verb(
        "prompt", prompt.PromptRecipe, prompt.tune_prompt, prompt.plan_prompt, report_prompt
    )
    return launch(verb, recipe, everyday, job)


def report_prompt(tuned: "Tuned", as_json: bool) -> None:
    """Print what the prompt does beside the manual one.

    Args:
        tuned: What came of the search.
        as_json: One object instead of lines.
    """
    from lmscope.cli import console
    from lmscope.jobs.prompt import FOLDER

    values = {"run": str(tuned.run.path), "prompt": str(tuned.run.artifacts / FOLDER)}
    figures = tuned.report.figures()
    if as_json:
        console.print_json({**values, **figures})
        return
    left_out = ("manual", "tuned", "difference", "labels")
    shown = {key: value for key, value in figures.items() if key not in left_out}
    console.print_rows(console.flat({**values, **shown}))
    if tuned.report.n_test:
        console.print_line("")
        console.print_table(tuned.report.table())


@app.command(
    name="apply",
    help_epilogue='Example:\n\n    lmscope prompt apply RUN "A film to remember."\n    lmscope prompt apply RUN --field text_b="It rains." "It is wet."\n',
)
def apply(
    run: str,
    /,
    *texts: str,
    field: Annotated[tuple[str, ...], Parameter(metavar="NAME=TEXT", show_default=False)] = (),
    device: Annotated[str | None, Parameter(metavar="NAME")] = None,
    runs_dir: Annotated[Path, Parameter(metavar="FOLDER")] = Path("runs"),
    json: Switch = False,
) -> int:
    """Tell the class of texts with a tuned prompt, and what the manual prompt would say.

    Args:
        run: One of `lmscope prompt`, or `last`.
        texts: Each is one example.
        field: Another text of the examples by its name, the same for all. Repeatable.
        device: auto, cpu, cuda or cuda:1.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    from lmscope.cli import console
    from lmscope.cli.failures import DONE
    from lmscope.cli.progress import ProgressListener
    from lmscope.cli.run_names import find_run
    from lmscope.core.errors import RecipeError
    from lmscope.jobs.prompt import FOLDER
    from lmscope.jobs.prompt_apply import apply_prompt

    fields = dict(_named(text) for text in field)
    if not texts:
        raise RecipeError("There is no text to tell the class of: write one or more after the run.")
    path = find_run(run, runs_dir, holding=f"artifacts/{FOLDER}")
    with ProgressListener(console.stderr()) as listener:
        found = apply_prompt(path, texts, fields, listener, device=device)
    if json:
        console.print_json(found.to_mapping())
    else:
        console.print_table(found.table())
    return DONE


@app.command(name="compare", help_epilogue="Example:\n\n    lmscope prompt compare RUN RUN\n")
def compare(
    *runs: str,
    runs_dir: Annotated[Path, Parameter(metavar="FOLDER")] = Path("runs"),
    json: Switch = False,
) -> int:
    """Lay runs of one task beside each other: what they cost and what they gave.

    Args:
        runs: Two or more of `lmscope prompt`; the first is what others are compared with.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    from lmscope.cli import console
    from lmscope.cli.failures import DONE
    from lmscope.cli.run_names import find_run
    from lmscope.jobs.prompt import FOLDER
    from lmscope.jobs.prompt_comparison import compare_prompts

    paths = [find_run(run, runs_dir, holding=f"artifacts/{FOLDER}") for run in runs]
    found = compare_prompts(paths)
    if json:
        console.print_json(found.to_mapping())
    else:
        console.print_table(found.table())
    return DONE


@app.command(
    name="baselines",
    help_epilogue="Example:\n\n    lmscope prompt baselines RUN\n    lmscope prompt baselines RUN --only label_bias --out baselines.json\n",
)
def baselines(
    run: str,
    /,
    *,
    only: Annotated[tuple[str, ...], Parameter(metavar="NAME", show_default=False)] = (),
    device: Annotated[str | None, Parameter(metavar="NAME")] = None,
    out: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    runs_dir: Annotated[Path, Parameter(metavar="FOLDER")] = Path("runs"),
    json: Switch = False,
) -> int:
    """Measure other ways to use the model, examples and budget of a run, on the same test examples.

    Args:
        run: One of `lmscope prompt`, or `last`.
        only: manual, label_bias, contextual, prototype, in_context, gradient, gradient_deep or fine_tuning;
            absent: all but the last. Repeatable.
        device: auto, cpu, cuda or cuda:1.
        out: Write everything to this file too.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    from lmscope.cli import console
    from lmscope.cli.failures import DONE
    from lmscope.cli.progress import ProgressListener
    from lmscope.cli.run_names import find_run
    from lmscope.jobs.prompt import FOLDER, PromptRecipe
    from lmscope.jobs.prompt_baselines import measure_baselines
    from lmscope.runs.run import Run

    path = find_run(run, runs_dir, holding=f"artifacts/{FOLDER}")
    values = Run.open(path).recipe_values
    if device is not None:
        values = {**values, "model": {**values.get("model", {}), "device": device}}
    recipe = PromptRecipe.from_mapping(values, f"run '{path}'")
    with ProgressListener(console.stderr()) as listener:
        found = measure_baselines(recipe, only, listener)
    if out is not None:
        found.save(out)
    if json:
        console.print_json(found.to_mapping())
    else:
        console.print_table(found.table())
    return DONE


@app.command(name="tasks", help_epilogue="Example:\n\n    lmscope prompt tasks\n")
def tasks(*, json: Switch = False) -> int:
    """List the tasks that ship: their classes, forms and files.

    Args:
        json: Print one JSON object to stdout.
    """
    from lmscope.cli import console
    from lmscope.cli.failures import DONE
    from lmscope.display.tables import Table
    from lmscope.text.tasks.choices.finding import find_choice_task, shipped_choice_tasks

    found = [find_choice_task(name) for name in shipped_choice_tasks()]
    if json:
        console.print_json({task.name: task.to_mapping() for task in found})
        return DONE
    rows = tuple(
        (task.name, task.language, len(task.labels), task.metric, ", ".join(task.forms), task.title)
        for task in found
    )
    columns = ("task", "language", "classes", "metric", "forms", "what")
    console.print_table(Table(columns, rows))
    return DONE


def _named(text: str) -> tuple[str, str]:
    from lmscope.core.errors import RecipeError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise RecipeError(f"'{text}' is no field: write NAME=TEXT, e.g. --field text_b='It rains.'")
    return name, value
