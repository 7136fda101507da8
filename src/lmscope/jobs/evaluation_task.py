"""EvaluationTask: what an evaluation comes to, once what its recipe leaves out is filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lmscope.activations.config import StreamConfig
from lmscope.activations.stream import ActivationStream
from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.choices import EvaluationChoice, ModelChoice, Sides, TextChoice
from lmscope.models.language_model import LanguageModel
from lmscope.models.run_models import MAKERS, unfinished
from lmscope.runs.commands import command_of
from lmscope.runs.record import RECORD_FILE
from lmscope.runs.run import Run


@dataclass(frozen=True)
class EvaluationTask:
    """Which dictionaries are measured, and where.

    Attributes:
        dictionaries: Folders by name.
        model: Whose activations.
        text: What it reads.
        stream: How training activations are read, for baselines and norms.
        evaluation: How much is measured.
        seed: Of the training: which documents are held out, and which of the others are read first.
    """

    dictionaries: dict[str, Path]
    model: ModelChoice
    text: TextChoice
    stream: StreamConfig
    evaluation: EvaluationChoice
    seed: int

    def on(self, model: str) -> "EvaluationTask":
        """The same task on another model."""
        return replace(self, model=self.model.model_copy(update={"name": model}))

    def at(self, context_length: int) -> "EvaluationTask":
        """The same task on contexts of another length, as many tokens of each a pass."""
        size = self.evaluation.batch_contexts * self.text.context_length // context_length
        return replace(
            self,
            text=self.text.model_copy(update={"context_length": context_length}),
            evaluation=self.evaluation.model_copy(update={"batch_contexts": max(1, size)}),
        )

    def load_dictionaries(self) -> dict[str, Dictionary]:
        """The dictionaries themselves, on the CPU."""
        return {name: Dictionary.load(path) for name, path in self.dictionaries.items()}

    def open_stream(
        self, model: LanguageModel, text: Sides, dictionaries: Mapping[str, Dictionary]
    ) -> ActivationStream:
        """Training activations at every site that the dictionaries read or write."""
        configs = [dictionary.config for dictionary in dictionaries.values()]
        sites = {site for config in configs for site in (config.read_site, config.write_site)}
        return ActivationStream(
            model, text.train, sorted(sites), options=self.stream, seed=self.seed
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
        raise ArtifactError(f"'{path}' holds no dictionary{_why_none(path)}")
    return {p.name: p for p in found}


def _why_none(path: Path) -> str:
    """Why a folder holds no dictionary, and what to do: the rest of a sentence."""
    if not (path / RECORD_FILE).exists():
        return " (nothing is there): give a run that trained some, or the folder of one."
    run = Run.open(path)
    if run.status != "done" and run.record.job in (*MAKERS, "train"):
        return f": {unfinished(run)}."
    if run.record.job in MAKERS:
        return f" but a model: train some with `lmscope train --model {path}` and name that run."
    return (
        f" (it is a run of `lmscope {command_of(run.record.job)}`): give a run that trained some."
    )
