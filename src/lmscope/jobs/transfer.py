"""Measure dictionaries under several conditions and compare each with home."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from lmscope.core.config import Config
from lmscope.core.errors import ModelError
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.dictionaries.transfer import Measured, Weights, measured, transfer_report
from lmscope.evaluation.positions import WithinDocuments, check_context_length
from lmscope.evaluation.rows import TextContexts
from lmscope.jobs.choices import Sides, load_model, open_text
from lmscope.jobs.evaluation_task import EvaluationTask
from lmscope.jobs.examiner import Examiner
from lmscope.jobs.running import Silent
from lmscope.jobs.transfer_files import (
    draw_positions,
    read_measured,
    write_measured,
    write_transfer,
)
from lmscope.models.language_model import LanguageModel
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal


class TransferChoice(Config):
    """Which conditions are compared with home: every model on contexts of every length."""

    context_lengths: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Tokens of one context; home's own length always comes too."""
    models: tuple[str, ...] = ()
    """Models of the same family and shape, e.g. fine-tuned ones; home's own always comes first."""
    within_documents: bool = False
    """Whether only contexts that lie within one document are measured, at home too. Otherwise packed
    contexts attend across documents, as in training."""

    @model_validator(mode="after")
    def _compares_something(self) -> "TransferChoice":
        if not self.context_lengths and not self.models:
            raise ValueError(
                "there is nothing to compare with home: give context_lengths or models"
            )
        return self


@dataclass(frozen=True)
class Condition:
    """One row of the table.

    Attributes:
        number: Its place, from 0; 0 is home.
        model: As it is loaded.
        context_length: Tokens.
    """

    number: int
    model: str
    context_length: int

    def __str__(self) -> str:
        home = " (home)" if self.number == 0 else ""
        return f"{self.model} on contexts of {self.context_length}{home}"


def conditions(task: EvaluationTask, choice: TransferChoice) -> tuple[Condition, ...]:
    """Every condition once, home first."""
    home = task.text.context_length
    lengths = dict.fromkeys((home, *choice.context_lengths))
    models = dict.fromkeys((task.model.name, *choice.models))
    pairs = [(model, length) for model in models for length in lengths]
    return tuple(Condition(number, *pair) for number, pair in enumerate(pairs))


class Shape(NamedTuple):
    """What two models must share for a dictionary of one to be put into the other."""

    family: str
    n_layers: int
    d_model: int

    @classmethod
    def of(cls, model: LanguageModel) -> "Shape":
        """A model's."""
        return cls(model.family.name, model.n_layers, model.d_model)

    def __str__(self) -> str:
        return f"{self.family} with {self.n_layers} layers of width {self.d_model}"


class Transfer:
    """One execution of a transfer table in a run folder.

    Norms, outliers and baselines are found once for each model, on contexts of home's length: so two
    lengths differ in nothing else. Each condition is kept as soon as it is measured.

    Args:
        task: The dictionaries, and home.
        choice: The other conditions.
        seed: The recipe's.
        run: Where results go.
        stop: Polled before each condition.
    """

    def __init__(
        self, task: EvaluationTask, choice: TransferChoice, seed: int, run: Run, stop: StopSignal
    ) -> None:
        self.task, self.choice, self.seed = task, choice, seed
        self.run, self.stop = run, stop
        self.conditions = conditions(task, choice)
        self.trained = task.load_dictionaries()

    def go(self) -> None:
        """Measure the conditions that are left, then compare."""
        by_model: dict[str, list[Condition]] = {}
        for condition in self.conditions:
            by_model.setdefault(condition.model, []).append(condition)
        if any(self._left(name, self.conditions) for name in self.trained):
            self._check_models(by_model)
        for model, rows in by_model.items():
            if any(self._left(name, rows) for name in self.trained):
                self._measure(model, rows)
        for name, dictionary in self.trained.items():
            self._compare(name, dictionary)

    def _check_models(self, by_model: Mapping[str, list[Condition]]) -> None:
        """Load each model once before anything is measured: a wrong one should not be found at the end."""
        home: Shape | None = None
        for name, rows in by_model.items():
            model = load_model(self.task.on(name).model, Silent())
            self.run.note_weights({name: model.weights_hash})
            shape = Shape.of(model)
            home = home or shape
            if shape != home:
                raise ModelError(
                    f"'{model.name}' is {shape}, but '{self.task.model.name}' is {home}: a dictionary can only "
                    "be moved to a model of the same family and shape."
                )
            for row in rows:
                check_context_length(model, row.context_length)
            for dictionary in self.trained.values():
                check_fits(model, dictionary.to(model.device))

    def _measure(self, name: str, rows: list[Condition]) -> None:
        task = self.task.on(name)
        model = load_model(task.model, self.run)
        self.run.event("phase", phase="text", source=task.text.source)
        text = self._open_text(task, model)
        self.run.event("phase", phase="calibrate")
        stream = task.open_stream(model, text, self.trained)
        examiner = Examiner(model, text, stream, task.evaluation, self.seed)
        for dictionary_name, dictionary in self.trained.items():
            left = self._left(dictionary_name, rows)
            if not left:
                continue
            self.stop.raise_if_requested()
            baselines = examiner.baselines(dictionary_name, dictionary, self.run)
            for row in left:
                self.stop.raise_if_requested()
                here = task.at(row.context_length)
                examination = examiner.examine(
                    dictionary_name,
                    dictionary,
                    baselines,
                    self._contexts(here, model),
                    here.evaluation,
                    self.run,
                )
                found = measured(examination, text.held_out.fingerprint, is_packed=model.is_causal)
                self._keep(dictionary_name, row, found)

    def _open_text(self, task: EvaluationTask, model: LanguageModel) -> Sides:
        return open_text(task.text, model, seed=task.seed, held_out_tokens=task.evaluation.tokens)

    def _contexts(self, task: EvaluationTask, model: LanguageModel) -> TextContexts:
        """Held-out contexts of the task's length: the first tokens, as many for every length."""
        if not self.choice.within_documents:
            return self._open_text(task, model).held_out
        whole = open_text(task.text, model, seed=task.seed, held_out_tokens=0).held_out
        n_contexts = max(1, task.evaluation.tokens // task.text.context_length)
        return WithinDocuments(whole, n_contexts)

    def _keep(self, name: str, row: Condition, found: Measured) -> None:
        write_measured(self._place(name, row), found)
        self.run.event("result", name=f"{name} / {row}", figures=found.report.headline())

    def _compare(self, name: str, dictionary: Dictionary) -> None:
        config = dictionary.config
        report = transfer_report(
            name,
            Weights(model=config.model, model_hash=config.model_hash),
            [read_measured(self._place(name, row)) for row in self.conditions],
            within_documents=self.choice.within_documents,
            options=self.task.evaluation.bootstrap,
            seed=self.seed,
        )
        folder = self.run.artifacts / "transfer" / name
        if not folder.exists():
            write_transfer(folder, report)
        if find_spec("matplotlib"):
            draw_positions(self.run.artifacts / "plots" / f"positions-{name}.png", report)

    def _left(self, name: str, rows: "tuple[Condition, ...] | list[Condition]") -> list[Condition]:
        return [row for row in rows if not self._place(name, row).exists()]

    def _place(self, name: str, row: Condition) -> Path:
        return self.run.artifacts / "conditions" / name / f"{row.number:02d}"
