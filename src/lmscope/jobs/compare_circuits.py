"""Compare circuits of many prompts: found hierarchically, by standard attribution, and drawn at random."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from lmscope.circuits.comparison import (
    Case,
    CaseResult,
    ComparisonOptions,
    ComparisonReport,
    NoFeatureError,
    summary,
    try_case,
)
from lmscope.circuits.config import ReplacementOptions
from lmscope.circuits.faithfulness import FaithfulnessOptions
from lmscope.circuits.means import Baseline, mean_baseline
from lmscope.core.config import Config
from lmscope.core.errors import DataError, RecipeError
from lmscope.core.files import write_text
from lmscope.core.protocols import Listener
from lmscope.jobs.evaluate import OtherModel
from lmscope.jobs.running import Plan, PlanValue, running
from lmscope.jobs.trace import TraceRecipe, Tracing
from lmscope.jobs.trace_dictionaries import CircuitDictionaries, find_parts
from lmscope.jobs.trace_prompts import (
    Prompt,
    PromptChoice,
    counterfactual_tokens,
    read_prompts,
    tokens_of,
)
from lmscope.jobs.trace_record import as_json, read_values
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal

REPORT_FILE: Final = "circuits.json"
"""Below `artifacts`."""
_PROMPTS: Final = "prompts"
_SETTINGS: Final = (
    FaithfulnessOptions(where="linear"),
    FaithfulnessOptions(where="real"),
    FaithfulnessOptions(where="real", errors="removed"),
)


class CircuitsComparison(ComparisonOptions):
    """How circuits are compared; what lies outside them is tried only when asked for, as it takes as long again."""

    completeness: bool = False
    """Whether all but the circuit is tried too."""


class CompareCircuitsRecipe(Recipe):
    """What `lmscope circuits` does."""

    job: Literal["circuits"] = "circuits"
    name: str = "circuits"
    model: OtherModel = OtherModel()
    """Absent keys are those of the run that trained the dictionaries."""
    dictionaries: CircuitDictionaries = CircuitDictionaries()
    prompts: PromptChoice = PromptChoice()
    at_most: Annotated[int, Field(ge=1)] | None = None
    """Only so many prompts, from the first."""
    replacement: ReplacementOptions = ReplacementOptions()
    """How the model becomes linear."""
    comparison: CircuitsComparison = CircuitsComparison()
    """Sizes and ablation; its `tried` is left to `settings`."""
    settings: Annotated[tuple[FaithfulnessOptions, ...], Field(min_length=1)] = _SETTINGS
    """In what circuits are tried, one comparison each."""


class Setting(Config):
    """What came out in one setting."""

    tried: FaithfulnessOptions
    report: ComparisonReport


class CircuitsReport(Config):
    """What one run found."""

    model: str
    weights_hash: str
    dictionaries: tuple[str, ...]
    """By the sites that they write."""
    missing: tuple[str, ...]
    """Outputs of layers without a dictionary: traced through as they are."""
    settings: tuple[Setting, ...]
    left_out: dict[str, str] = {}  # noqa: RUF012 (a frozen value)
    """Prompts below whose target no feature fires, by name, and why they are left out."""


def compare_circuits(
    recipe: CompareCircuitsRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> Run:
    """Find circuits of every prompt in three ways, at matched sizes, and try them (ge2024circuits, mueller2025mib).

    The run holds `artifacts/circuits.json`, and what each prompt gave in `artifacts/prompts`.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with; prompts that were tried are not tried again.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    prompts = _prompts(recipe)
    parts = find_parts(recipe.dictionaries, recipe.model)
    with running(recipe, root, listeners, resume) as (run, stop):
        trace = TraceRecipe(
            model=recipe.model, dictionaries=recipe.dictionaries, replacement=recipe.replacement
        )
        tracing = Tracing.open(trace, parts, run)
        run.note_weights({tracing.model.name: tracing.model.weights_hash})
        trials = _Trials(recipe, tracing, prompts, run, stop)
        settings = trials.all()
        report = CircuitsReport(
            model=tracing.model.name,
            weights_hash=tracing.model.weights_hash,
            dictionaries=tuple(str(site) for site in tracing.replacement.dictionaries),
            missing=tuple(str(site) for site in tracing.replacement.missing()),
            settings=settings,
            left_out=trials.left_out,
        )
        write_text(run.artifacts / REPORT_FILE, as_json(report.to_mapping()))
        n_prompts = settings[0].report.n_prompts
        run.event("result", name="circuits", figures={"n_prompts": n_prompts})
    return run


def plan_circuits(recipe: CompareCircuitsRecipe) -> Plan:
    """What `compare_circuits` would do; reads configurations of dictionaries, and the prompts."""
    prompts = _prompts(recipe)
    parts = find_parts(recipe.dictionaries, recipe.model)
    n_sets = 3 * len(recipe.comparison.fractions) * (1 + recipe.comparison.completeness)
    values: dict[str, PlanValue] = {
        "model": parts.model.name,
        "n_prompts": len(prompts),
        "n_dictionaries": len(parts.dictionaries),
        "settings": len(recipe.settings),
        "circuits_tried": n_sets * len(prompts) * len(recipe.settings),
        "ablation": recipe.comparison.ablation,
    }
    return Plan(values)


def read_circuits(run: Run) -> CircuitsReport:
    """What a comparison found.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    path = run.artifacts / REPORT_FILE
    return CircuitsReport.from_mapping(read_values(path), f"'{path}'")


@dataclass(eq=False)
class _Trials:
    """Every prompt in every setting; what is done lies on disk."""

    recipe: CompareCircuitsRecipe
    tracing: Tracing
    prompts: Sequence[Prompt]
    run: Run
    stop: StopSignal

    def __post_init__(self) -> None:
        self.left_out: dict[str, str] = {}

    def all(self) -> tuple[Setting, ...]:
        """What came out.

        Raises:
            DataError: A prompt cannot be traced, or below no target a feature fires.
        """
        targets = self.tracing.targets(self.prompts)
        tokens = [tokens_of(self.tracing.model, prompt) for prompt in self.prompts]
        cases = [
            Case(tuple(own), target, self._counterfactual(prompt))
            for own, target, prompt in zip(tokens, targets, self.prompts, strict=True)
        ]
        means = self._means(tokens)
        folder = self.run.artifacts / _PROMPTS
        folder.mkdir(exist_ok=True)
        found: dict[int, list[CaseResult]] = {i: [] for i in range(len(self.recipe.settings))}
        total = len(cases) * len(found)
        self.run.event("phase", phase="circuits")
        for number, (prompt, case) in enumerate(zip(self.prompts, cases, strict=True)):
            for setting, options in enumerate(self._options()):
                self.stop.raise_if_requested()
                path = folder / f"{prompt.name}-{setting}.json"
                result = self._tried(path, case, options, means, number, prompt.name)
                if result is not None:
                    found[setting].append(result)
                self.run.progress("circuits", number * len(found) + setting + 1, total)
        if not found[0]:
            reason = next(iter(self.left_out.values()))
            raise DataError(f"No prompt has a circuit to try: {reason}")
        pairs = zip(self.recipe.settings, self._options(), found.values(), strict=True)
        return tuple(
            Setting(tried=tried, report=summary(results, options))
            for tried, options, results in pairs
        )

    def _tried(
        self,
        path: Path,
        case: Case,
        options: ComparisonOptions,
        means: Baseline | None,
        number: int,
        name: str,
    ) -> CaseResult | None:
        if not path.exists():
            try:
                made = try_case(self.tracing.replacement, case, options, means=means, number=number)
            except NoFeatureError as error:
                self.left_out[name] = str(error)
                return None
            write_text(path, as_json(made.to_mapping()))
        return CaseResult.from_mapping(read_values(path), f"'{path}'")

    def _options(self) -> Iterator[ComparisonOptions]:
        for tried in self.recipe.settings:
            yield self.recipe.comparison.model_copy(update={"tried": tried})

    def _means(self, tokens: Sequence[Sequence[int]]) -> Baseline | None:
        if self.recipe.comparison.ablation != "mean":
            return None
        return mean_baseline(self.tracing.replacement, tokens)

    def _counterfactual(self, prompt: Prompt) -> tuple[int, ...] | None:
        if self.recipe.comparison.ablation != "counterfactual":
            return None
        other = counterfactual_tokens(self.tracing.model, prompt)
        return None if other is None else tuple(other)


def _prompts(recipe: CompareCircuitsRecipe) -> tuple[Prompt, ...]:
    if not recipe.prompts.texts and recipe.prompts.file is None:
        raise RecipeError(
            "There are no prompts to find circuits on: give a file of them, e.g. one that "
            "`lmscope tasks write induction --n 50` writes."
        )
    return read_prompts(recipe.prompts)[: recipe.at_most]
