"""Build atlases of trained dictionaries: freeze a corpus, take the census, work out each latent's record."""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from lmscope.atlas.building import Counted, build
from lmscope.atlas.census import CensusPass, PassSizes, median_norms, sample_batches
from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.logits import final_scale, has_logit_effects
from lmscope.atlas.shards import ShardReader
from lmscope.atlas.store import CENSUS_FILE, CensusReader
from lmscope.core.config import Config
from lmscope.core.errors import RecipeError, RunError, did_you_mean
from lmscope.core.files import write_text
from lmscope.core.processes import ALONE, Processes, joined
from lmscope.core.protocols import Listener
from lmscope.core.site import Site
from lmscope.dictionaries import storage
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.evaluation.positions import check_context_length
from lmscope.evaluation.rows import spread
from lmscope.jobs.choices import Count, TextChoice, as_contexts, load_model, open_corpus
from lmscope.jobs.evaluate import EvaluateRecipe, OtherModel, OtherText, evaluation_task
from lmscope.jobs.evaluation_task import EvaluationTask
from lmscope.jobs.mesh_choice import device_type
from lmscope.jobs.running import Plan, PlanValue, running
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.runs.artifact import read_manifest
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal
from lmscope.text.contexts import Contexts

FIRING_BYTES: Final = 8
"""Of one firing in a shard."""
_NORM_TOKENS: Final = 8192
"""Tokens from which the size of the last stream is measured, for logit effects."""


class AtlasText(OtherText):
    """What to change of the text that the dictionary was trained on; absent keys stay."""

    documents: Literal["all", "train", "held_out"] = "all"
    """Which documents: those that training read, those that it did not, or both."""
    max_tokens: Count | None = None
    """Read no more of the text than so many tokens; absent: all of it, from the hub `census.tokens`."""


class CensusChoice(Config):
    """How much text the census reads, and how much of it at a time."""

    tokens: Count = 1_000_000
    """Tokens of the frozen corpus, in contexts at even distances through the text; all if there are fewer."""
    batch_tokens: Count = 4096
    """Tokens of one forward pass."""
    shard_tokens: Count = 65_536
    """Tokens whose firings are held in memory and written together; a killed census loses no more."""
    calibration_tokens: Count = 32_768
    """Tokens from which the median norm of each site is taken, by which outliers are told."""

    def sizes(self, context_length: int) -> PassSizes:
        """The same amounts in contexts of a length."""
        batch = max(1, self.batch_tokens // context_length)
        return PassSizes(batch, batch * max(1, self.shard_tokens // (batch * context_length)))


class AtlasRecipe(Recipe):
    """What `lmscope atlas build` does."""

    job: Literal["atlas"] = "atlas"
    name: str = "atlas"
    dictionary: str
    """A run that trained dictionaries, or the folder of one dictionary."""
    only: tuple[str, ...] = ()
    """Names of the run's dictionaries to build atlases of; empty: of all."""
    model: OtherModel = OtherModel()
    text: AtlasText = AtlasText()
    census: CensusChoice = CensusChoice()
    options: CensusOptions = CensusOptions()
    """How much is kept of each latent."""


class Measured(Config):
    """What is measured once, before the census, and what it was measured on."""

    weights_hash: str
    """Of the model."""
    dictionaries: dict[str, str]
    """Content digests by name."""
    median_norms: dict[str, Annotated[float, Field(ge=0)]]
    """Of each site."""
    final_scale: float
    """What the final norm multiplies the stream with, on average."""

    @property
    def exclusion(self) -> Exclusion:
        """The one mask."""
        return Exclusion({Site.parse(site): norm for site, norm in self.median_norms.items()})


def build_atlas(
    recipe: AtlasRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> Run:
    """Build an atlas of every dictionary of a run, in one pass of the model over one frozen corpus.

    The run holds `artifacts/corpus/DIGEST` and `artifacts/atlas/NAME`. The processes that `torchrun`
    started share contexts first and dictionaries then; any number of them gives the same bytes.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with, begun with the same recipe; shards and records that it has stay.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
        KeyboardInterrupt: It was stopped; what was done is saved.
    """
    task = atlas_task(recipe)
    with (
        joined(device_type=device_type(task.model.device)) as processes,
        running(recipe, root, listeners, resume, processes) as (run, stop),
    ):
        Building(recipe, task, run, stop, processes).go()
    return run


def plan_atlas(recipe: AtlasRecipe) -> Plan:
    """What `build_atlas` would do; reads the dictionaries' configurations only."""
    task = atlas_task(recipe)
    values: dict[str, PlanValue] = {
        "dictionaries": ", ".join(task.dictionaries),
        "model": task.model.name,
        "text": task.text.source,
        "documents": recipe.text.documents,
        "context_length": task.text.context_length,
        "tokens": recipe.census.tokens,
    }
    per_token = [_firings_per_token(_config(path)) for path in task.dictionaries.values()]
    if None not in per_token:
        total = sum(n for n in per_token if n is not None)
        values["temporary_bytes"] = recipe.census.tokens * total * FIRING_BYTES
    return Plan(values)


def atlas_task(recipe: AtlasRecipe) -> EvaluationTask:
    """The recipe with what it leaves out taken from the run that trained the dictionaries.

    Raises:
        ArtifactError: There is no dictionary.
        RecipeError: `only` names one that is not there, or a dictionary does not say what its model is.
    """
    text = recipe.text.model_dump(exclude={"documents", "max_tokens"})
    task = evaluation_task(
        EvaluateRecipe(
            dictionary=recipe.dictionary,
            model=recipe.model,
            text=OtherText.from_mapping(text),
            seed=recipe.seed,
        )
    )
    for name in recipe.only:
        if name not in task.dictionaries:
            raise RecipeError(
                f"'{recipe.dictionary}' holds no dictionary '{name}'.{did_you_mean(name, task.dictionaries)}"
            )
    chosen = recipe.only or tuple(task.dictionaries)
    limited = task.text.model_copy(update={"max_tokens": _most_tokens(recipe, task.text)})
    return replace(task, dictionaries={n: task.dictionaries[n] for n in chosen}, text=limited)


class Building:
    """One execution of an AtlasRecipe in a run folder.

    What is done is on the disk before the next thing begins: the corpus, what was measured, one shard
    after the other, one block of records after the other, one atlas after the other.
    """

    def __init__(
        self,
        recipe: AtlasRecipe,
        task: EvaluationTask,
        run: Run,
        stop: StopSignal,
        processes: Processes = ALONE,
        model: LanguageModel | None = None,
    ) -> None:
        self.recipe, self.task, self.run, self.stop = recipe, task, run, stop
        self.processes = processes
        self._given_model = model
        self.folder = run.path / "census"

    def go(self) -> None:
        """Do what is not done yet."""
        if self.processes.is_first:
            self._clear_unfinished()
        missing = [name for name in self.task.dictionaries if not self._target(name).exists()]
        missing = self.processes.world.first(missing)
        if missing:
            self._build(missing)
        if self.processes.is_first:
            shutil.rmtree(self.folder, ignore_errors=True)

    @cached_property
    def model(self) -> LanguageModel:
        """The one that was given, or loaded when first asked for."""
        model = self._given_model or load_model(self.task.model, self.run)
        self.run.note_weights({model.name: model.weights_hash})
        check_context_length(model, self.task.text.context_length)
        return model

    def _build(self, names: Sequence[str]) -> None:
        model = self.model
        dictionaries = {
            name: Dictionary.load(self.task.dictionaries[name], model.device) for name in names
        }
        for dictionary in dictionaries.values():
            check_fits(model, dictionary)
        self._tell_of_other_weights(dictionaries)
        corpus = self._corpus()
        measured = self._measured(dictionaries, corpus)
        sizes = self.recipe.census.sizes(corpus.context_length)
        shards = self.folder / "shards"
        one = CensusPass(model, dictionaries, corpus, measured.exclusion, shards, sizes)
        world = self.processes.world
        one.spill(self.run, rank=world.rank, n_ranks=world.size, pause=self.stop.raise_if_requested)
        if one.figures.n_tokens:
            self.run.event("result", name="census", figures=one.figures.to_mapping())
        world.wait()
        found = {}
        for name in list(names)[world.rank :: world.size]:
            self._finish(name, dictionaries[name], one, measured)
            found[name] = atlas_figures(self._target(name))
        for name, figures in sorted(pair for part in world.values(found) for pair in part.items()):
            self.run.event("result", name=name, figures=figures)

    def _finish(
        self, name: str, dictionary: Dictionary, census: CensusPass, measured: Measured
    ) -> None:
        """The atlas of one dictionary, from its shards."""
        corpus, model = census.corpus, self.model
        shards = ShardReader(census.shards_of(name))
        config = dictionary.config
        sites = {str(config.read_site), str(config.write_site)}
        meta = AtlasMeta(
            dictionary=name,
            dictionary_digest=measured.dictionaries[name],
            dictionary_config=config.to_mapping(),
            model=model.name,
            weights_hash=model.weights_hash,
            tokenizer_hash=corpus.config.tokenizer_hash,
            corpus_digest=corpus.digest,
            context_length=corpus.context_length,
            n_contexts=corpus.n_contexts,
            n_counted=int(shards.counted().sum()),
            median_norms={site: measured.median_norms[site] for site in sorted(sites)},
            n_latents=config.n_latents,
            options=self.recipe.options,
        )
        counted = Counted(model, dictionary, shards, corpus, meta, measured.final_scale)
        working = self.folder / f"{name}.sqlite"
        build(counted, self._target(name), working, self.run, self.stop.raise_if_requested)

    def _corpus(self) -> FrozenCorpus:
        """The frozen corpus, made by the first process if it is not there."""
        path = str(self._frozen().path) if self.processes.is_first else ""
        return FrozenCorpus.load(self.processes.world.first(path))

    def _frozen(self) -> FrozenCorpus:
        folder = self.run.artifacts / "corpus"
        there = list(folder.glob("[!.]*"))
        if there:
            return FrozenCorpus.load(there[0], verify=True)
        self.run.event("phase", phase="text", source=self.task.text.source)
        contexts = census_contexts(self.recipe, self.task, self.model)
        n = max(1, self.recipe.census.tokens // contexts.context_length)
        chosen = spread(len(contexts), n)
        n_vocab = self.model.d_vocab
        tokenizer: Any = self.model.tokenizer  # transformers types its ids as anything
        return FrozenCorpus.freeze(folder, contexts, tokenizer, indices=chosen, n_vocab=n_vocab)

    def _measured(self, dictionaries: dict[str, Dictionary], corpus: FrozenCorpus) -> Measured:
        """Norms and scale as the first process measures them, or as they were before a stop.

        Raises:
            RunError: Model or dictionaries have changed since.
        """
        path = self.folder / "measured.json"
        found: dict[str, Any] = {}
        if self.processes.is_first:
            if path.is_file():
                found = json.loads(path.read_text(encoding="utf-8"))
            else:
                found = self._measure(dictionaries, corpus).to_mapping()
                write_text(path, json.dumps(found) + "\n")
        measured = Measured.from_mapping(self.processes.world.first(found), f"'{path}'")
        self._check_unchanged(measured, dictionaries)
        return measured

    def _measure(self, dictionaries: dict[str, Dictionary], corpus: FrozenCorpus) -> Measured:
        self.run.event("phase", phase="calibrate")
        model, choice = self.model, self.recipe.census
        size = choice.sizes(corpus.context_length).batch_contexts
        configs = [dictionary.config for dictionary in dictionaries.values()]
        sites = [site for config in configs for site in (config.read_site, config.write_site)]
        batches = sample_batches(
            model, corpus, n_tokens=choice.calibration_tokens, batch_contexts=size
        )
        norms = median_norms(model, sites, batches)
        scale = 1.0
        if any(has_logit_effects(model, dictionary) for dictionary in dictionaries.values()):
            batches = sample_batches(model, corpus, n_tokens=_NORM_TOKENS, batch_contexts=size)
            scale = final_scale(model, batches, Exclusion())
        return Measured(
            weights_hash=model.weights_hash,
            dictionaries={name: self._digest(name) for name in dictionaries},
            median_norms={str(site): norm for site, norm in norms.items()},
            final_scale=scale,
        )

    def _check_unchanged(self, measured: Measured, names: Iterable[str]) -> None:
        if measured.weights_hash != self.model.weights_hash:
            raise RunError(
                f"'{self.model.name}' has other weights than when '{self.run.path}' began: start a new run."
            )
        for name in names:
            if measured.dictionaries.get(name) != self._digest(name):
                raise RunError(
                    f"'{self.task.dictionaries[name]}' is another dictionary than when '{self.run.path}' began: "
                    "start a new run."
                )

    def _digest(self, name: str) -> str:
        path = self.task.dictionaries[name]
        return read_manifest(path, storage.KIND, storage.READABLE).content_digest

    def _tell_of_other_weights(self, dictionaries: dict[str, Dictionary]) -> None:
        for name, dictionary in dictionaries.items():
            trained_on = dictionary.config.model_hash
            if trained_on is not None and trained_on != self.model.weights_hash:
                message = (
                    f"'{name}' was trained on '{dictionary.config.model}' (weights {trained_on[:12]}); "
                    f"this atlas is of '{self.model.name}' (weights {self.model.weights_hash[:12]})."
                )
                self.run.event("notice", message=message)

    def _target(self, name: str) -> Path:
        return self.run.artifacts / "atlas" / name

    def _clear_unfinished(self) -> None:
        """Remove what a killed process left under temporary names."""
        for kind in ("corpus", "atlas"):
            for leftover in (self.run.artifacts / kind).glob(".*.part"):
                shutil.rmtree(leftover, ignore_errors=True)


def census_contexts(recipe: AtlasRecipe, task: EvaluationTask, model: LanguageModel) -> Contexts:
    """The text of a census as contexts of a model.

    Raises:
        DataError: It cannot be read, or there is none.
    """
    corpus = open_corpus(task.text, model)
    if recipe.text.documents != "all":
        train, held_out = corpus.split(task.text.held_out_fraction, task.seed)
        corpus = train if recipe.text.documents == "train" else held_out
    return as_contexts(corpus, task.text, model, task.text.max_tokens)


def atlas_figures(path: Path | str) -> dict[str, int | float]:
    """The few figures that say what an atlas holds.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    file = Path(path) / CENSUS_FILE
    with CensusReader(file) as reader:
        query = "SELECT sum(dead), sum(dense) FROM latent"
        n_dead, n_dense = reader.connection.execute(query).fetchone()
        n_latents, n_counted = reader.meta.n_latents, reader.meta.n_counted
    return {
        "n_latents": n_latents,
        "n_dead": int(n_dead),
        "n_dense": int(n_dense),
        "n_counted": n_counted,
        "bytes_per_latent": round(file.stat().st_size / n_latents, 1),
    }


def _most_tokens(recipe: AtlasRecipe, text: TextChoice) -> int | None:
    """What is read of the text; the hub's may have no end that one could wait for."""
    if recipe.text.max_tokens is None and text.source.startswith("hf:"):
        return recipe.census.tokens
    return recipe.text.max_tokens


def _config(path: Path) -> DictionaryConfig:
    values = json.loads((path / storage.CONFIG_FILE).read_text(encoding="utf-8"))
    return DictionaryConfig.from_mapping(values, f"'{path / storage.CONFIG_FILE}'")


def _firings_per_token(config: DictionaryConfig) -> int | None:
    """How many latents fire on a token, if that is known beforehand."""
    sparsity = config.sparsity
    return sparsity.k if isinstance(sparsity, TopK | BatchTopK) else None
