"""Explain atlases: a label for each latent, scored on text that its explainer never saw."""

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.explain.background import Background
from lmscope.atlas.explain.evidence import evidence
from lmscope.atlas.explain.llm import LlmExplainer, LlmJudge
from lmscope.atlas.explain.protocols import Evidence, Explainer, Judge, Label, Score, Scorer
from lmscope.atlas.explain.report import (
    REPORT_FILE,
    Control,
    ExplainReport,
    MeanScore,
    Share,
    mean_scores,
)
from lmscope.atlas.explain.rubric import Complexity, Monosemanticity
from lmscope.atlas.explain.rule_judge import RuleJudge
from lmscope.atlas.explain.scorers import Detection, Fuzzing, Intruder, Simulation
from lmscope.atlas.explain.statistics import StatisticsExplainer
from lmscope.atlas.finding import Place, atlas_names, find_corpus, locate
from lmscope.atlas.labels import (
    LABELS_FILE,
    LABELS_FORMAT,
    LABELS_KIND,
    LabelReader,
    LabelsMeta,
    LabelWriter,
)
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.store import ATLAS_FORMAT, ATLAS_KIND, CENSUS_FILE, CensusReader
from lmscope.core.errors import ArtifactError, RecipeError, did_you_mean
from lmscope.core.protocols import Listener
from lmscope.core.rng import numpy_generator
from lmscope.jobs.running import Plan, PlanValue, running
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.runs.endpoint import AnswerError, Endpoint
from lmscope.runs.endpoint_config import EndpointConfig
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal

ScorerName = Literal[
    "detection", "fuzzing", "intruder", "simulation", "monosemanticity", "complexity"
]
BLOCK_LATENTS = 32
"""Latents whose labels are written together; a stop loses no more."""
_RUBRICS = ("monosemanticity", "complexity")


class ExplainRecipe(Recipe):
    """What `lmscope explain` does."""

    job: Literal["explain"] = "explain"
    name: str = "explain"
    atlas: str
    """A run that built atlases, or the folder of one atlas."""
    only: tuple[str, ...] = ()
    """Names of the run's atlases to explain; empty: all of them."""
    explainer: Literal["statistics", "llm"] = "statistics"
    """`statistics` counts and needs no language model; `llm` asks the endpoint."""
    judge: Literal["rule", "llm"] | None = None
    """Who answers for a label when it is scored; absent: `rule` for statistics, else `llm`."""
    scorers: tuple[ScorerName, ...] = ("detection", "fuzzing", "intruder", "simulation")
    """Detection has to be among them: it decides which labels are shown."""
    latents: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Only these; empty: all."""
    n_latents: Annotated[int, Field(ge=1)] | None = None
    """Only so many, drawn at random."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.6
    """The least lower end of a label's detection score with which it is shown; 0.5 is chance."""
    n_controls: Annotated[int, Field(ge=0)] = 500
    """Latents whose labels are exchanged to see what a wrong label scores; 0: none."""
    endpoint: EndpointConfig | None = None
    """The server of the language model."""


@dataclass(frozen=True, eq=False)
class Open:
    """An atlas, open to be explained.

    Attributes:
        name: Its name.
        digest: Of its content.
        reader: Its records.
        corpus: The text.
    """

    name: str
    digest: str
    reader: CensusReader
    corpus: FrozenCorpus


def explain(
    recipe: ExplainRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> Run:
    """Label the latents of atlases, and score every label on the half of the text kept for that.

    The run holds `artifacts/labels/NAME` for each atlas: the labels with their scores, and the report.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: An explain run to go on with; labels that it has are not made again.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    places = explained_atlases(recipe)
    with running(recipe, root, listeners, resume) as (run, stop):
        Explaining(recipe, places, run, stop).go()
    return run


def plan_explanation(recipe: ExplainRecipe) -> Plan:
    """What `explain` would do; reads what the atlases say of themselves only."""
    values: dict[str, PlanValue] = {}
    for place in explained_atlases(recipe):
        with CensusReader(place.path / CENSUS_FILE) as reader:
            n = len(_chosen(recipe, len(reader), reader.meta.dictionary))
            values[f"latents of {place.path.name}"] = n
    values["explainer"] = recipe.explainer
    values["judge"] = _judge_name(recipe)
    values["scorers"] = ", ".join(recipe.scorers)
    values["threshold"] = recipe.threshold
    if recipe.endpoint is not None:
        values["endpoint"] = f"{recipe.endpoint.model} at {recipe.endpoint.base_url}"
    return Plan(values)


def explained_atlases(recipe: ExplainRecipe) -> list[Place]:
    """Where the atlases lie.

    Raises:
        ArtifactError: There is none.
        RecipeError: The recipe contradicts itself, or `only` names an atlas that is not there.
    """
    _check(recipe)
    path = Path(recipe.atlas)
    names = atlas_names(path)
    if path.is_file():
        raise RecipeError(
            f"'{path}' is a packed atlas, which has only the text of its examples: explain the run that it "
            "was packed from."
        )
    if not names:
        if recipe.only:
            raise RecipeError(f"'{path}' is no run with several atlases: leave `only` out.")
        return [locate(path)]
    for name in recipe.only:
        if name not in names:
            raise RecipeError(f"'{path}' has no atlas '{name}'.{did_you_mean(name, names)}")
    return [locate(path, name) for name in recipe.only or names]


class Explaining:
    """One execution of an ExplainRecipe in a run folder."""

    def __init__(
        self, recipe: ExplainRecipe, places: Sequence[Place], run: Run, stop: StopSignal
    ) -> None:
        self.recipe, self.places, self.run, self.stop = recipe, places, run, stop

    def go(self) -> None:
        """Explain the atlases whose labels are not whole yet."""
        with ExitStack() as stack:
            endpoint = self._endpoint(stack)
            for place in self.places:
                if not self._target(place.path.name).exists():
                    with CensusReader(place.path / CENSUS_FILE) as reader:
                        self._explain(_open(place, reader), endpoint)
        shutil.rmtree(self.run.path / "labels", ignore_errors=True)

    def _endpoint(self, stack: ExitStack) -> Endpoint | None:
        if self.recipe.endpoint is None:
            return None
        path = self.run.path / "answers.jsonl"
        # A run whose cap was reached keeps its recipe; one with a higher cap goes on from its answers.
        known = sorted(set(self.run.path.parent.glob("*/answers.jsonl")) - {path})
        return stack.enter_context(Endpoint(self.recipe.endpoint, path, known=known))

    def _explain(self, atlas: Open, endpoint: Endpoint | None) -> None:
        one = Labelling(self.recipe, atlas, endpoint)
        chosen = _chosen(self.recipe, len(atlas.reader), atlas.name)
        working = self.run.path / "labels" / f"{atlas.name}.sqlite"
        with LabelWriter(working, self._meta(atlas, one)) as writer:
            if writer.notice is not None:
                self.run.event("notice", message=writer.notice)
            self._label(one, writer, chosen)
            with write_artifact(self._target(atlas.name), LABELS_KIND, LABELS_FORMAT) as folder:
                self.run.event("phase", phase="controls", atlas=atlas.name)
                with LabelReader(writer.seal(folder / LABELS_FILE)) as labels:
                    report = one.report(labels, chosen, self.stop)
                text = json.dumps(report.to_mapping(), indent=1, sort_keys=True) + "\n"
                (folder / REPORT_FILE).write_text(text, encoding="utf-8")
            writer.remove()
        self.run.event("result", name=atlas.name, figures=report.headline())

    def _label(self, one: "Labelling", writer: LabelWriter, chosen: Sequence[int]) -> None:
        self.run.event("phase", phase="explain", atlas=one.atlas.name)
        done = writer.written()
        missing = [latent for latent in chosen if latent not in done]
        n_done = len(chosen) - len(missing)
        for first in range(0, len(missing), BLOCK_LATENTS):
            block = missing[first : first + BLOCK_LATENTS]
            writer.append([one.label(record) for record in one.atlas.reader.records(block)])
            n_done += len(block)
            if one.unusable:
                self.run.event("unusable_answers", latents=one.unusable)
                one.unusable = []
            self.run.progress("explain", n_done, len(chosen))
            self.stop.raise_if_requested()

    def _meta(self, atlas: Open, one: "Labelling") -> LabelsMeta:
        options = self.recipe.model_dump(mode="json", exclude_none=True)
        kept = ("scorers", "seed", "latents", "n_latents")
        return LabelsMeta(
            atlas_digest=atlas.digest,
            dictionary_digest=atlas.reader.meta.dictionary_digest,
            explainer=one.explainer.name,
            judge=one.judge.name,
            threshold=self.recipe.threshold,
            options={key: options[key] for key in kept if key in options},
        )

    def _target(self, name: str) -> Path:
        return self.run.artifacts / "labels" / name


class Labelling:
    """Labels and scores the latents of one atlas.

    Attributes:
        atlas: Whose.
        explainer: Reads the open side.
        judge: Answers for labels.
        scorers: Ask on the held-out side.
        unusable: Latents for which the endpoint gave nothing usable, since this was last emptied.
    """

    def __init__(self, recipe: ExplainRecipe, atlas: Open, endpoint: Endpoint | None) -> None:
        self.recipe, self.atlas = recipe, atlas
        self.stretch = atlas.reader.meta.options.stretch
        self.explainer = self._make_explainer(endpoint)
        self.judge = self._make_judge(endpoint)
        self.scorers = [_scorer(name, recipe.seed, endpoint) for name in recipe.scorers]
        self.unusable: list[int] = []

    def label(self, record: LatentRecord) -> tuple[Label, list[Score]]:
        """The label of a latent and its scores; an empty label without any where nothing is known."""
        nothing = Label(record.latent, "", self.explainer.name)
        if record.is_dead:
            return nothing, []
        corpus = self.atlas.corpus
        try:
            label = self.explainer.explain(evidence(record, corpus, "open", stretch=self.stretch))
        except AnswerError:
            self.unusable.append(record.latent)
            return nothing, []
        held_out = evidence(record, corpus, "held_out", stretch=self.stretch)
        scores = [self._score(scorer, label, held_out) for scorer in self.scorers]
        return label, [score for score in scores if score is not None]

    def report(self, labels: LabelReader, chosen: Sequence[int], stop: StopSignal) -> ExplainReport:
        """The figures over the latents that were labelled."""
        fired = {r.latent for r in self.atlas.reader.records(chosen) if not r.is_dead}
        said = [label.latent for label in labels.labels() if label.text]
        shown = labels.known()
        return ExplainReport(
            explainer=self.explainer.name,
            judge=self.judge.name,
            threshold=self.recipe.threshold,
            n_latents=len(chosen),
            n_dead=len(chosen) - len(fired),
            n_said=len(said),
            not_known=Share.of(len(fired - shown), len(fired)) if fired else None,
            scores=mean_scores([labels.scores(latent) for latent in said]),
            scores_shown=mean_scores([labels.scores(latent) for latent in sorted(shown)]),
            controls=self._controls(labels, said, stop),
        )

    def _controls(
        self, labels: LabelReader, said: Sequence[int], stop: StopSignal
    ) -> dict[str, Control]:
        found: dict[str, list[tuple[float, Score]]] = {"shuffled": [], "neighbour": []}
        draw = numpy_generator(self.recipe.seed, "controls", self.atlas.name)
        n = min(self.recipe.n_controls, len(said))
        sample = draw.permutation(said)[:n].tolist() if n > 1 else []
        for place, latent in enumerate(sample):
            stop.raise_if_requested()
            true = _detection(labels.scores(latent))
            if true is None:
                continue
            record = self.atlas.reader.record(latent)
            others = {"shuffled": sample[place - 1], "neighbour": _neighbour(record, labels)}
            for kind, other in others.items():
                if other is not None and (wrong := self._wrong(record, labels.label(other))):
                    found[kind].append((true.value, wrong))
        return {kind: self._control(pairs) for kind, pairs in found.items() if pairs}

    def _wrong(self, record: LatentRecord, label: Label | None) -> Score | None:
        """What the label of another latent scores."""
        if label is None:
            return None
        held_out = evidence(record, self.atlas.corpus, "held_out", stretch=self.stretch)
        return self._score(Detection(), label, held_out)

    def _score(self, scorer: Scorer, label: Label, held_out: Evidence) -> Score | None:
        try:
            return scorer.score(label, held_out, self.judge)
        except AnswerError:
            self.unusable.append(label.latent)
            return None

    def _control(self, pairs: Sequence[tuple[float, Score]]) -> Control:
        n_accepted = sum(score.low >= self.recipe.threshold for _, score in pairs)
        return Control(
            true=MeanScore.of([true for true, _ in pairs]),
            wrong=MeanScore.of([score.value for _, score in pairs]),
            accepted=Share.of(n_accepted, len(pairs)),
        )

    def _make_explainer(self, endpoint: Endpoint | None) -> Explainer:
        if self.recipe.explainer == "llm":
            return LlmExplainer(_needed(endpoint))
        return StatisticsExplainer(Background(self.atlas.corpus, stretch=self.stretch))

    def _make_judge(self, endpoint: Endpoint | None) -> Judge:
        return LlmJudge(_needed(endpoint)) if _judge_name(self.recipe) == "llm" else RuleJudge()


def read_report(path: Path | str) -> ExplainReport:
    """The report of a folder of labels.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    read_manifest(path, LABELS_KIND, (LABELS_FORMAT,))
    file = Path(path) / REPORT_FILE
    try:
        return ExplainReport.from_mapping(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecipeError) as error:
        raise ArtifactError(f"'{file}' is damaged: {error} Explain the atlas anew.") from None


def _check(recipe: ExplainRecipe) -> None:
    """Refuse what contradicts itself, before anything is read."""
    judge = _judge_name(recipe)
    if recipe.explainer == "llm" and judge == "rule":
        raise RecipeError(
            "The judge 'rule' follows rules, and a language model's labels have none: use the judge 'llm'."
        )
    if "detection" not in recipe.scorers:
        raise RecipeError("The scorers lack 'detection', which decides what is shown: add it.")
    asks = [name for name in (recipe.explainer, judge) if name == "llm"]
    asks += [name for name in recipe.scorers if name in _RUBRICS]
    if asks and recipe.endpoint is None:
        raise RecipeError(
            f"'{asks[0]}' asks a language model: say which with --endpoint URL and --llm NAME, or the table "
            "endpoint."
        )
    if recipe.endpoint is not None and not asks:
        raise RecipeError(
            "An endpoint is given that nothing asks: choose --explainer llm, --judge llm or a rubric, or "
            "leave it out."
        )
    if recipe.latents and recipe.n_latents is not None:
        raise RecipeError("Both latents and n_latents are given: leave one out.")


def _judge_name(recipe: ExplainRecipe) -> str:
    return recipe.judge or ("rule" if recipe.explainer == "statistics" else "llm")


def _needed(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise RecipeError("A language model is asked, but no endpoint is given.")
    return endpoint


def _scorer(name: ScorerName, seed: int, endpoint: Endpoint | None) -> Scorer:
    match name:
        case "detection":
            return Detection()
        case "fuzzing":
            return Fuzzing(seed)
        case "intruder":
            return Intruder(seed)
        case "simulation":
            return Simulation(seed)
        case "monosemanticity":
            return Monosemanticity(_needed(endpoint))
        case "complexity":
            return Complexity(_needed(endpoint))


def _open(place: Place, reader: CensusReader) -> Open:
    digest = read_manifest(place.path, ATLAS_KIND, (ATLAS_FORMAT,)).content_digest
    corpus = find_corpus(place, reader.meta.corpus_digest, None)
    return Open(place.path.name, digest, reader, corpus)


def _chosen(recipe: ExplainRecipe, n_latents: int, name: str) -> list[int]:
    """The latents that are asked about, ascending."""
    if recipe.latents:
        if (largest := max(recipe.latents)) >= n_latents:
            raise RecipeError(
                f"There is no latent {largest}: '{name}' has {n_latents}, from 0 to {n_latents - 1}."
            )
        return sorted(set(recipe.latents))
    if recipe.n_latents is None or recipe.n_latents >= n_latents:
        return list(range(n_latents))
    draw = numpy_generator(recipe.seed, "latents", name)
    return sorted(draw.choice(n_latents, size=recipe.n_latents, replace=False).tolist())


def _detection(scores: Iterable[Score]) -> Score | None:
    return next((score for score in scores if score.scorer == "detection"), None)


def _neighbour(record: LatentRecord, labels: LabelReader) -> int | None:
    """The latent of the nearest decoder row that has a label, and not the same one."""
    own = labels.label(record.latent)
    for neighbour in record.neighbours:
        label = labels.label(neighbour.id)
        if label is not None and label.text and (own is None or label.text != own.text):
            return neighbour.id
    return None
