"""Trace: which features, tokens and constants a prediction, a feature or a score of a prompt is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal, cast

import torch
from pydantic import Field

from lmscope.circuits.attribution import Attribution, attribute, sweep
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.frozen import Frozen, freeze
from lmscope.circuits.graph import SUFFIX, Graph
from lmscope.circuits.graph_building import build_graph
from lmscope.circuits.means import Baseline
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.target_text import NamedTarget, parse_target, resolve_target
from lmscope.circuits.targets import Start
from lmscope.core.errors import DataError
from lmscope.core.files import write_text
from lmscope.core.protocols import Listener, Tokenizer
from lmscope.jobs.bench import measured_exclusion
from lmscope.jobs.choices import load_model
from lmscope.jobs.evaluate import OtherModel
from lmscope.jobs.running import Plan, PlanValue, running
from lmscope.jobs.trace_dictionaries import (
    CircuitDictionaries,
    CircuitParts,
    check_weights,
    find_parts,
)
from lmscope.jobs.trace_inputs import pairs_of, why_not
from lmscope.jobs.trace_label_file import Labels, features_of, write_labels
from lmscope.jobs.trace_labels import CircuitAtlases
from lmscope.jobs.trace_prompts import (
    Prompt,
    PromptChoice,
    counterfactual_tokens,
    read_prompts,
    tokens_of,
)
from lmscope.jobs.trace_record import (
    GRAPHS,
    TABLE_FILE,
    TOGETHER_FILE,
    FaithfulnessRow,
    Predicted,
    SweepRow,
    TraceRecord,
    TraceReport,
    as_json,
    finite,
    load_graph,
    read_record,
)
from lmscope.jobs.trace_together import TogetherOptions, check_together, put_together
from lmscope.jobs.trace_trials import (
    AblationChoice,
    check_ablation,
    mean_values,
    shared_trials,
    trials,
)
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.text.pieces import token_pieces

N_PREDICTED: Final = 5
USUAL_SWEEP: Final = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0)
_HALF: Final = (torch.float16, torch.bfloat16)


class TraceRecipe(Recipe):
    """What `lmscope trace` does."""

    job: Literal["trace"] = "trace"
    name: str = "trace"
    model: OtherModel = OtherModel()
    """Absent keys are those of the run that trained the dictionaries."""
    dictionaries: CircuitDictionaries = CircuitDictionaries()
    prompts: PromptChoice = PromptChoice()
    replacement: ReplacementOptions = ReplacementOptions()
    """How the model becomes linear."""
    trace: TraceOptions = TraceOptions()
    """How far the target is traced."""
    sweep: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """More thresholds at which features and shares are counted; the graph is of `trace.threshold`."""
    least_flow: Annotated[float, Field(ge=0)] = 1e-4
    """Edges with a smaller share of the target are left out of the graph, and so are tokens and errors
    that add less."""
    verify: bool = True
    """Whether the circuit is tried: features outside it taken out, in the linear model and in the model itself."""
    ablation: AblationChoice = AblationChoice()
    """What they become then."""
    together: TogetherOptions = TogetherOptions()
    """Whether the circuit that all prompts share is looked for."""
    labels: tuple[str, ...] = ()
    """Atlases (runs, folders or packed files) that say what features mean; absent: those of the runs that trained the
    dictionaries, where they hold some."""


@dataclass(frozen=True, eq=False)
class Traced:
    """A prompt that was traced.

    Attributes:
        graph: Its circuit.
        record: What was found.
    """

    graph: Graph
    record: TraceRecord


def trace(
    recipe: TraceRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
    opened: "Tracing | None" = None,
) -> Run:
    """Trace targets of prompts down to tokens, features and constants (ge2024circuits; he2024othello).

    The run holds `artifacts/graphs/NAME.graph` for each prompt, and `artifacts/traces.json`.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with; prompts that are done are not traced again.
        opened: Model and dictionaries of the recipe that are in memory already; absent: they are loaded.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    prompts = _prompts(recipe)
    parts = find_parts(recipe.dictionaries, recipe.model)
    check_together(recipe.together, len(prompts), parts.labelled_by(recipe.labels))
    with running(recipe, root, listeners, resume) as (run, stop):
        # What cannot be read is told now.
        CircuitAtlases(parts.labelled_by(recipe.labels), parts.dictionaries).close()
        if opened is None:
            tracing = Tracing.open(recipe, parts, run)
        else:
            tracing = replace(opened, recipe=recipe, parts=parts)
        run.note_weights({tracing.model.name: tracing.model.weights_hash})
        targets = tracing.targets(prompts)
        tracing = tracing.with_means(prompts, run)
        folder = run.artifacts / GRAPHS
        folder.mkdir(exist_ok=True)
        records: list[TraceRecord] = []
        run.event("phase", phase="trace")
        for prompt, target in zip(prompts, targets, strict=True):
            stop.raise_if_requested()
            done = folder / f"{prompt.name}.json"
            if not done.exists():
                found = _named(tracing, prompt, target, len(prompts))
                found.graph.save(folder / f"{prompt.name}{SUFFIX}")
                write_text(done, as_json(found.record.to_mapping()))
            records.append(read_record(done))
            run.progress("trace", len(records), len(prompts))
        _finish(tracing, run, records)
    return run


def _prompts(recipe: TraceRecipe) -> tuple[Prompt, ...]:
    """The prompts, and what is asked of them checked as far as no model is needed."""
    prompts = read_prompts(recipe.prompts)
    check_ablation(recipe.ablation, prompts, verify=recipe.verify)
    return prompts


def _finish(tracing: "Tracing", run: Run, records: Sequence[TraceRecord]) -> None:
    """What is made of all prompts: labels, the shared circuit, and the table."""
    recipe, labels = tracing.recipe, Labels()
    if sources := tracing.parts.labelled_by(recipe.labels):
        named = (features_of(load_graph(run, one.name)) for one in records)
        with CircuitAtlases(sources, tracing.parts.dictionaries) as atlases:
            labels = atlases.labels([feature for one in named for feature in one.values()])
        write_labels(run, labels)
    if recipe.together.wanted:
        run.event("phase", phase="together")
        graphs = [load_graph(run, one.name) for one in records]
        shared = put_together(recipe.together, graphs, tracing.replacement, labels)
        bootstrap, seed = recipe.together.aggregation.bootstrap, recipe.together.aggregation.seed
        tried = shared_trials([one.faithfulness for one in records], bootstrap, seed)
        values = {**shared, "faithfulness": [one.to_mapping() for one in tried]}
        write_text(run.artifacts / TOGETHER_FILE, as_json(values))
    report = tracing.report(records)
    write_text(run.artifacts / TABLE_FILE, as_json(report.to_mapping()))
    run.event("result", name="trace", figures=_figures(records))


def plan_trace(recipe: TraceRecipe) -> Plan:
    """What `trace` would do; reads configurations of dictionaries, and the prompts."""
    prompts = _prompts(recipe)
    parts = find_parts(recipe.dictionaries, recipe.model)
    check_together(recipe.together, len(prompts), parts.labelled_by(recipe.labels))
    values: dict[str, PlanValue] = {
        "model": parts.model.name,
        "n_prompts": len(prompts),
        "target": prompts[0].target or "top",
        "threshold": recipe.trace.threshold,
        "mlp": recipe.replacement.mlp,
        "computed_in": recipe.replacement.dtype,
    }
    rows = [
        {
            "writes": str(one.config.write_site),
            "dictionary": one.name,
            "latents": one.config.n_latents,
        }
        for one in parts.dictionaries
    ]
    return Plan(values, {"dictionaries": rows}, ("dictionaries",))


@dataclass(frozen=True, eq=False)
class Tracing:
    """A model with its dictionaries, ready to trace prompts.

    Attributes:
        recipe: How.
        replacement: The model made linear.
        parts: What it is made of.
        stored_in: Number format of the model's weights, before they were widened.
        means: Of features, where the recipe asks for trials by them.
    """

    recipe: TraceRecipe
    replacement: Replacement
    parts: CircuitParts
    stored_in: str
    means: Baseline | None = None

    @property
    def model(self) -> LanguageModel:
        """The model."""
        return self.replacement.model

    @classmethod
    def open(cls, recipe: TraceRecipe, parts: CircuitParts, listener: Listener) -> "Tracing":
        """Load model and dictionaries, and tell where activations are outliers.

        Raises:
            ArtifactError: A dictionary was trained on another model.
            LmscopeError: They do not go together, or cannot be read.
        """
        model = load_model(parts.model, listener)
        check_weights(model, parts.dictionaries, other_model=recipe.dictionaries.other_model)
        stored_in = widen(model, listener)
        dictionaries = [one.load().to(model.device) for one in parts.dictionaries]
        replacement = Replacement(model, dictionaries, recipe.replacement)
        exclusion = Exclusion()
        if parts.task is not None:
            sites = [one.config.read_site for one in dictionaries]
            n_tokens = recipe.dictionaries.calibration_tokens
            exclusion = measured_exclusion(parts.task, model, sites, listener, n_tokens)
        replacement.exclusion = exclusion
        tracing = cls(recipe, replacement, parts, stored_in)
        tracing.say_what_is_covered(listener)
        return tracing

    def say_what_is_covered(self, listener: Listener) -> None:
        """Tell which outputs have no dictionary, and what becomes of them."""
        missing = [str(site) for site in self.replacement.missing()]
        covered = self.replacement.dictionaries
        if not missing:
            return
        how = {
            "gates": "feed-forward layers through their frozen gates",
            "half_rule": "feed-forward layers by the half rule",
            "leaf": "feed-forward outputs as leaves",
        }
        message = (
            f"Dictionaries stand at {', '.join(map(str, covered)) or 'no site'}; "
            f"{len(missing)} layer outputs have none and are traced through: attention with its frozen "
            f"patterns, {how[self.recipe.replacement.mlp]}."
        )
        listener.on_event("covered", {"missing": missing, "message": message})

    def targets(self, prompts: Sequence[Prompt]) -> list[NamedTarget]:
        """The target of each prompt, so that all are known to be there before the first is traced.

        Raises:
            DataError: A token or feature is not there, or a counterfactual is of another length.
            ModelError: A prompt is too long.
        """
        found, sites = [], self.parts.sites()
        for prompt in prompts:
            tokens_of(self.model, prompt)
            counterfactual_tokens(self.model, prompt)
            found.append(resolve_target(parse_target(prompt.target), self.model, sites))
        return found

    def with_means(self, prompts: Sequence[Prompt], listener: Listener) -> "Tracing":
        """The same with the means that the recipe's trials need.

        Raises:
            DataError: The text cannot be read, or prompts differ in length and means are by position.
        """
        recipe = self.recipe
        if not recipe.verify:
            return self
        task = self.parts.task
        return replace(
            self, means=mean_values(recipe.ablation, self.replacement, prompts, task, listener)
        )

    def trace(self, prompt: Prompt, target: NamedTarget) -> Traced:
        """Trace one prompt.

        Raises:
            DataError: There is no such position, latent or head.
            LedgerError: The parts do not sum to the target.
        """
        recipe, model = self.recipe, self.model
        tokens = tokens_of(model, prompt)
        frozen = freeze(self.replacement, tokens)
        found = attribute(frozen, target, recipe.trace)
        graph = build_graph(
            found,
            recipe.trace,
            prompt=prompt.text,
            texts=token_pieces(cast("Tokenizer", model.tokenizer), tokens),
            names=self.parts.names(),
            least_flow=recipe.least_flow * abs(found.start.value),
        )
        place = found.start.position
        assert place is not None
        logits = _model_logits(frozen, place)
        record = TraceRecord(
            name=prompt.name,
            prompt=prompt.text,
            target=found.start.name,
            value=found.start.value,
            model_value=_model_value(target, found.start, logits),
            probability=_probability(found.start, logits),
            recovered=finite(found.ledger.recovered),
            ledger={k: v for k, v in found.ledger.to_mapping().items() if k != "recovered"},
            n_features=found.n_kept,
            n_reached=found.n_reached,
            n_nodes=len(graph),
            n_edges=len(graph.flow),
            n_tokens=len(tokens),
            position=place,
            predictions=_predictions(model, logits),
            sweep=tuple(self._sweep(frozen, target)),
            faithfulness=tuple(self._tried(found, target, prompt)) if recipe.verify else (),
            score=pairs_of(found, target),
            why_not=why_not(found, graph, target),
        )
        return Traced(graph, record)

    def _tried(
        self, found: Attribution, target: NamedTarget, prompt: Prompt
    ) -> Iterator[FaithfulnessRow]:
        return trials(found, target, prompt, self.recipe.ablation, self.means)

    def _sweep(self, frozen: Frozen, target: NamedTarget) -> Iterator[SweepRow]:
        recipe = self.recipe
        swept = sweep(frozen, target, recipe.sweep, recipe.trace)
        for threshold, one in zip(recipe.sweep, swept, strict=True):
            yield SweepRow(
                threshold=threshold,
                n_features=one.n_kept,
                recovered=finite(one.ledger.recovered),
                cut=one.ledger.cut,
                errors=one.ledger.summary()["errors"],
                residual=one.ledger.residual,
            )

    def report(self, records: Sequence[TraceRecord]) -> TraceReport:
        """What all prompts have in common, with a row for each."""
        own = self.parts.names()
        return TraceReport(
            model=self.model.name,
            weights_hash=self.model.weights_hash,
            stored_in=self.stored_in,
            computed_in=self.recipe.replacement.dtype,
            dictionaries={str(site): own[site][0] for site in self.replacement.dictionaries},
            missing=tuple(str(site) for site in self.replacement.missing()),
            mlp=self.recipe.replacement.mlp,
            traces=tuple(records),
        )


def widen(model: LanguageModel, listener: Listener) -> str:
    """Compute in float32 where weights are stored in half precision, which cannot hold a ledger.

    Returns:
        The number format that the weights are stored in.
    """
    stored_in = str(model.dtype).removeprefix("torch.")
    if model.dtype in _HALF:
        model.hf.float()
        message = (
            f"{model.name} is stored in {stored_in}, which cannot hold a ledger: its weights, as they are, are "
            "computed with in float32."
        )
        listener.on_event("widened", {"stored_in": stored_in, "message": message})
    return stored_in


def _named(tracing: Tracing, prompt: Prompt, target: NamedTarget, n_prompts: int) -> Traced:
    """Trace one prompt; what is wrong with one of many names it."""
    try:
        return tracing.trace(prompt, target)
    except DataError as error:
        where = "" if n_prompts == 1 else f"Prompt '{prompt.name}': "
        raise DataError(f"{where}{error}") from None


@torch.no_grad()
def _model_logits(frozen: Frozen, place: int) -> torch.Tensor:
    model = frozen.replacement.model
    return model(Batch(tokens=frozen.tokens[None])).logits[0, place].double()


def _model_value(target: NamedTarget, start: Start, logits: torch.Tensor) -> float | None:
    if start.token is None:
        return None
    value = float(logits[start.token])
    if start.against is not None:
        return value - float(logits[start.against])
    return value - float(logits.mean()) if target.is_demeaned else value


def _probability(start: Start, logits: torch.Tensor) -> float | None:
    return None if start.token is None else float(logits.softmax(-1)[start.token])


def _predictions(model: LanguageModel, logits: torch.Tensor) -> tuple[Predicted, ...]:
    probabilities = logits.softmax(-1)
    best = probabilities.topk(min(N_PREDICTED, len(probabilities)))
    return tuple(
        Predicted(
            token=token,
            text=str(model.tokenizer.decode([token])),
            probability=probability,
            logit=float(logits[token]),
        )
        for probability, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    )


def _figures(records: Sequence[TraceRecord]) -> dict[str, float | int]:
    worst = max(abs(one.ledger["residual"]) / one.ledger["tolerance"] for one in records)
    return {
        "n_prompts": len(records),
        "n_features": sum(one.n_features for one in records),
        "worst_residual_in_tolerances": worst,
    }
