"""Bench: a dictionary on its model, ready for questions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.activations.stream import ActivationStream
from lmscope.core.errors import ArtifactError, did_you_mean
from lmscope.core.protocols import Listener
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.dictionaries.latent_statistics import LatentStatistics
from lmscope.dictionaries.storage import read_config
from lmscope.jobs.choices import load_model, open_text
from lmscope.jobs.evaluate import EvaluateRecipe, evaluation_task
from lmscope.jobs.evaluation_task import EvaluationTask
from lmscope.jobs.known_norms import norms_by
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.text.worlds.source import fewer_games

CALIBRATION_TOKENS = 4096
"""Training tokens from which median norms are estimated, unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A dictionary that was found, and what it belongs to; neither its weights nor its model are loaded.

    Attributes:
        name: The dictionary's name.
        folder: Where it lies.
        config: What it is.
        task: Its model, and the text that it was trained on.
        max_activation: The largest activation of each latent on held-out text; None if none was kept.
    """

    name: str
    folder: Path
    config: DictionaryConfig
    task: EvaluationTask
    max_activation: Float[Tensor, "latent"] | None


@dataclass(frozen=True, eq=False)
class Bench:
    """A dictionary on its model.

    Attributes:
        subject: Which dictionary.
        model: Its model, or another one of the same shape.
        dictionary: On the model's device.
        exclusion: Which positions stay clean and do not count.
    """

    subject: Subject
    model: LanguageModel
    dictionary: Dictionary
    exclusion: Exclusion

    @property
    def name(self) -> str:
        """The dictionary's name."""
        return self.subject.name

    @property
    def max_activation(self) -> Float[Tensor, "latent"] | None:
        """The largest activation of each latent on held-out text; None if none was kept."""
        return self.subject.max_activation


def find_subject(
    path: Path | str,
    *,
    name: str | None = None,
    model: str | None = None,
    device: str | None = None,
) -> Subject:
    """Find a dictionary and what it belongs to.

    Args:
        path: A run that trained dictionaries, or the folder of one.
        name: Which of the run's dictionaries.
        model: Another model of the same shape.
        device: Another device than the one it was trained on.

    Raises:
        ArtifactError: There is no dictionary, or several and no name.
        RecipeError: A dictionary without a run does not say which model it belongs to.
    """
    values = {"model": {k: v for k, v in (("name", model), ("device", device)) if v is not None}}
    task = evaluation_task(EvaluateRecipe.from_mapping({**values, "dictionary": str(path)}))
    chosen = _chosen(task.dictionaries, name, path)
    folder = task.dictionaries[chosen]
    statistics = Path(path) / "artifacts" / "health" / chosen / "latents.safetensors"
    largest = LatentStatistics.load(statistics).max_activation if statistics.is_file() else None
    return Subject(chosen, folder, read_config(folder), task, largest)


def open_bench(
    subject: Subject,
    listener: Listener,
    *,
    calibration_tokens: int = CALIBRATION_TOKENS,
    exclusion: Exclusion | None = None,
) -> Bench:
    """Load a dictionary with its model, and find out which positions are outliers.

    Args:
        subject: Which dictionary.
        listener: Hears of the phases.
        calibration_tokens: Training tokens from which median norms are estimated; 0: the text is not
            read, and outliers are steered like any other position.
        exclusion: Which positions are outliers, where that is known; nothing is estimated then.

    Raises:
        LmscopeError: The dictionary, the model or the text cannot be read.
    """
    dictionary = Dictionary.load(subject.folder)
    model = load_model(subject.task.model, listener)
    dictionary = dictionary.to(model.device)
    check_fits(model, dictionary)
    if exclusion is None:
        sites = (subject.config.read_site, subject.config.write_site)
        exclusion = measured_exclusion(subject.task, model, sites, listener, calibration_tokens)
    return Bench(subject, model, dictionary, exclusion)


@torch.no_grad()
def measured_exclusion(
    task: EvaluationTask,
    model: LanguageModel,
    sites: Iterable[Site],
    listener: Listener,
    n_tokens: int = CALIBRATION_TOKENS,
) -> Exclusion:
    """The one mask with median norms of the training side, from fewer tokens than a training takes.

    What was measured once on this machine, of the same weights and text, is not measured again.

    Args:
        task: Whose training text is read.
        model: Reads it.
        sites: Where norms are measured, all from one reading.
        listener: Hears of the phase.
        n_tokens: 0: the text is not read, and no outlier is told.

    Raises:
        DataError: The text cannot be read.
    """
    if not n_tokens:
        return Exclusion()
    listener.on_event("phase", {"phase": "calibrate"})
    # A game has more than one token, and the first games are the same however many there are.
    source = fewer_games(task.text.source, n_tokens)
    few = task.text.model_copy(update={"source": source})
    text = open_text(few, model, seed=task.seed, held_out_tokens=0)
    options = task.stream.model_copy(update={"calibration_tokens": n_tokens, "store": "none"})
    chosen = sorted(set(sites))

    def measure() -> dict[Site, float]:
        stream = ActivationStream(model, text.train, chosen, options=options, seed=task.seed)
        try:
            return {site: one.median_norm for site, one in stream.calibration.items()}
        finally:
            stream.close()

    facts = {
        "weights": model.weights_hash,
        "computed_in": [str(model.dtype), model.device.type],
        "text": text.train.fingerprint,
        "stream": options.to_mapping(),
        "seed": task.seed,
    }
    return Exclusion(norms_by(facts, chosen, measure))


def _chosen(found: Mapping[str, Path], name: str | None, path: Path | str) -> str:
    if name is None and len(found) == 1:
        return next(iter(found))
    if name is None:
        raise ArtifactError(
            f"'{path}' holds {len(found)} dictionaries ({', '.join(list(found)[:5])}"
            f"{', ...' if len(found) > 5 else ''}): say which one with --dictionary."
        )
    if name not in found:
        raise ArtifactError(f"'{path}' holds no dictionary '{name}'.{did_you_mean(name, found)}")
    return name
