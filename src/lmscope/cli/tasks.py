"""`lmscope tasks`: prompts with known answers, and how well a model does on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from lmscope.cli import console
from lmscope.cli.circuit_options import dictionary_source
from lmscope.cli.failures import DONE
from lmscope.cli.numbers import Count
from lmscope.cli.options import Switch
from lmscope.cli.progress import ProgressListener
from lmscope.cli.run_names import model_name
from lmscope.display.tables import Table

if TYPE_CHECKING:
    from lmscope.text.tasks.task import Example

_EXAMPLES: Final = """Example:

    lmscope tasks list
    lmscope tasks show ioi --n 3
    lmscope tasks score --model gemma3-270m-q4
    lmscope tasks write induction --n 50 > induction.jsonl
    lmscope trace --prompts induction.jsonl
    lmscope tasks bracket-features

Answers are one token each for the model that is named (absent: `garden`, which
comes with lmscope), so its prompts are its own: name the model that you trace.
"""
_GARDEN: Final = "garden"

app = App(name="tasks", help_epilogue=_EXAMPLES, help_format="plaintext")

Model = Annotated[str, Parameter(metavar="NAME")]


@app.command(name="list", help_epilogue="Example:\n\n    lmscope tasks list --json\n")
def list_tasks(*, json: Switch = False) -> int:
    """List the tasks.

    Args:
        json: Print one JSON object to stdout.
    """
    from lmscope.text.tasks.catalog import TASKS

    facts = [{"name": t.name, "what": t.what, "source": t.source} for t in TASKS.values()]
    if json:
        console.print_json({"tasks": facts})
    else:
        rows = tuple((one["name"], one["what"], one["source"]) for one in facts)
        console.print_table(Table(("name", "what is to be done", "source"), rows))
    return DONE


@app.command(name="show", help_epilogue="Example:\n\n    lmscope tasks show brackets --n 5\n")
def show(
    name: str, /, *, model: Model = _GARDEN, n: Count = 3, seed: int = 0, json: Switch = False
) -> int:
    """Show some prompts of a task with what goes on rightly and wrongly.

    Args:
        name: A name that `lmscope tasks list` shows.
        model: Whose tokens: a catalog name, a local folder, a .gguf file or a Hugging Face id.
        n: So many.
        seed: Names the draw.
        json: Print one JSON object to stdout.
    """
    examples = _examples(name, model, n, seed)
    if json:
        rows = [example.to_mapping() for example in examples]
        console.print_json({"task": name, "model": model, "seed": seed, "examples": rows})
        return DONE
    for i, example in enumerate(examples):
        if i:
            console.print_line("")
        console.print_rows(_lines(example))
    return DONE


@app.command(
    name="write", help_epilogue="Example:\n\n    lmscope tasks write ioi --n 50 > ioi.jsonl\n"
)
def write(name: str, /, *, model: Model = _GARDEN, n: Count = 50, seed: int = 0) -> int:
    """Write prompts of a task to stdout, one JSON object a line, as `lmscope trace --prompts` reads them.

    Args:
        name: A name that `lmscope tasks list` shows.
        model: Whose tokens: a catalog name, a local folder, a .gguf file or a Hugging Face id.
        n: So many.
        seed: Names the draw.
    """
    import json

    from lmscope.text.tasks.task import prompt_row

    for i, example in enumerate(_examples(name, model, n, seed)):
        row = prompt_row(example, f"{name} {i:03d}")
        console.print_line(json.dumps(row, ensure_ascii=False))
    return DONE


@app.command(
    name="score", help_epilogue="Example:\n\n    lmscope tasks score ioi induction --n 50\n"
)
def score(
    *names: str,
    model: Model = _GARDEN,
    n: Count = 100,
    seed: int = 0,
    device: Annotated[str, Parameter(metavar="NAME")] = "auto",
    json: Switch = False,
) -> int:
    """Measure how well a model does tasks by itself.

    Args:
        names: Tasks; none: all of them. Those that the model's tokens do not allow are named and left out.
        model: A catalog name, a local folder, a .gguf file or a Hugging Face id.
        n: Prompts of each.
        seed: Names the draw, and the resamples of the intervals.
        device: auto, cpu, cuda or cuda:1.
        json: Print one JSON object to stdout.
    """
    from lmscope.jobs.task_accuracy import TaskChoice, score_tasks

    choice = {
        "model": {"name": model, "device": device, "dtype": "float32"},
        "tasks": list(names),
        "n": n,
        "seed": seed,
    }
    with ProgressListener(console.stderr()) as listener:
        found = score_tasks(TaskChoice.from_mapping(choice, "the command"), listener)
    if json:
        console.print_json(found.to_mapping())
        return DONE
    console.print_table(found.table())
    for name, reason in found.left_out.items():
        console.print_line(f"{name}: {reason}")
    return DONE


@app.command(
    name="bracket-features",
    help_epilogue="Example:\n\n    lmscope tasks bracket-features\n    lmscope tasks bracket-features --dictionaries last\n",
)
def bracket_features(
    *,
    dictionaries: Annotated[tuple[str, ...], Parameter(metavar="RUN", show_default=False)] = (),
    only: Annotated[tuple[str, ...], Parameter(metavar="NAME", show_default=False)] = (),
    model: Annotated[str | None, Parameter(metavar="NAME")] = None,
    n: Count = 200,
    best: Count = 1,
    seed: int = 0,
    runs_dir: Annotated[Path, Parameter(metavar="FOLDER")] = Path("runs"),
    json: Switch = False,
) -> int:
    """Find latents that know in which brackets a token stands, and how deep.

    Args:
        dictionaries: A run, `last`, a folder or hf:owner/repo; absent: those that come with lmscope.
            Repeatable.
        only: Take only these of them: a name or a pattern such as 'mlp_norm-*'. Repeatable.
        model: Another model than the one that they were trained on.
        n: Texts; half of them choose latents and thresholds, the others judge.
        best: Dictionaries shown of each label.
        seed: Names the draw of the texts.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    from lmscope.jobs.bracket_features import BracketChoice
    from lmscope.jobs.bracket_features import bracket_features as find

    sources = [dictionary_source(text, runs_dir) for text in dictionaries]
    values = {
        "dictionaries": {"sources": sources, "only": list(only)},
        "model": {} if model is None else {"name": model_name(model, runs_dir)},
        "n_texts": n,
        "seed": seed,
    }
    with ProgressListener(console.stderr()) as listener:
        found = find(BracketChoice.from_mapping(values, "the command"), listener)
    if json:
        console.print_json(found.to_mapping())
    else:
        console.print_table(found.table(best))
    return DONE


def _examples(name: str, model: str, n: int, seed: int) -> "tuple[Example, ...]":
    from lmscope.models.language_model import LanguageModel
    from lmscope.text.tasks.catalog import find_task, make_examples

    find_task(name)  # before a model is loaded in vain
    tokenizer: Any = LanguageModel.load(model, device="cpu").tokenizer
    return make_examples(name, tokenizer, n, seed)


def _lines(example: "Example") -> list[tuple[str, str]]:
    several = len(example.answers) > 1 or len(example.wrongs) > 1
    rows = [
        ("prompt", example.prompt),
        ("target", example.target),
        ("compared with", example.counterfactual),
        ("form", example.kind),
    ]
    if several:
        rows.insert(2, ("right", " ".join(example.answers)))
        rows.insert(3, ("wrong", " ".join(example.wrongs)))
    return rows
