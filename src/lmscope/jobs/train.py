"""Train dictionaries: any number of sites, widths and sparsities side by side, then measure each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from lmscope.activations.config import StreamConfig
from lmscope.activations.memory import memory_bytes
from lmscope.activations.stream import ActivationStream
from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.core.protocols import Listener
from lmscope.core.site import Site, SitePattern, parse_pattern
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, ObjectiveConfig, Sparsity, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import Health
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.dictionaries.thresholds import calibrate_threshold
from lmscope.jobs.choices import (
    Count,
    EvaluationChoice,
    ModelChoice,
    TextChoice,
    load_model,
    open_text,
)
from lmscope.jobs.examiner import Examiner
from lmscope.jobs.reports import write_health
from lmscope.jobs.running import Plan, Silent, running
from lmscope.models.language_model import LanguageModel
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal
from lmscope.training.checkpoint import Checkpoint, Checkpoints
from lmscope.training.config import TrainingConfig
from lmscope.training.loop import fit, planned_steps


class DictionaryChoice(Config):
    """Which dictionaries: every site (or pair of sites) with every width and every sparsity."""

    sites: tuple[str, ...] = ()
    """Sites of which SAEs are trained; `mlp_out@*` means every layer."""
    transcoders: tuple[tuple[str, str], ...] = ()
    """Pairs of sites, the first read and the second predicted; `@*` pairs layer by layer."""
    n_latents: tuple[Count, ...] = (4608,)
    sparsity: tuple[Sparsity, ...] = (TopK(),)
    skip: bool = False
    """Whether a linear path runs beside the latents."""
    apply_b_dec_to_input: bool | None = None
    """Whether `b_dec` is taken from the input before encoding; absent: for SAEs yes, for transcoders no."""
    normalisation: Literal["mean_norm", "none"] = "mean_norm"
    threshold_tokens: Count | None = None
    """If given, TopK and BatchTopK dictionaries end with one JumpReLU threshold, calibrated on so many
    training tokens (he2024llamascope, post-processing)."""
    objective: ObjectiveConfig = ObjectiveConfig()

    @model_validator(mode="after")
    def _sites_can_be_read(self) -> "DictionaryChoice":
        """A site that exists in no model is a SiteError before anything is loaded or written."""
        for text in (*self.sites, *(site for pair in self.transcoders for site in pair)):
            parse_pattern(text)
        return self


class TrainRecipe(Recipe):
    """What `lmscope train` does."""

    job: Literal["train"] = "train"
    name: str = "train"
    model: ModelChoice = ModelChoice()
    text: TextChoice = TextChoice()
    dictionary: DictionaryChoice = DictionaryChoice()
    stream: StreamConfig = StreamConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationChoice = EvaluationChoice()
    """How the results are measured."""


@dataclass(frozen=True)
class Measured:
    """One trained dictionary, where it lies, and how good it is (None: not measured)."""

    name: str
    path: Path
    dictionary: Dictionary
    health: Health | None


def train(
    recipe: TrainRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> Run:
    """Train the recipe's dictionaries and measure them on held-out text.

    The run holds `artifacts/dictionaries/NAME` (folded: raw activations in and out, decoder rows of
    norm 1) and `artifacts/health/NAME`.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with, begun with the same recipe.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence; the run then says it failed.
        KeyboardInterrupt: It was stopped; its state is saved.
    """
    with running(recipe, root, listeners, resume) as (run, stop):
        Training(recipe, run, stop).go()
    return run


class Training:
    """One execution of a TrainRecipe in a run folder, step by step."""

    def __init__(self, recipe: TrainRecipe, run: Run, stop: StopSignal) -> None:
        self.recipe, self.run, self.stop = recipe, run, stop
        self.model = load_model(recipe.model, run)
        run.note_weights({self.model.name: self.model.weights_hash})
        self.configs = dictionary_configs(recipe.dictionary, self.model)
        run.event("phase", phase="text", source=recipe.text.source)
        self.text = open_text(
            recipe.text, self.model, seed=recipe.seed, held_out_tokens=recipe.evaluation.tokens
        )
        self.stream = self._open_stream()
        self.examiner = Examiner(self.model, self.text, self.stream, recipe.evaluation, recipe.seed)
        self.checkpoints = Checkpoints(run.checkpoints, keep=recipe.training.checkpoint.keep)

    def go(self) -> list[Measured]:
        """Train what is not trained yet, save it, measure it."""
        checkpoint = self.checkpoints.latest()
        if checkpoint is not None:
            self.run.rewind(checkpoint.step)
            self.stream.load_state(checkpoint.shared["stream"])
        objectives = self._objectives()
        self._fit(objectives, checkpoint)
        self.stream.close()
        return [self._finish(objective) for objective in objectives]

    def _open_stream(self) -> ActivationStream:
        sites = sorted({s for c in self.configs.values() for s in (c.read_site, c.write_site)})
        return ActivationStream(
            self.model,
            self.text.train,
            sites,
            options=self.recipe.stream,
            seed=self.recipe.seed,
            store=self.run.path / "activations" if self.recipe.stream.store == "disk" else None,
        )

    def _objectives(self) -> list[DictionaryObjective]:
        self.run.event("phase", phase="calibrate")
        n_steps = planned_steps(self.stream, self.recipe.training)
        return [
            DictionaryObjective.start(
                config,
                self.recipe.dictionary.objective,
                self.stream.calibration,
                n_steps=n_steps,
                seed=self.recipe.seed,
                name=name,
                inlier=self.examiner.exclusion.inlier,
                device=self.model.device,
            )
            for name, config in self.configs.items()
        ]

    def _fit(self, objectives: list[DictionaryObjective], checkpoint: Checkpoint | None) -> None:
        self.run.event("phase", phase="train", n_dictionaries=len(objectives))
        fit(
            objectives,
            self.stream,
            self.recipe.training,
            checkpoints=self.checkpoints,
            listener=self.run,
            stop=self.stop,
            resume=checkpoint,
            seed=self.recipe.seed,
        )
        self.run.sync()
        self.stop.raise_if_requested()

    def _finish(self, objective: DictionaryObjective) -> Measured:
        name = objective.name
        path = self.run.artifacts / "dictionaries" / name
        if path.exists():
            dictionary = Dictionary.load(path).to(self.model.device)
        else:
            dictionary = self._final_form(objective.dictionary)
            dictionary.save(path)
        health = None
        if self.recipe.evaluation.tokens:
            health = self.examiner.measure(name, dictionary, self.run)
            write_health(self.run, name, health)
        self.stop.raise_if_requested()
        return Measured(name, path, dictionary, health)

    def _final_form(self, trained: Dictionary) -> Dictionary:
        wanted = self.recipe.dictionary.threshold_tokens
        if wanted is None or not isinstance(trained.config.sparsity, TopK | BatchTopK):
            return trained.fold()
        return calibrate_threshold(
            trained, self.examiner.training_sample(trained.config.read_site, wanted)
        )


def dictionary_configs(
    choice: DictionaryChoice, model: LanguageModel
) -> dict[str, DictionaryConfig]:
    """Every dictionary that a choice asks for, by name.

    Raises:
        RecipeError: None is asked for, or two would be the same.
        SiteError: The model has not got a site.
    """
    pairs = _pairs(choice, model)
    if not pairs:
        raise RecipeError(
            "There is no dictionary to train: give dictionary.sites or dictionary.transcoders, "
            "e.g. --site resid_post@14."
        )
    configs: dict[str, DictionaryConfig] = {}
    applied = choice.apply_b_dec_to_input
    for read, write in pairs:
        for n_latents in choice.n_latents:
            for sparsity in choice.sparsity:
                config = DictionaryConfig(
                    reads=(str(read),),
                    writes=(str(write),),
                    d_read=model.width(read),
                    d_write=model.width(write),
                    n_latents=n_latents,
                    sparsity=sparsity,
                    skip=choice.skip,
                    apply_b_dec_to_input=read == write if applied is None else applied,
                    normalisation=choice.normalisation,
                    model=model.name,
                    model_hash=model.weights_hash,
                )
                name = dictionary_name(config)
                if name in configs:
                    raise RecipeError(
                        f"'{name}' is asked for twice: leave one of the equal sites, widths or sparsities out "
                        "(the annealing of k alone makes no difference here)."
                    )
                configs[name] = config
    return configs


def dictionary_name(config: DictionaryConfig) -> str:
    """A name from site, width and sparsity: `resid_post-14-4608-topk-32`.

    What differs from the sparsity's defaults is part of it; how k is annealed is not.
    """
    read, write = config.read_site.slug, config.write_site.slug
    place = f"{read}.to.{write}" if config.is_transcoder else read
    sparsity = config.sparsity
    settings = sparsity.model_dump(exclude={"kind", "k", "annealing"}, exclude_defaults=True)
    own = [str(sparsity.k)] if isinstance(sparsity, TopK | BatchTopK) else []
    own += [f"{key}={value}".replace("+", "") for key, value in settings.items()]
    return "-".join([place, str(config.n_latents), sparsity.kind, *own])


def _pairs(choice: DictionaryChoice, model: LanguageModel) -> list[tuple[Site, Site]]:
    pairs = [(site, site) for site in (model.resolve(choice.sites) if choice.sites else ())]
    for read_text, write_text in choice.transcoders:
        reads, writes = model.resolve([read_text]), model.resolve([write_text])
        patterns = [isinstance(parse_pattern(t), SitePattern) for t in (read_text, write_text)]
        if patterns[0] != patterns[1]:
            raise RecipeError(
                f"'{read_text}' and '{write_text}' cannot be paired: give a layer to both or '@*' to both."
            )
        by_layer = {site.layer: site for site in writes}
        if patterns[0]:
            pairs += [(site, by_layer[site.layer]) for site in reads if site.layer in by_layer]
        else:
            pairs.append((reads[0], writes[0]))
    return pairs


def plan_training(recipe: TrainRecipe) -> Plan:
    """What `train` would do: sizes, tokens, steps, memory; reads model and text, writes nothing."""
    listener = Silent()
    model = load_model(recipe.model, listener)
    configs = dictionary_configs(recipe.dictionary, model)
    sites = sorted({s for c in configs.values() for s in (c.read_site, c.write_site)})
    measured = recipe.evaluation.tokens
    text = open_text(recipe.text, model, seed=recipe.seed, held_out_tokens=measured)
    options = recipe.stream.model_copy(update={"store": "none"})
    stream = ActivationStream(model, text.train, sites, options=options, seed=recipe.seed)
    steps = planned_steps(stream, recipe.training)
    n_parameters = sum(_n_parameters(config) for config in configs.values())
    stream_bytes = memory_bytes(
        recipe.stream,
        n_contexts=len(text.train),
        context_length=text.train.context_length,
        widths=[model.width(site) for site in sites],
        model_bytes=model.dtype.itemsize,
    )
    batch_tokens = recipe.stream.batch_tokens * recipe.training.accumulate
    return Plan(
        {
            "model": model.name,
            "sites": ", ".join(str(site) for site in sites),
            "dictionaries": ", ".join(configs),
            "n_parameters": n_parameters,
            "n_contexts": len(text.train),
            "n_tokens": text.train.n_tokens,
            "passes": recipe.stream.passes,
            "n_steps": steps,
            "tokens_per_step": batch_tokens,
            "trained_tokens": steps * batch_tokens,
            "stream_memory_mib": round(stream_bytes / 2**20),
            "dictionary_memory_mib": round(16 * n_parameters / 2**20),
            "n_held_out_tokens": text.held_out.n_tokens if measured else 0,
        }
    )


def _n_parameters(config: DictionaryConfig) -> int:
    read, write, n = config.d_read, config.d_write, config.n_latents
    return n * (read + write + 1) + write + (read * write if config.skip else 0)
