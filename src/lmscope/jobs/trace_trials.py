"""Trials of a circuit: features outside it become nothing, their mean, or what they are on another prompt."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated, Final, Literal

import torch
from pydantic import Field

from lmscope.circuits.attribution import Attribution
from lmscope.circuits.config import Ablation
from lmscope.circuits.faithfulness import FaithfulnessOptions, measure
from lmscope.circuits.feature_sets import kept_by
from lmscope.circuits.means import Baseline, ZeroBaseline, mean_baseline, prompt_baseline
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.target_text import NamedTarget
from lmscope.core.config import Config
from lmscope.core.errors import DataError, RecipeError
from lmscope.core.protocols import Listener
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Estimate,
    Resamples,
    ratio,
)
from lmscope.jobs.choices import open_text
from lmscope.jobs.evaluation_task import EvaluationTask
from lmscope.jobs.trace_prompts import Prompt, counterfactual_tokens, tokens_of
from lmscope.jobs.trace_record import FaithfulnessRow, finite
from lmscope.models.language_model import LanguageModel

_WAYS: Final = tuple(
    FaithfulnessOptions(where=where, errors=errors)
    for where, errors in product(("linear", "real"), ("kept", "removed"))
)

_COLUMNS: Final = ("kept", "rest", "whole")


class AblationChoice(Config):
    """What features outside a circuit become when it is tried."""

    by: tuple[Ablation, ...] = ()
    """One trial each. `zero`: nothing. `mean`: their mean. `counterfactual`: what they are on the prompt's
    counterfactual. Absent: `zero`, and `counterfactual` on prompts that have one."""
    means: Literal["text", "prompts", "positions"] = "text"
    """Over what means are: text that the dictionaries were trained on, the prompts themselves, or the
    prompts position by position, which are then of one length."""
    tokens: Annotated[int, Field(ge=1)] = 4096
    """Of that text."""

    def of(self, prompt: Prompt) -> tuple[Ablation, ...]:
        """What is tried on a prompt."""
        if self.by:
            return tuple(dict.fromkeys(self.by))
        return ("zero",) if prompt.counterfactual is None else ("zero", "counterfactual")


def check_ablation(choice: AblationChoice, prompts: Sequence[Prompt], *, verify: bool) -> None:
    """Refuse what cannot be tried, as far as no model is needed.

    Args:
        choice: What was asked for.
        prompts: On what.
        verify: Whether anything is tried.

    Raises:
        RecipeError: A prompt lacks its counterfactual, means over one prompt were asked for, or an
            ablation and no trial.
    """
    if not verify:
        if choice.by:
            raise RecipeError(
                f"Circuits are left untried (verify = false, --unverified), so ablation by {choice.by[0]} has no "
                "effect: leave one of both out."
            )
        return
    if "counterfactual" in choice.by:
        without = next((one for one in prompts if one.counterfactual is None), None)
        if without is not None:
            raise RecipeError(
                f"Prompt '{without.name}' has no counterfactual: give one of as many tokens (--counterfactual, or "
                "the key `counterfactual` in a .jsonl file), or ablate by zero or mean."
            )
    if "mean" in choice.by and choice.means != "text" and len(prompts) < 2:
        raise RecipeError(
            f"Means over {choice.means} need at least two prompts, since those of one are its own values: give "
            "more with --prompts, or take them over text."
        )


def mean_values(
    choice: AblationChoice,
    replacement: Replacement,
    prompts: Sequence[Prompt],
    task: EvaluationTask | None,
    listener: Listener,
) -> Baseline | None:
    """The means that trials need; None where none are asked for.

    Raises:
        DataError: The text cannot be read, or prompts are not of one length.
    """
    if "mean" not in choice.by or task is None:
        return None
    listener.on_event("phase", {"phase": "means"})
    model = replacement.model
    if choice.means == "text":
        contexts = _contexts(task, model, choice.tokens)
        return mean_baseline(replacement, contexts)
    tokens = [tokens_of(model, one) for one in prompts]
    return mean_baseline(replacement, tokens, by_position=choice.means == "positions")


def trials(
    found: Attribution,
    target: NamedTarget,
    prompt: Prompt,
    choice: AblationChoice,
    means: Baseline | None,
) -> Iterator[FaithfulnessRow]:
    """The circuit and all features but it, by each ablation, in both models, with errors kept and removed.

    Raises:
        DataError: The counterfactual has another number of tokens, or means are not known.
    """
    if not found.sites:
        return
    circuit = kept_by(found)
    sets = [circuit, circuit.complement()]
    read = target.read_by(found.frozen)
    for ablation in choice.of(prompt):
        baseline = _baseline(ablation, found.frozen.replacement, prompt, means)
        for way in _WAYS:
            tried = measure(found.frozen, read, sets, baseline, way)
            faithful, rest = (finite(share) for share in tried.faithfulness())
            yield FaithfulnessRow(
                ablation=ablation,
                where=way.where,
                errors=way.errors,
                full=tried.full,
                empty=tried.empty,
                kept=tried.kept[0],
                faithfulness=faithful,
                completeness=rest,
            )


class SharedTrial(Config):
    """What circuits of many prompts bring about by themselves.

    Prompts weigh by how much taking all features out changes the target, so that one at which nothing
    hangs on them does not decide.
    """

    ablation: Ablation
    where: Literal["linear", "real"]
    errors: Literal["kept", "removed"]
    faithfulness: Estimate | None = None
    completeness: Estimate | None = None


def shared_trials(
    rows: Sequence[Sequence[FaithfulnessRow]], options: BootstrapOptions, seed: int
) -> list[SharedTrial]:
    """All prompts' trials of one kind together, with intervals over prompts.

    Args:
        rows: Of each prompt.
        options: How intervals are made.
        seed: Of the resamples.
    """
    firsts = {_kind(row): row for own in rows for row in own}
    kinds = list(firsts)
    if not kinds:
        return []
    sums = ContextSums(len(rows), len(kinds))
    for prompt, own in enumerate(rows):
        columns = {name: torch.zeros(len(kinds), dtype=torch.float64) for name in _COLUMNS}
        for row in own:
            whole, kind = row.full - row.empty, kinds.index(_kind(row))
            if row.faithfulness is None or row.completeness is None:
                continue
            columns["whole"][kind] = abs(whole)
            columns["kept"][kind] = abs(whole) * row.faithfulness
            columns["rest"][kind] = abs(whole) * row.completeness
        sums.add(torch.full((len(kinds),), prompt), torch.arange(len(kinds)), columns)
    resamples = Resamples(sums, options, seed)
    found = list[SharedTrial]()
    for kind, first in enumerate(firsts.values()):
        kept, rest, whole = (resamples.total(name, kind) for name in _COLUMNS)
        found.append(
            SharedTrial(
                ablation=first.ablation,
                where=first.where,
                errors=first.errors,
                faithfulness=resamples.estimate(ratio(kept, whole)),
                completeness=resamples.estimate(ratio(rest, whole)),
            )
        )
    return found


def _kind(row: FaithfulnessRow) -> tuple[str, str, str]:
    return row.ablation, row.where, row.errors


def _baseline(
    ablation: Ablation, replacement: Replacement, prompt: Prompt, means: Baseline | None
) -> Baseline:
    if ablation == "zero":
        return ZeroBaseline()
    if ablation == "counterfactual":
        tokens = counterfactual_tokens(replacement.model, prompt)
        assert tokens is not None
        return prompt_baseline(replacement, tokens)
    if means is None:
        raise DataError("Ablation by means needs the means of features, which nobody took.")
    return means


def _contexts(task: EvaluationTask, model: LanguageModel, n_tokens: int) -> list[list[int]]:
    """The first contexts of the training text."""
    text = task.text.model_copy(update={"max_tokens": max(n_tokens, task.text.context_length)})
    sides = open_text(text, model, seed=task.seed, held_out_tokens=0)
    rows = sides.train.rows(range(len(sides.train)))
    return [
        row[mask].tolist() for row, mask in zip(rows.tokens, rows.mask, strict=True) if mask.any()
    ]
