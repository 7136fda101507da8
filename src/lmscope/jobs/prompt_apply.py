"""Tell the class of texts with a tuned prompt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.core.protocols import Listener, Tokenizer
from lmscope.display.tables import Table
from lmscope.jobs.choices import ModelChoice, load_model
from lmscope.jobs.prompt import FOLDER, PromptRecipe
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import score_rows
from lmscope.prompting.tuned_prompt import SavedPrompt
from lmscope.runs.run import Run
from lmscope.text.tasks.choices.example import ChoiceExample
from lmscope.text.tasks.choices.rendering import Special, render


class Told(Config):
    """What was told of one text."""

    text: str
    label: str
    probabilities: dict[str, float]
    """Of the classes, by name."""
    manual_label: str
    """What the manual prompt says."""
    manual_probabilities: dict[str, float]


class Applied(Config):
    """What was told of all texts."""

    run: str
    task: str
    texts: tuple[Told, ...]

    def table(self) -> Table:
        """One row a text."""
        rows = tuple(
            (
                one.text,
                one.label,
                f"{one.probabilities[one.label]:.3f}",
                one.manual_label,
                f"{one.manual_probabilities[one.manual_label]:.3f}",
            )
            for one in self.texts
        )
        return Table(("text", "tuned", "probability", "manual", "its probability"), rows)


def apply_prompt(
    path: Path,
    texts: Sequence[str],
    fields: Mapping[str, str],
    listener: Listener,
    *,
    device: str | None = None,
) -> Applied:
    """Tell the class of texts.

    Args:
        path: A run of `lmscope prompt`.
        texts: Each the field `text` of an example.
        fields: Other fields, the same for all.
        listener: Follows it.
        device: Where the model runs; None as in the run.

    Raises:
        ArtifactError: The run made no prompt.
        DataError: A field of the task is missing, or one is given that it has not got.
        ModelError: The model cannot be loaded, or its weights are others.
    """
    saved = SavedPrompt.load(path / "artifacts" / FOLDER)
    recipe = PromptRecipe.from_mapping(Run.open(path).recipe_values, f"run '{path}'")
    task = saved.record.task
    _check_fields(task.fields, fields, task.name)
    chosen = recipe.model.to_mapping() | ({} if device is None else {"device": device})
    model = load_model(ModelChoice.from_mapping(chosen), listener)
    saved.check_model(model)
    rows = render(
        task.form(saved.record.form),
        [ChoiceExample({"text": text, **fields}, 0) for text in texts],
        cast("Tokenizer", model.tokenizer),
        Special.of(model.tokenizer, is_causal=model.is_causal),
        prompt=saved.record.prompt,
        max_length=recipe.place.max_length or model.max_positions,
        too_long="cut",
    )
    both = score_rows(model, rows, (saved.prompts(), Prompts({})))
    tuned, manual = both.double().softmax(-1).tolist()
    told = []
    for text, one, other in zip(texts, tuned, manual, strict=True):
        mine, its = (
            dict(zip(task.labels, one, strict=True)),
            dict(zip(task.labels, other, strict=True)),
        )
        told.append(
            Told(
                text=text,
                label=max(mine, key=lambda name: mine[name]),
                probabilities=mine,
                manual_label=max(its, key=lambda name: its[name]),
                manual_probabilities=its,
            )
        )
    return Applied(run=str(path), task=task.name, texts=tuple(told))


def _check_fields(wanted: Sequence[str], given: Mapping[str, str], task: str) -> None:
    others = [name for name in wanted if name != "text"]
    if missing := [name for name in others if name not in given]:
        raise DataError(
            f"An example of '{task}' has the fields {', '.join(wanted)}, and '{missing[0]}' is missing: add "
            f"--field {missing[0]}=TEXT."
        )
    if unknown := [name for name in given if name not in others]:
        raise DataError(
            f"An example of '{task}' has the fields {', '.join(wanted)} and no other '{unknown[0]}': leave it out."
        )
