"""Measure trained dictionaries again, or somewhere else: longer contexts, other text, another model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from lmscope.activations.config import StreamConfig
from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.core.protocols import Listener
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.evaluation.positions import check_context_length
from lmscope.jobs.choices import (
    Count,
    EvaluationChoice,
    ModelChoice,
    TextChoice,
    load_model,
    open_text,
)
from lmscope.jobs.evaluation_task import EvaluationTask, trained_dictionaries
from lmscope.jobs.examiner import Examiner
from lmscope.jobs.reports import write_health
from lmscope.jobs.running import Plan, PlanValue, running
from lmscope.jobs.transfer import Transfer, TransferChoice, conditions
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal


class OtherModel(Config):
    """What to change of the model that the dictionary was trained on; absent keys stay."""

    name: str | None = None
    """A catalog name, a local folder, a .gguf file, or a Hugging Face id."""
    device: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None


class OtherText(Config):
    """What to change of the text that the dictionary was trained on; absent keys stay."""

    source: str | None = None
    """`sample`, a file, folder or glob, `hf:NAME[@CONFIG][:SPLIT[:COLUMN]]`, or games: `othello:6[@20000]`."""
    column: str | None = None
    separator: str | None = None
    chat: bool | None = None
    """Whether rows hold `messages`, to be put through the model's chat template."""
    context_length: Annotated[int, Field(ge=2)] | None = None
    held_out_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None


class OtherBootstrap(Config):
    """What to change of how the training run made intervals; absent keys stay."""

    n_resamples: Count | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_units: Count | None = None


class OtherEvaluation(Config):
    """What to change of how much the training run measured; absent keys stay.

    For the folder of one dictionary, which belongs to no run, absent keys are those of a new
    training, e.g. 100,000 tokens; so are the tokens when the training run measured nothing.
    """

    tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens on which latents and reconstruction are measured."""
    scored_tokens: Annotated[int, Field(ge=0)] | None = None
    """Of these, tokens on which the model's loss is measured; 0: none."""
    batch_contexts: Count | None = None
    """Contexts of one forward pass; absent: as many tokens as the training run measured at once."""
    baseline_tokens: Count | None = None
    """Training tokens to which the baselines are fitted."""
    bootstrap: OtherBootstrap = OtherBootstrap()


class EvaluateRecipe(Recipe):
    """What `lmscope evaluate` does."""

    job: Literal["evaluate"] = "evaluate"
    name: str = "evaluate"
    dictionary: str
    """A run that trained dictionaries, or the folder of one dictionary."""
    model: OtherModel = OtherModel()
    text: OtherText = OtherText()
    evaluation: OtherEvaluation = OtherEvaluation()
    transfer: TransferChoice | None = None
    """If given, the conditions to compare with the one that the other keys give, which is home."""


def evaluate(
    recipe: EvaluateRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> Run:
    """Measure dictionaries on held-out text; what training saw stays out if the text is the same.

    The run holds `artifacts/health/NAME`, or with a `transfer` table `artifacts/transfer/NAME`.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: An evaluation to go on with; what it measured is not measured again.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    task = evaluation_task(recipe)
    with running(recipe, root, listeners, resume) as (run, stop):
        if recipe.transfer is None:
            _measure(task, recipe.seed, run, stop)
        else:
            Transfer(task, recipe.transfer, recipe.seed, run, stop).go()
    return run


def _measure(task: EvaluationTask, seed: int, run: Run, stop: StopSignal) -> None:
    trained = task.load_dictionaries()
    model = load_model(task.model, run)
    run.note_weights({model.name: model.weights_hash})
    check_context_length(model, task.text.context_length)
    for dictionary in trained.values():
        check_fits(model, dictionary.to(model.device))
    run.event("phase", phase="text", source=task.text.source)
    text = open_text(task.text, model, seed=task.seed, held_out_tokens=task.evaluation.tokens)
    stream = task.open_stream(model, text, trained)
    run.event("phase", phase="calibrate")
    examiner = Examiner(model, text, stream, task.evaluation, seed)
    for name, dictionary in trained.items():
        stop.raise_if_requested()
        if not (run.artifacts / "health" / name).exists():
            write_health(run, name, examiner.measure(name, dictionary, run))


def plan_evaluation(recipe: EvaluateRecipe) -> Plan:
    """What `evaluate` would do; reads the dictionaries' configurations only."""
    task = evaluation_task(recipe)
    values: dict[str, PlanValue] = {
        "dictionaries": ", ".join(task.dictionaries),
        "model": task.model.name,
        "text": task.text.source,
        "context_length": task.text.context_length,
        "tokens": task.evaluation.tokens,
        "scored_tokens": task.evaluation.scored_tokens,
    }
    if recipe.transfer is not None:
        for number, condition in enumerate(conditions(task, recipe.transfer)):
            values[f"row_{number}"] = str(condition)
    return Plan(values)


def evaluation_task(recipe: EvaluateRecipe) -> EvaluationTask:
    """The recipe with what it leaves out taken from the run that trained the dictionaries.

    Raises:
        ArtifactError: There is no dictionary.
        RecipeError: A dictionary without a run does not say which model it belongs to.
    """
    if recipe.evaluation.tokens == 0:
        raise RecipeError("evaluation.tokens is 0: there is nothing to measure.")
    path = Path(recipe.dictionary)
    dictionaries = trained_dictionaries(path)
    trained_by = Run.open(path).recipe_values if (path / "run.json").is_file() else {}
    text = TextChoice.from_mapping(
        {**trained_by.get("text", {}), **recipe.text.to_mapping()}, "text"
    )
    return EvaluationTask(
        dictionaries,
        ModelChoice.from_mapping(_model_values(trained_by, dictionaries, recipe), "model"),
        text,
        _stream(trained_by, text.context_length),
        _evaluation(trained_by, recipe.evaluation, text.context_length),
        int(trained_by.get("seed", recipe.seed)),
    )


def _evaluation(
    trained_by: Mapping[str, Any], changes: OtherEvaluation, context_length: int
) -> EvaluationChoice:
    """The training's amounts; with contexts of another length, as many tokens at once."""
    values = dict(trained_by.get("evaluation", {}))
    if not values.get("tokens"):
        values.pop("tokens", None)
    asked = changes.to_mapping()
    values["bootstrap"] = {**values.get("bootstrap", {}), **asked.pop("bootstrap")}
    choice = EvaluationChoice.from_mapping({**values, **asked}, "evaluation")
    if changes.batch_contexts is not None:
        return choice
    size = choice.batch_contexts * _trained_length(trained_by, context_length) // context_length
    return choice.model_copy(update={"batch_contexts": max(1, size)})


def _stream(trained_by: Mapping[str, Any], context_length: int) -> StreamConfig:
    """The training's stream; with contexts of another length, as many tokens a block and a pass."""
    # Read once and only in part: nothing is worth keeping, and no later pass comes.
    values = {**trained_by.get("stream", {}), "store": "none"}
    stream = StreamConfig.from_mapping(values, "stream")
    trained_length = _trained_length(trained_by, context_length)
    sizes = {
        key: max(1, getattr(stream, key) * trained_length // context_length)
        for key in ("block_contexts", "forward_contexts")
    }
    return stream.model_copy(update=sizes)


def _trained_length(trained_by: Mapping[str, Any], otherwise: int) -> int:
    return trained_by.get("text", {}).get("context_length", otherwise)


def _model_values(
    trained_by: Mapping[str, Any], dictionaries: dict[str, Path], recipe: EvaluateRecipe
) -> dict[str, Any]:
    values = {**trained_by.get("model", {}), **recipe.model.to_mapping()}
    if "name" not in values:
        path = next(iter(dictionaries.values()))
        values["name"] = Dictionary.load(path).config.model
        if values["name"] is None:
            raise RecipeError(f"'{path}' does not say which model it belongs to: give --model.")
    return values
