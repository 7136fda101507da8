"""Train dictionaries: any number of sites, widths and sparsities, group by group, each measured."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Literal

from pydantic import model_validator

from lmscope.activations.config import StreamConfig
from lmscope.activations.sharing import Sharing
from lmscope.activations.stream import ActivationStream
from lmscope.core.errors import RecipeError, RunError
from lmscope.core.processes import ALONE, Processes, joined
from lmscope.core.protocols import Listener
from lmscope.dictionaries.config import BatchTopK, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import Health
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.dictionaries.thresholds import calibrate_threshold
from lmscope.jobs.choices import EvaluationChoice, ModelChoice, TextChoice, load_model, open_text
from lmscope.jobs.dictionary_choice import DictionaryChoice, wanted_dictionaries
from lmscope.jobs.examiner import Examiner
from lmscope.jobs.group_progress import GroupProgress
from lmscope.jobs.grouping import DictionaryGroup, plan_groups, regrouped
from lmscope.jobs.memory import MemoryModel, Text, available_bytes, sites_of
from lmscope.jobs.mesh_choice import device_type, run_axes
from lmscope.jobs.reports import read_health, read_whole_health, write_health
from lmscope.jobs.running import running
from lmscope.jobs.suite import Suite, waiting_row
from lmscope.models.exclusion import Exclusion
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal
from lmscope.training.checkpoint import Checkpoint, Checkpoints
from lmscope.training.config import TrainingConfig
from lmscope.training.loop import fit, planned_steps


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

    @model_validator(mode="after")
    def _one_budget(self) -> "TrainRecipe":
        if self.dictionary.tokens is not None and self.training.steps is not None:
            raise RecipeError(
                "dictionary.tokens and training.steps both say how long to train: leave one out."
            )
        return self


@dataclass(frozen=True)
class Measured:
    """One trained dictionary, where it lies, and how good it is (None: not measured).

    Attributes:
        exclusion: Which tokens count for it.
    """

    name: str
    path: Path
    dictionary: Dictionary
    health: Health | None
    exclusion: Exclusion


def train(
    recipe: TrainRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
    memory_bytes: int | None = None,
    mesh: str | None = None,
) -> Run:
    """Train the recipe's dictionaries and measure them on held-out text.

    The run holds `artifacts/dictionaries/NAME` (folded: raw activations in and out, decoder rows of
    norm 1), `artifacts/health/NAME` and, for several dictionaries, `artifacts/suite.json`.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with, begun with the same recipe.
        memory_bytes: What the device may be filled with: dictionaries that do not fit together are
            trained one group after the other, with equal results. Absent: most of what there is;
            a resumed run then keeps its groups.
        mesh: How the processes that `torchrun` started share the work, e.g. `latent=2`; absent: each
            trains on its part of every batch.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence; the run then says it failed.
        KeyboardInterrupt: It was stopped; its state is saved.
    """
    with (
        joined(**run_axes(mesh), device_type=device_type(recipe.model.device)) as processes,
        running(recipe, root, listeners, resume, processes) as (run, stop),
    ):
        training = Training(recipe, run, stop, processes, memory_bytes=memory_bytes)
        for _ in training.rest():
            pass  # a suite is not held in memory
    return run


class Training:
    """One execution of a TrainRecipe in a run folder: its groups, one after the other.

    Attributes:
        wanted: The dictionaries by name, in the recipe's order.
        groups: Which of them are trained side by side.
        suite: The table that grows with them.
    """

    def __init__(
        self,
        recipe: TrainRecipe,
        run: Run,
        stop: StopSignal,
        processes: Processes = ALONE,
        *,
        memory_bytes: int | None = None,
    ) -> None:
        self.recipe, self.run, self.stop = recipe, run, stop
        self.processes = processes
        self.model = load_model(recipe.model, run)
        run.note_weights({self.model.name: self.model.weights_hash})
        self.wanted = wanted_dictionaries(recipe.dictionary, self.model)
        run.event("phase", phase="text", source=recipe.text.source)
        self.text = open_text(
            recipe.text, self.model, seed=recipe.seed, held_out_tokens=recipe.evaluation.tokens
        )
        self.groups = self._agreed_groups(memory_bytes)
        rows = [
            waiting_row(name, self.wanted[name].config, group.number)
            for group in self.groups
            for name in group.names
        ]
        self.suite = Suite(run, rows, writes=processes.is_first)

    def go(self) -> list[Measured]:
        """Train what is not trained yet, and give every dictionary measured; for few of them."""
        opened = [GroupTraining(self, group) for group in self.groups]
        found = {one.name: one for group in opened for one in group.each(again=True)}
        return [found[name] for name in self.wanted]

    def rest(self) -> Iterator[Measured]:
        """Train and measure what is not finished yet, and give it one by one.

        Of several groups, one that fails does not keep the others from being trained.

        Raises:
            RunError: A group failed; the sentence says which.
        """
        failed: list[tuple[DictionaryGroup, RunError]] = []
        for group in self.groups:
            training = GroupTraining(self, group)
            if not training.is_finished:
                try:
                    yield from training.each(again=False)
                except RunError as error:
                    if self.processes.world.size > 1:
                        raise  # the others cannot go on without this process
                    self.suite.failed(group.names, str(error))
                    failed.append((group, error))
                    continue
            training.tidy()
        if len(self.groups) == 1 and failed:
            raise failed[0][1]
        if failed:
            group, error = failed[0]
            n = sum(len(one.names) for one, _ in failed)
            raise RunError(
                f"{n} of {len(self.wanted)} dictionaries were not finished, the first being those of "
                f"group {group.number} of {len(self.groups)}: {error}"
            )

    def open_stream(
        self, group: DictionaryGroup, sharing: Sharing | None = None
    ) -> ActivationStream:
        """The activations at the sites of a group, read by this process or with others."""
        folder = self.run.path / "activations" / group.folder
        return ActivationStream(
            self.model,
            self.text.train,
            sites_of([self.wanted[name].config for name in group.names]),
            options=self.recipe.stream,
            seed=self.recipe.seed,
            store=folder if self.recipe.stream.store == "disk" else None,
            sharing=sharing,
        )

    def n_steps(self, group: DictionaryGroup) -> int:
        """Optimiser steps of a group."""
        budget = self.wanted[group.names[0]].n_tokens
        return self._steps_of_text if budget is None else steps_for(self.recipe, budget)

    @cached_property
    def _steps_of_text(self) -> int:
        # The same for every group: tokens alone decide how many batches there are.
        return planned_steps(self.open_stream(self.groups[0]), self.recipe.training)

    def _agreed_groups(self, memory_bytes: int | None) -> list[DictionaryGroup]:
        """The groups as the first process makes them.

        Raises:
            RecipeError: A group has not got a dictionary for each place on the site axis.
        """
        own = self._groups(memory_bytes) if self.processes.is_first else []
        told = self.processes.world.first([group.to_mapping() for group in own])
        groups = [DictionaryGroup.from_mapping(one) for one in told]
        n_sites = self.processes.mesh.site
        if short := next((one for one in groups if len(one.names) < n_sites), None):
            raise RecipeError(
                f"site={n_sites} needs as many dictionaries in every group, and group {short.number} of "
                f"{len(groups)} has {len(short.names)}: use a smaller site axis or more memory."
            )
        return groups

    def _groups(self, memory_bytes: int | None) -> list[DictionaryGroup]:
        """The groups that a resumed run had, or those that had begun and for the rest new ones."""
        told = [event for event in self.run.events() if event["event"] == "groups"]
        stored = [DictionaryGroup.from_mapping(one) for one in told[-1]["groups"]] if told else []
        if stored and memory_bytes is None:
            return stored
        begun = [group for group in stored if GroupTraining(self, group).has_begun]
        done = {name for group in begun for name in group.names}
        rest = {name: one for name, one in self.wanted.items() if name not in done}
        available = available_bytes(self.model.device) if memory_bytes is None else memory_bytes
        size = Text(len(self.text.train), self.text.train.context_length)
        mesh = self.processes.mesh
        needs = MemoryModel(self.model, size, self.recipe.stream, self.recipe.evaluation, mesh)
        groups = regrouped(begun, plan_groups(rest, needs.of, available))
        self.run.event("groups", groups=[group.to_mapping() for group in groups])
        self.run.sync()  # a checkpoint must never be on disk without the group that it is of
        return groups


def steps_for(recipe: TrainRecipe, n_tokens: int) -> int:
    """Optimiser steps of so many training tokens.

    Raises:
        RecipeError: They do not fill one step.
    """
    tokens_per_step = recipe.stream.batch_tokens * recipe.training.accumulate
    if n_tokens < tokens_per_step:
        raise RecipeError(
            f"dictionary.tokens of {n_tokens} does not fill one step of {tokens_per_step} tokens: "
            "give more, or lower stream.batch_tokens."
        )
    return n_tokens // tokens_per_step


class GroupTraining:
    """The dictionaries of one group: trained side by side on one stream, saved, measured."""

    def __init__(self, training: Training, group: DictionaryGroup) -> None:
        self.group = group
        self._training, self._processes = training, training.processes
        self._run, self._recipe = training.run, training.recipe
        keep = self._recipe.training.checkpoint.keep
        folder = self._run.checkpoints / group.folder
        self.checkpoints = Checkpoints(folder, keep=keep, processes=self._processes)

    @property
    def has_begun(self) -> bool:
        """Whether something of it is on the disk."""
        return bool(self.checkpoints.paths()) or any(map(self._is_saved, self.group.names))

    @property
    def is_finished(self) -> bool:
        """Whether all that was asked for is on the disk."""
        return all(map(self._is_done, self.group.names))

    def each(self, *, again: bool) -> Iterator[Measured]:
        """Train what is not trained yet, then save and measure one dictionary after the other.

        Args:
            again: Give dictionaries too that were saved and measured before.
        """
        stream = self._training.open_stream(self.group, self._sharing())
        examiner = self._examiner(stream)
        objectives = self._train(stream, examiner)
        if self._processes.world.size > 1:
            self._finish_together(objectives, stream)
            return
        for objective in objectives:
            if again or not self._is_done(objective.name):
                yield self._finish(objective, examiner)

    def tidy(self) -> None:
        """Remove what only an unfinished group needs, where other groups need the room."""
        if self.group.folder and self._processes.is_first:
            shutil.rmtree(self.checkpoints.folder, ignore_errors=True)
            shutil.rmtree(self._run.path / "activations" / self.group.folder, ignore_errors=True)

    def _train(self, stream: ActivationStream, examiner: Examiner) -> list[DictionaryObjective]:
        checkpoint = self.checkpoints.latest()
        if checkpoint is not None:
            stream.load_state(checkpoint.shared["stream"])
        progress = self._progress()
        if checkpoint is not None or self._run.record.n_resumed:
            progress.rewind(0 if checkpoint is None else checkpoint.step)
        objectives = self._objectives(stream, examiner)
        self._fit(objectives, stream, progress, checkpoint)
        stream.close()
        return objectives

    def _objectives(
        self, stream: ActivationStream, examiner: Examiner
    ) -> list[DictionaryObjective]:
        self._run.event("phase", phase="calibrate")
        calibration = stream.calibration
        return [
            DictionaryObjective.start(
                self._training.wanted[name].config,
                self._recipe.dictionary.objective,
                calibration,
                n_steps=self._training.n_steps(self.group),
                seed=self._recipe.seed,
                name=name,
                inlier=examiner.exclusion.inlier,
                processes=self._processes,
                device=self._training.model.device,
            )
            for name in self._processes.trains(self.group.names)
        ]

    def _fit(
        self,
        objectives: list[DictionaryObjective],
        stream: ActivationStream,
        progress: GroupProgress,
        checkpoint: Checkpoint | None,
    ) -> None:
        progress.begin(0 if checkpoint is None else checkpoint.step, len(self.group.names))
        began, n_steps = monotonic(), self._training.n_steps(self.group)
        try:
            outcome = fit(
                objectives,
                stream,
                self._recipe.training.model_copy(update={"steps": n_steps}),
                checkpoints=self.checkpoints,
                listener=progress,
                stop=self._training.stop,
                resume=checkpoint,
                seed=self._recipe.seed,
                processes=self._processes,
            )
            n_tokens = outcome.steps * self._recipe.stream.batch_tokens
            n_tokens *= self._recipe.training.accumulate
            self._training.suite.trained(self.group.names, n_tokens, monotonic() - began)
        finally:
            self._run.sync()
        if outcome.interrupted:  # all processes agree on that, whichever heard of it
            raise KeyboardInterrupt
        self._training.stop.raise_if_requested()

    def _finish_together(
        self, objectives: list[DictionaryObjective], stream: ActivationStream
    ) -> None:
        """Save what each process trained, then measure all dictionaries, each on one process."""
        processes = self._processes
        alone = self._training.open_stream(self.group)
        alone.load_state({**stream.state(), "batches": 0})
        examiner = self._examiner(alone)
        for objective in objectives:
            whole = objective.whole()
            if processes.data.rank == 0 and processes.latent.rank == 0:
                self._saved(objective.name, whole, examiner)
        processes.world.wait()
        for name in self.group.names[processes.world.rank :: processes.world.size]:
            if not self._is_done(name):
                self._measured(name, self._load(name), examiner)
        processes.world.wait()
        for name in self.group.names if processes.is_first else ():
            report = None
            if self._recipe.evaluation.tokens:
                report = read_health(self._place("health", name))
                self._run.event("result", name=name, figures=report.headline())
            self._training.suite.finished(name, report)

    def _finish(self, objective: DictionaryObjective, examiner: Examiner) -> Measured:
        name, path = objective.name, self._place("dictionaries", objective.name)
        dictionary = self._saved(name, objective.dictionary, examiner)
        health = self._measured(name, dictionary, examiner)
        self._training.suite.finished(name, None if health is None else health.report)
        self._training.stop.raise_if_requested()
        return Measured(name, path, dictionary, health, examiner.exclusion)

    def _saved(self, name: str, trained: Dictionary, examiner: Examiner) -> Dictionary:
        """The final form of a trained dictionary, on disk; as it lies there if it does."""
        if self._is_saved(name):
            return self._load(name)
        dictionary = self._final_form(trained, examiner)
        dictionary.save(self._place("dictionaries", name))
        return dictionary

    def _load(self, name: str) -> Dictionary:
        return Dictionary.load(self._place("dictionaries", name)).to(self._training.model.device)

    def _measured(self, name: str, dictionary: Dictionary, examiner: Examiner) -> Health | None:
        if not self._recipe.evaluation.tokens:
            return None
        path = self._place("health", name)
        health = (
            read_whole_health(path)
            if path.exists()
            else examiner.measure(name, dictionary, self._run)
        )
        write_health(self._run, name, health)
        return health

    def _final_form(self, trained: Dictionary, examiner: Examiner) -> Dictionary:
        wanted = self._recipe.dictionary.threshold_tokens
        if wanted is None or not isinstance(trained.config.sparsity, TopK | BatchTopK):
            return trained.fold()
        sample = examiner.training_sample(trained.config.read_site, wanted)
        return calibrate_threshold(trained, sample)

    def _examiner(self, stream: ActivationStream) -> Examiner:
        training, recipe = self._training, self._recipe
        return Examiner(training.model, training.text, stream, recipe.evaluation, recipe.seed)

    def _sharing(self) -> Sharing:
        """Who reads with this process; on a site axis each place gets what its dictionaries need."""
        n = self._processes.mesh.site
        wanted, names = self._training.wanted, self.group.names
        sites = [sites_of([wanted[name].config for name in names[i::n]]) for i in range(n)]
        return Sharing(self._processes, sites)

    def _place(self, kind: str, name: str) -> Path:
        return self._run.artifacts / kind / name

    def _is_saved(self, name: str) -> bool:
        return self._place("dictionaries", name).exists()

    def _is_done(self, name: str) -> bool:
        measured = self._place("health", name).exists() or not self._recipe.evaluation.tokens
        return self._is_saved(name) and measured

    def _progress(self) -> GroupProgress:
        groups = self._training.groups
        before = [one for one in groups if one.number < self.group.number]
        return GroupProgress(
            self._run,
            number=self.group.number,
            n_groups=len(groups),
            first_step=sum(map(self._training.n_steps, before)),
            group_steps=self._training.n_steps(self.group),
            n_steps=sum(map(self._training.n_steps, groups)),
            n_done=sum(len(one.names) for one in before),
            n_dictionaries=len(self._training.wanted),
        )
