"""Measure trained dictionaries again, or somewhere else: longer contexts, other text, another model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from lmscope.activations.config import StreamConfig
from lmscope.activations.stream import ActivationStream
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.protocols import Listener
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.jobs.choices import EvaluationChoice, ModelChoice, TextChoice, load_model, open_text
from lmscope.jobs.examiner import Examiner
from lmscope.jobs.reports import write_health
from lmscope.jobs.running import Plan, running
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run


class OtherModel(Config):
    """What to change of the model that the dictionary was trained on; absent keys stay."""

    name: str | None = None
    """A catalog name, a local folder, a .gguf file, or a Hugging Face id."""
    device: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None


class OtherText(Config):
    """What to change of the text that the dictionary was trained on; absent keys stay."""

    source: str | None = None
    """`sample`, a file, folder or glob, or `hf:NAME[@CONFIG][:SPLIT[:COLUMN]]`."""
    column: str | None = None
    separator: str | None = None
    chat: bool | None = None
    """Whether rows hold `messages`, to be put through the model's chat template."""
    context_length: Annotated[int, Field(ge=2)] | None = None
    held_out_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None


class EvaluateRecipe(Recipe):
    """What `lmscope evaluate` does."""

    job: Literal["evaluate"] = "evaluate"
    name: str = "evaluate"
    dictionary: str
    """A run that trained dictionaries, or the folder of one dictionary."""
    model: OtherModel = OtherModel()
    text: OtherText = OtherText()
    evaluation: EvaluationChoice = EvaluationChoice()


@dataclass(frozen=True)
class _Task:
    """What a recipe comes to, once what it leaves out is filled in from the training run."""

    dictionaries: dict[str, Path]
    model: ModelChoice
    text: TextChoice
    stream: StreamConfig
    seed: int
    """Of the training: which documents are held out, and which of the others are read first."""


def evaluate(
    recipe: EvaluateRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> Run:
    """Measure dictionaries on held-out text; what training saw stays out if the text is the same.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: An evaluation to go on with; dictionaries that it measured are not measured again.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    task = _task(recipe)
    trained = {name: Dictionary.load(path) for name, path in task.dictionaries.items()}
    with running(recipe, root, listeners, resume) as (run, stop):
        model = load_model(task.model, run)
        run.note_weights({model.name: model.weights_hash})
        for dictionary in trained.values():
            check_fits(model, dictionary.to(model.device))
        choice = recipe.evaluation
        run.event("phase", phase="text", source=task.text.source)
        text = open_text(task.text, model, seed=task.seed, held_out_tokens=choice.tokens)
        sites = {s for d in trained.values() for s in (d.config.read_site, d.config.write_site)}
        stream = ActivationStream(
            model, text.train, sorted(sites), options=task.stream, seed=task.seed
        )
        run.event("phase", phase="calibrate")
        examiner = Examiner(model, text, stream, choice, recipe.seed)
        for name, dictionary in trained.items():
            stop.raise_if_requested()
            if not (run.artifacts / "health" / name).exists():
                write_health(run, name, examiner.measure(name, dictionary, run))
    return run


def plan_evaluation(recipe: EvaluateRecipe) -> Plan:
    """What `evaluate` would do; reads the dictionaries' configurations only."""
    task = _task(recipe)
    return Plan(
        {
            "dictionaries": ", ".join(task.dictionaries),
            "model": task.model.name,
            "text": task.text.source,
            "context_length": task.text.context_length,
            "tokens": recipe.evaluation.tokens,
            "scored_tokens": recipe.evaluation.scored_tokens,
        }
    )


def trained_dictionaries(path: Path | str) -> dict[str, Path]:
    """The dictionary folders of a run, or the one folder itself, by name.

    Raises:
        ArtifactError: There is no dictionary.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        return {path.resolve().name: path}
    folder = path / "artifacts" / "dictionaries"
    found = sorted(p for p in folder.glob("[!.]*") if p.is_dir())  # .*: a write that was cut off
    if not found:
        reason = (
            "its training has not ended" if (path / "run.json").exists() else "nothing is there"
        )
        raise ArtifactError(
            f"'{path}' holds no dictionary ({reason}): give a run that trained some, or the folder of one."
        )
    return {p.name: p for p in found}


def _task(recipe: EvaluateRecipe) -> _Task:
    if not recipe.evaluation.tokens:
        raise RecipeError("evaluation.tokens is 0: there is nothing to measure.")
    path = Path(recipe.dictionary)
    dictionaries = trained_dictionaries(path)
    trained_by = Run.open(path).recipe_values if (path / "run.json").is_file() else {}
    text = TextChoice.from_mapping(
        {**trained_by.get("text", {}), **recipe.text.to_mapping()}, "text"
    )
    return _Task(
        dictionaries,
        ModelChoice.from_mapping(_model_values(trained_by, dictionaries, recipe), "model"),
        text,
        _stream(trained_by, text.context_length),
        int(trained_by.get("seed", recipe.seed)),
    )


def _stream(trained_by: dict[str, Any], context_length: int) -> StreamConfig:
    """The training's stream; with contexts of another length, as many tokens a block and a pass."""
    # Read once and only in part: nothing is worth keeping, and no later pass comes.
    values = {**trained_by.get("stream", {}), "store": "none"}
    stream = StreamConfig.from_mapping(values, "stream")
    trained_length = trained_by.get("text", {}).get("context_length", context_length)
    sizes = {
        key: max(1, getattr(stream, key) * trained_length // context_length)
        for key in ("block_contexts", "forward_contexts")
    }
    return stream.model_copy(update=sizes)


def _model_values(
    trained_by: dict[str, Any], dictionaries: dict[str, Path], recipe: EvaluateRecipe
) -> dict[str, Any]:
    values = {**trained_by.get("model", {}), **recipe.model.to_mapping()}
    if "name" not in values:
        path = next(iter(dictionaries.values()))
        values["name"] = Dictionary.load(path).config.model
        if values["name"] is None:
            raise RecipeError(f"'{path}' does not say which model it belongs to: give --model.")
    return values
