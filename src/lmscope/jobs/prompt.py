"""Prompt: tune a soft prompt for a task through the model's scores alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field, model_validator

from lmscope.core.errors import RecipeError
from lmscope.core.protocols import Listener
from lmscope.jobs.choices import ModelChoice, load_model
from lmscope.jobs.prompt_data import PromptPlace, Split, TaskData, open_data
from lmscope.jobs.prompt_report import PromptReport, report_of
from lmscope.jobs.running import Plan, running
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.blocks import blocks_of
from lmscope.prompting.config import EvolutionConfig, ProjectionConfig, SearchConfig
from lmscope.prompting.losses import LossName
from lmscope.prompting.method import MethodConfig, build_blocks, subspaces
from lmscope.prompting.oracle import Oracle
from lmscope.prompting.scorer import ModelScorer
from lmscope.prompting.tuned_prompt import SavedPrompt, TunedPrompt
from lmscope.prompting.tuning import Tuner
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.training.checkpoint import Checkpoints

FOLDER: Final = "prompt"
"""Below `artifacts`: the tuned prompt."""
REPORT_FILE: Final = "report.json"
Count = Annotated[int, Field(ge=1)]


class PromptRecipe(Recipe):
    """What `lmscope prompt` does."""

    job: Literal["prompt"] = "prompt"
    name: str = "prompt"
    model: ModelChoice = ModelChoice(dtype="float32")
    data: TaskData
    place: PromptPlace = PromptPlace()
    method: MethodConfig = MethodConfig()
    projection: ProjectionConfig = ProjectionConfig()
    search: SearchConfig = EvolutionConfig()
    loss: LossName = "cross_entropy"
    n_calls: Count = 1000
    """Calls at most: a call is one candidate on all training examples."""
    checkpoint_every: Count = 10
    """Generations between two checkpoints."""

    @model_validator(mode="before")
    @classmethod
    def _usual_search(cls, values: Any) -> Any:
        """A table `search` without a kind is an evolution strategy."""
        search = values.get("search") if isinstance(values, Mapping) else None
        if not isinstance(search, Mapping) or "kind" in search:
            return values
        return {**values, "search": {"kind": "evolution", **search}}


class Tuned(NamedTuple):
    """What came of it.

    Attributes:
        run: Its folder.
        report: What the prompt does on the test examples, beside the manual one.
    """

    run: Run
    report: PromptReport


def tune_prompt(
    recipe: PromptRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> Tuned:
    """Search a soft prompt, choose it by held-out examples, and measure it on others.

    The run holds `artifacts/prompt`, which `SavedPrompt.load` opens, with the report beside it.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with, begun with the same recipe.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
        KeyboardInterrupt: It was stopped; its state is saved.
    """
    with running(recipe, root, listeners, resume) as (run, stop):
        model = load_model(recipe.model, run)
        _check_model(model)
        run.event("phase", phase="read")
        split = open_data(recipe.data, recipe.place, model)
        _tell_left_out(run, split)
        tuner, record = _prepare(recipe, model, split)
        checkpoints = Checkpoints(run.checkpoints)
        checkpoint = checkpoints.latest()
        if run.record.n_resumed:
            run.rewind(0 if checkpoint is None else checkpoint.step)
        if checkpoint is not None:
            tuner.resume(checkpoint)
        run.event("phase", phase="tune")
        done = tuner.run(
            listener=run,
            checkpoints=checkpoints,
            every_generations=recipe.checkpoint_every,
            stop=lambda: stop.requested,
        )
        if not done:
            stop.raise_if_requested()
        saved = _chosen(tuner, record)
        run.event("phase", phase="evaluate")
        report = report_of(model, split, saved, tuner.oracle, seed=recipe.seed)
        saved.save(run.artifacts / FOLDER)
        report.save(run.artifacts / REPORT_FILE)
        run.event("result", name="prompt", figures=report.figures())
    return Tuned(run, report)


def plan_prompt(recipe: PromptRecipe) -> Plan:
    """What a run would ask for; reads the model and the examples, asks nothing of them."""
    from lmscope.jobs.running import Silent

    model = load_model(recipe.model, Silent())
    _check_model(model)
    split = open_data(recipe.data, recipe.place, model)
    blocks = blocks_of(recipe.method.kind, model.n_layers, recipe.method.group)
    popsize = _popsize(recipe)
    n_generations = recipe.n_calls // popsize
    return Plan(
        {
            "model": model.name,
            "task": split.task.name,
            "form": split.form_name,
            "n_train": len(split.train.rows),
            "n_dev": len(split.dev.rows),
            "n_test": 0 if split.test is None else len(split.test.rows),
            "n_prompt": len(split.train.prompt),
            "n_blocks": len(blocks),
            "n_numbers": len(blocks) * recipe.projection.d_subspace,
            "calls_per_generation": popsize,
            "n_generations": n_generations,
            "generations_per_block": n_generations // len(blocks),
            "n_calls": n_generations * popsize,
        }
    )


def _popsize(recipe: PromptRecipe) -> int:
    search = recipe.search
    if search.kind == "evolution":
        return search.n_candidates(recipe.projection.d_subspace)
    return search.popsize if search.kind == "random" else 1


def _check_model(model: LanguageModel) -> None:
    if not model.has_logits:
        raise RecipeError(
            f"{model.name} has no language-model head, so it scores no words: choose a model that has one."
        )


def _tell_left_out(run: Run, split: Split) -> None:
    parts = {"train": split.train, "dev": split.dev, "test": split.test}
    for name, rows in parts.items():
        if rows is not None and rows.n_too_long:
            message = f"{rows.n_too_long} {name} examples are too long and were left out."
            run.event("message", message=message)


def _prepare(
    recipe: PromptRecipe, model: LanguageModel, split: Split
) -> tuple[Tuner, dict[str, Any]]:
    spaces = subspaces(
        model, split.train, recipe.method, recipe.projection, recipe.search, recipe.seed
    )
    oracle = Oracle(
        train=ModelScorer(model, split.train),
        dev=ModelScorer(model, split.dev),
        n_calls=recipe.n_calls,
        loss=recipe.loss,
        metric=split.task.metric,
    )
    search = build_blocks(spaces, recipe.method, recipe.search)
    record = {
        "model": model.name,
        "weights_hash": model.weights_hash,
        "task": split.task,
        "form": split.form_name,
        "prompt": split.train.prompt,
        "spaces": spaces,
    }
    return Tuner(search, oracle, recipe.method.chosen), record


def _chosen(tuner: Tuner, record: dict[str, Any]) -> SavedPrompt:
    chosen = tuner.chosen
    assert chosen is not None
    found = TunedPrompt(
        **record,
        n_calls=chosen.n_asked,
        dev_metric=chosen.score.metric,
        dev_loss=chosen.score.loss,
    )
    return SavedPrompt(found, chosen.numbers)
