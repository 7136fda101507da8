"""Which dictionaries stand in a circuit's model: found, chosen, and what they belong to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from lmscope.activations.config import StreamConfig
from lmscope.atlas.finding import atlas_names
from lmscope.core import shipped
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RecipeError, did_you_mean
from lmscope.core.site import Site
from lmscope.dictionaries import storage
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats import source
from lmscope.dictionaries.formats.format import Given
from lmscope.jobs.choices import EvaluationChoice, ModelChoice, TextChoice
from lmscope.jobs.evaluate import EvaluateRecipe, OtherModel, evaluation_task
from lmscope.jobs.evaluation_task import EvaluationTask
from lmscope.models.language_model import LanguageModel
from lmscope.runs.artifact import read_manifest
from lmscope.runs.record import RECORD_FILE

NONE: Final = "none"
"""In the place of a dictionary: a circuit without any."""


class CircuitDictionaries(Config):
    """Which dictionaries stand in the model."""

    sources: tuple[str, ...] = ()
    """Runs that trained some, folders of dictionaries in any known format, names on the hub
    (`hf:owner/repo[/sub][@revision]`), or `none`; absent: those that come with lmscope, of `garden`
    where no model is named."""
    only: tuple[str, ...] = ()
    """Names, or patterns of names (`mlp_norm-*`), of those that are taken; absent: all."""
    calibration_tokens: Annotated[int, Field(ge=0)] = 4096
    """Text from which it is told at which positions activations are outliers, where dictionaries do not
    stand; 0 reads none."""
    other_model: bool = False
    """Whether the model may have other weights than those that the dictionaries were trained on."""


@dataclass(frozen=True, eq=False)
class FoundDictionary:
    """A dictionary that was found.

    Attributes:
        name: Its name, unique in a circuit.
        config: What it is.
        folder: Where it lies, in the native format; None where it was read in another one.
        content_digest: Of its folder; None likewise.
        loaded: The dictionary itself, where it had to be read to know it.
    """

    name: str
    config: DictionaryConfig
    folder: Path | None = None
    content_digest: str | None = None
    loaded: Dictionary | None = None

    def load(self) -> Dictionary:
        """The dictionary, on the CPU.

        Raises:
            ArtifactError: It is damaged.
        """
        if self.loaded is not None:
            return self.loaded
        assert self.folder is not None
        return Dictionary.load(self.folder)


@dataclass(frozen=True, eq=False)
class CircuitParts:
    """A model and dictionaries that go together; neither weights are loaded.

    Attributes:
        model: The model.
        dictionaries: In forward order of the sites that they write.
        task: The text that they were trained on; None without dictionaries.
        atlases: Runs among their sources that hold atlases of them too.
    """

    model: ModelChoice
    dictionaries: tuple[FoundDictionary, ...]
    task: EvaluationTask | None
    atlases: tuple[str, ...] = ()

    def sites(self) -> dict[str, Site]:
        """The sites that are written, by dictionary name and by their own text."""
        return {
            key: one.config.write_site
            for one in self.dictionaries
            for key in (one.name, str(one.config.write_site))
        }

    def labelled_by(self, given: Sequence[str]) -> tuple[str, ...]:
        """The atlases that say what features mean: those given, else those beside the dictionaries."""
        return tuple(given) or self.atlases

    def names(self) -> dict[Site, tuple[str, str]]:
        """Name and content digest by the site that is written; the digest is empty where unknown."""
        return {
            one.config.write_site: (one.name, one.content_digest or "") for one in self.dictionaries
        }


def find_parts(
    choice: CircuitDictionaries, model: OtherModel, *, several: bool = False
) -> CircuitParts:
    """Find what a circuit is made of; reads configurations only, but dictionaries of other formats whole.

    Args:
        choice: The dictionaries.
        model: What to change of the model that they were trained on.
        several: Whether one site may have several dictionaries, which a circuit cannot have.

    Raises:
        ArtifactError: There is no dictionary, or two write the same site.
        RecipeError: None was named for a model that has none in lmscope, none is left, or nobody says which
            model they belong to.
    """
    sources = choice.sources or _shipped_for(model)
    if NONE in sources:
        if len(sources) > 1 or choice.only:
            raise RecipeError(f"`{NONE}` stands for no dictionary at all: leave the others out.")
        return CircuitParts(ModelChoice.from_mapping(model.to_mapping(), "model"), (), None)
    found: list[FoundDictionary] = []
    tasks: list[EvaluationTask] = []
    for given in sources:
        name = found_or_shipped(given)
        more, task = _native(name, model) if _is_native(name) else _foreign(name, model)
        found += more
        tasks.append(task)
    chosen = _chosen(found, choice.only)
    if not several:
        _check_sites(chosen)
    _check_models(tasks, sources)
    ordered = sorted(chosen, key=lambda one: one.config.write_site)
    own = {one.name for one in ordered}
    runs = map(found_or_shipped, sources)
    atlases = tuple(run for run in runs if own.intersection(atlas_names(run)))
    return CircuitParts(tasks[0].model, tuple(ordered), tasks[0], atlases)


def check_weights(
    model: LanguageModel, dictionaries: Iterable[FoundDictionary], *, other_model: bool
) -> None:
    """Refuse dictionaries that were trained on other weights.

    Args:
        model: The model.
        dictionaries: With the hash of the weights that each was trained on, where it is known.
        other_model: Whether other weights are meant.

    Raises:
        ArtifactError: They were, and that is not meant.
    """
    for one in dictionaries:
        trained_on = one.config.model_hash
        if trained_on in (None, model.weights_hash) or other_model:
            continue
        raise ArtifactError(
            f"'{one.name}' was trained on '{one.config.model}' (weights {str(trained_on)[:12]}), not on '{model.name}' "
            f"(weights {model.weights_hash[:12]}): name that model, or say --other-model to trace this one with it."
        )


def _shipped_for(model: OtherModel) -> tuple[str, ...]:
    name = model.name or shipped.GARDEN
    if name in shipped.STUDIED:
        return (name,)
    raise RecipeError(
        f"No dictionary of '{model.name}' was named: give a run that trained some (`last` for the newest), a folder, "
        f"a name on the hub (hf:owner/repo), or `{NONE}` to trace without features."
    )


def found_or_shipped(name: str) -> str:
    """A source of dictionaries as it was named; what comes with lmscope by its folder."""
    own = None if Path(name).exists() else shipped.shipped_run(name)
    return name if own is None else str(own)


def _is_native(name: str) -> bool:
    path = Path(name)
    if name.startswith("hf:") or not path.exists():
        return False
    one = path / "manifest.json"
    return (path / RECORD_FILE).is_file() or (one.is_file() and (path / "config.json").is_file())


def _native(name: str, model: OtherModel) -> tuple[list[FoundDictionary], EvaluationTask]:
    task = evaluation_task(EvaluateRecipe(dictionary=name, model=model))
    found = []
    for own, folder in task.dictionaries.items():
        digest = read_manifest(folder, storage.KIND, storage.READABLE).content_digest
        found.append(FoundDictionary(own, storage.read_config(folder), folder, digest))
    return found, task


def _foreign(name: str, model: OtherModel) -> tuple[list[FoundDictionary], EvaluationTask]:
    if not name.startswith("hf:") and not Path(name).exists():
        raise ArtifactError(
            f"There is no dictionary at '{name}': nothing is there. A name on the hub begins with hf:, e.g. "
            "hf:owner/repo."
        )
    root = source.locate(name, whole=True)
    found = []
    for one in source.find_all(root):
        dictionary = one.format.read(one.path, Given(None, None, model.name)).dictionary
        own = root.name if one.name == "." else one.name.replace("/", "-")
        found.append(FoundDictionary(own, dictionary.config, loaded=dictionary))
    values = {**model.to_mapping(), "name": model.name or found[0].config.model}
    if values["name"] is None:
        raise RecipeError(f"'{name}' does not say which model it belongs to: give --model.")
    # Nobody says what they were trained on, so the sample tells which positions are outliers.
    text, evaluation = TextChoice(), EvaluationChoice()
    chosen = ModelChoice.from_mapping(values, "model")
    return found, EvaluationTask({}, chosen, text, StreamConfig(), evaluation, 0)


def _chosen(found: Sequence[FoundDictionary], only: Sequence[str]) -> list[FoundDictionary]:
    names = [one.name for one in found]
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise RecipeError(f"No dictionary is called '{pattern}'.{did_you_mean(pattern, names)}")
    return [
        one for one in found if not only or any(fnmatchcase(one.name, pattern) for pattern in only)
    ]


def _check_sites(chosen: Iterable[FoundDictionary]) -> None:
    """Refuse two dictionaries that write one site."""
    by_site: dict[Site, FoundDictionary] = {}
    for one in chosen:
        site = one.config.write_site
        if site in by_site:
            raise ArtifactError(
                f"'{by_site[site].name}' and '{one.name}' both write '{site}', and a circuit has one dictionary a "
                "site: choose with --only NAME, a name or a pattern such as 'mlp_norm-*'."
            )
        by_site[site] = one


def _check_models(tasks: Sequence[EvaluationTask], sources: Sequence[str]) -> None:
    first = tasks[0].model.name
    for task, name in zip(tasks, sources, strict=True):
        if task.model.name != first:
            raise RecipeError(
                f"'{sources[0]}' is of model '{first}' and '{name}' of '{task.model.name}': give "
                "dictionaries of one model, or say which with --model."
            )
