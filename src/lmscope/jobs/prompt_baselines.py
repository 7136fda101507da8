"""Baselines of a tuned prompt: other ways to use the same model, examples and budget, on the same test examples."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError, did_you_mean
from lmscope.core.files import write_text
from lmscope.core.protocols import Listener, Tokenizer
from lmscope.core.rng import numpy_generator
from lmscope.display.tables import Table
from lmscope.evaluation.statistics import BootstrapOptions, Estimate
from lmscope.jobs.choices import load_model
from lmscope.jobs.memory import available_bytes
from lmscope.jobs.prompt import PromptRecipe
from lmscope.jobs.prompt_data import PromptPlace, Split, open_data
from lmscope.jobs.prompt_report import Arm, arm_of, estimate_of
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.baselines.arms import Material, Outcome, run_baseline
from lmscope.prompting.baselines.config import BASELINES, USUAL, BaselineConfig, BaselineName
from lmscope.prompting.baselines.gradient import Goal
from lmscope.prompting.baselines.passes import without_labels
from lmscope.prompting.losses import MetricName
from lmscope.text.tasks.choices.example import content_free
from lmscope.text.tasks.choices.rendering import PromptRows, Special, render
from lmscope.text.tasks.choices.words import encode


class MeasuredBaseline(Config):
    """One baseline on the test examples."""

    name: BaselineName
    test: Arm
    less_manual: Estimate | None = None
    """Its metric less the manual prompt's, on the same examples."""
    n_calls: int
    """Passes over the training examples; a backward pass counts as two."""
    n_dev_calls: int
    flops: float
    """Of the layers, before the first test example."""
    flops_per_example: float
    """Of the layers, for one test example."""
    chosen: dict[str, float]
    """What was fitted or found."""


class BaselineReport(Config):
    """All that were measured."""

    model: str
    task: str
    labels: tuple[str, ...]
    metric: MetricName
    n_train: int
    n_dev: int
    n_test: int
    n_calls: int
    """The budget: calls of the search that they stand beside."""
    baselines: tuple[MeasuredBaseline, ...]

    def table(self) -> Table:
        """One row for each baseline."""
        columns = ("baseline", self.metric, "less manual", "loss", "calls", "dev calls")
        rows = tuple(
            (
                one.name,
                str(one.test.metric),
                None if one.less_manual is None else str(one.less_manual),
                str(one.test.loss),
                one.n_calls,
                one.n_dev_calls,
                f"{one.flops:.3g}",
                f"{one.flops_per_example:.3g}",
            )
            for one in self.baselines
        )
        caption = f"{self.task}: {self.n_test} test examples, a budget of {self.n_calls} calls"
        return Table((*columns, "FLOPs", "FLOPs an example"), rows, caption=caption)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(self.to_mapping(), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "BaselineReport":
        """Read it."""
        return cls.from_mapping(json.loads(path.read_text(encoding="utf-8")), f"'{path}'")


def measure_baselines(
    recipe: PromptRecipe,
    names: Sequence[str],
    listener: Listener,
    *,
    config: BaselineConfig = BaselineConfig(),  # noqa: B008 (a frozen value)
    bootstrap: BootstrapOptions = BootstrapOptions(),  # noqa: B008 (a frozen value)
) -> BaselineReport:
    """Measure baselines on a recipe's test examples, with its model, training and dev examples and budget.

    Random search is none of these: it is `lmscope prompt` with `search.kind = "random"`.

    Args:
        recipe: What a prompt is tuned by.
        names: Which baselines; none means all but fine-tuning, which takes several times the model's memory.
        listener: Follows it.
        config: Their settings.
        bootstrap: How intervals are made, over test examples.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    chosen = _known(names)
    if recipe.data.test is None:
        raise RecipeError(
            "Baselines are measured on test examples, and the recipe names none: give data.test."
        )
    listener.on_event("phase", {"phase": "read"})
    model = load_model(recipe.model, listener)
    if not model.has_logits:
        raise RecipeError(
            f"{model.name} has no language-model head, so it scores no words: choose a model that has one."
        )
    split = open_data(recipe.data, recipe.place, model)
    material = prepare(model, split, recipe, config)
    listener.on_event("phase", {"phase": "evaluate"})
    found: dict[BaselineName, Outcome] = {}
    for name in dict.fromkeys(("manual", *chosen)):  # the others are compared with it
        found[name] = run_baseline(name, material, listener)
        listener.on_progress("baselines", len(found), len({"manual", *chosen}), {})
    return _report(model, split, recipe, chosen, found, bootstrap)


def prepare(
    model: LanguageModel, split: Split, recipe: PromptRecipe, config: BaselineConfig
) -> Material:
    """What baselines are given: all of a recipe's data but the classes of its test examples.

    Raises:
        RecipeError: There are no test examples.
        DataError: A text that says nothing, or the separator, cannot be put into the model's tokens.
    """
    if split.test is None:
        raise RecipeError("Baselines are measured on test examples, and there are none.")
    tokenizer = cast("Tokenizer", model.tokenizer)
    return Material(
        model=model,
        goal=Goal(split.train, split.dev, recipe.loss, split.task.metric),
        test=without_labels(split.test),
        empty=_empty(model, split, recipe.place),
        special=Special.of(model.tokenizer, is_causal=model.is_causal),
        separator=encode(tokenizer, config.in_context.separator),
        n_calls=recipe.n_calls,
        seed=recipe.seed,
        config=config,
        memory_bytes=available_bytes(model.device),
    )


def _empty(model: LanguageModel, split: Split, place: PromptPlace) -> PromptRows:
    return render(
        split.form,
        content_free(split.task),
        cast("Tokenizer", model.tokenizer),
        Special.of(model.tokenizer, is_causal=model.is_causal),
        prompt=split.train.prompt,
        max_length=place.max_length or model.max_positions,
        too_long="cut",
    )


def _known(names: Sequence[str]) -> tuple[BaselineName, ...]:
    if unknown := [name for name in names if name not in BASELINES]:
        raise RecipeError(
            f"No baseline is called '{unknown[0]}': choose among {', '.join(BASELINES)}."
            f"{did_you_mean(unknown[0], BASELINES)}"
        )
    return tuple(name for name in BASELINES if name in (names or USUAL))


def _report(
    model: LanguageModel,
    split: Split,
    recipe: PromptRecipe,
    chosen: Sequence[BaselineName],
    found: dict[BaselineName, Outcome],
    bootstrap: BootstrapOptions,
) -> BaselineReport:
    assert split.test is not None
    labels = torch.tensor([row.label for row in split.test.rows])
    n, metric = len(labels), split.task.metric
    rng = numpy_generator(recipe.seed, "prompt-report")  # the draws of the tuned prompt's report
    draws = torch.from_numpy(rng.integers(0, n, (bootstrap.n_resamples, n)))
    manual, manual_values = arm_of(found["manual"].scores.cpu(), labels, metric, draws, bootstrap)
    measured = []
    for name in chosen:
        outcome = found[name]
        arm, values = arm_of(outcome.scores.cpu(), labels, metric, draws, bootstrap)
        gap = arm.metric.value - manual.metric.value
        less = estimate_of(gap, values - manual_values, n, bootstrap)
        measured.append(
            MeasuredBaseline(
                name=name,
                test=arm,
                less_manual=None if name == "manual" else less,
                n_calls=outcome.n_calls,
                n_dev_calls=outcome.n_dev_calls,
                flops=outcome.flops,
                flops_per_example=outcome.test_flops / n,
                chosen=dict(outcome.chosen),
            )
        )
    return BaselineReport(
        model=model.name,
        task=split.task.name,
        labels=split.task.labels,
        metric=metric,
        n_train=len(split.train.rows),
        n_dev=len(split.dev.rows),
        n_test=n,
        n_calls=recipe.n_calls,
        baselines=tuple(measured),
    )
