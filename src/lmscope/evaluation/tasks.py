"""How well a model does a task by itself: whether it goes on rightly, and how surely."""

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from scipy.stats import binomtest
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import DataError, ModelError
from lmscope.core.protocols import Tokenizer
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Estimate,
    Resamples,
)
from lmscope.models.language_model import LanguageModel
from lmscope.text.tasks.lexicon import Lexicon
from lmscope.text.tasks.task import Example

_BATCH: Final = 8
_COLUMNS: Final = (
    "logit_difference",
    "pair_accuracy",
    "choice_accuracy",
    "top1_accuracy",
    "probability_difference",
    "counterfactual_difference",
)


class KindScore(Config):
    """One form of a task."""

    kind: str
    n: int
    """Prompts."""
    pair_accuracy: Estimate
    logit_difference: Estimate


class TaskScore(Config):
    """A model on prompts of a task.

    Intervals of shares are Wilson's (wilson1927interval), which have a width where all prompts are right;
    the others are percentiles of a bootstrap over prompts.
    """

    n: int
    """Prompts."""
    logit_difference: Estimate
    """Logit of the answer that is traced less that of the wrong one; 0 for a model that cannot tell."""
    pair_accuracy: Estimate
    """Share of prompts where it is above 0; 0.5 by chance."""
    choice_accuracy: Estimate
    """Share where the best of all right and wrong tokens is a right one."""
    choice_by_chance: float
    """What a draw among them would give."""
    top1_accuracy: Estimate
    """Share where the best token of the whole vocabulary is a right one."""
    probability_difference: Estimate
    """Probability of all right tokens less that of all wrong ones."""
    counterfactual_difference: Estimate
    """The logit difference of the same two tokens after the prompts to compare with."""
    kinds: tuple[KindScore, ...]
    """Each form of the task by itself."""


@torch.no_grad()
def score_examples(
    model: LanguageModel,
    examples: Sequence[Example],
    *,
    bootstrap: BootstrapOptions = BootstrapOptions(),  # noqa: B008 (a frozen value)
    seed: int = 0,
) -> TaskScore:
    """Measure a model on prompts whose answers are known.

    Args:
        model: Any that predicts the next token.
        examples: Made for its tokenizer.
        bootstrap: How intervals are made.
        seed: Of the bootstrap.

    Raises:
        ModelError: The model predicts no next token, or has positions for fewer tokens than a prompt.
        DataError: There is no example, or its answers are no single tokens of this model.
    """
    if not model.is_causal or not model.has_logits:
        raise ModelError(
            f"'{model.name}' predicts no next token, so it has no answers: choose a causal language model."
        )
    if not examples:
        raise DataError("There is no prompt to measure on: make at least one.")
    rows = _measure(model, examples)
    kinds = np.array([example.kind for example in examples])
    resamples = _resamples(rows, np.ones(len(examples), dtype=bool), bootstrap, seed)
    by_kind = []
    for kind in sorted(set(kinds.tolist())):
        mine = _resamples(rows, kinds == kind, bootstrap, seed)
        pair, logit = (_mean(mine, name) for name in ("pair_accuracy", "logit_difference"))
        by_kind.append(
            KindScore(kind=kind, n=mine.n_contexts, pair_accuracy=pair, logit_difference=logit)
        )
    chances = [len(one.answers) / (len(one.answers) + len(one.wrongs)) for one in examples]
    return TaskScore(
        n=len(examples),
        choice_by_chance=float(np.mean(chances)),
        kinds=tuple(by_kind),
        **cast("dict[str, Any]", {name: _mean(resamples, name) for name in _COLUMNS}),
    )


def _measure(
    model: LanguageModel, examples: Sequence[Example]
) -> dict[str, Float64[np.ndarray, "prompt"]]:
    lexicon = Lexicon(cast("Tokenizer", model.tokenizer))
    answers = [[_token(lexicon, one.prompt, text) for text in one.answers] for one in examples]
    wrongs = [[_token(lexicon, one.prompt, text) for text in one.wrongs] for one in examples]
    found: dict[str, list[float]] = {name: [] for name in _COLUMNS}
    for start in range(0, len(examples), _BATCH):
        some = examples[start : start + _BATCH]
        logits = _last_logits(model, [one.prompt for one in some])
        others = _last_logits(model, [one.counterfactual for one in some])
        for i in range(len(some)):
            right, wrong = answers[start + i], wrongs[start + i]
            for name, value in _figures(logits[i], others[i], right, wrong).items():
                found[name].append(value)
    return {name: np.array(values, dtype=np.float64) for name, values in found.items()}


def _figures(
    logits: Float[Tensor, "vocab"],
    other: Float[Tensor, "vocab"],
    right: list[int],
    wrong: list[int],
) -> dict[str, float]:
    probability = logits.softmax(-1)
    difference = float(logits[right[0]] - logits[wrong[0]])
    return {
        "logit_difference": difference,
        "pair_accuracy": float(difference > 0),
        "choice_accuracy": float(logits[right].max() > logits[wrong].max()),
        "top1_accuracy": float(int(logits.argmax()) in right),
        "probability_difference": float(probability[right].sum() - probability[wrong].sum()),
        "counterfactual_difference": float(other[right[0]] - other[wrong[0]]),
    }


def _last_logits(model: LanguageModel, prompts: Sequence[str]) -> Float[Tensor, "prompt vocab"]:
    batch = model.batch(prompts)
    length = batch.shape[1]
    if model.max_positions is not None and length > model.max_positions:
        raise ModelError(
            f"A prompt has {length} tokens, and '{model.name}' has {model.max_positions} positions: choose another task."
        )
    last = batch.text_mask().sum(-1) - 1
    logits = model(batch).logits
    return logits[torch.arange(len(last), device=logits.device), last].double().cpu()


def _token(lexicon: Lexicon, prompt: str, text: str) -> int:
    found = lexicon.ids(prompt + text)
    if len(found) != len(lexicon.ids(prompt)) + 1:
        raise DataError(
            f"'{text}' after '{prompt[-40:]}' is not one token for this model: make the prompts with its own "
            "tokenizer."
        )
    return found[-1]


def _resamples(
    rows: dict[str, Float64[np.ndarray, "prompt"]],
    chosen: Bool[np.ndarray, "prompt"],
    options: BootstrapOptions,
    seed: int,
) -> Resamples:
    sums = ContextSums(int(chosen.sum()))
    sums.columns = {name: values[chosen][:, None] for name, values in rows.items()}
    sums.columns["n"] = np.ones((sums.n_contexts, 1))
    return Resamples(sums, options, seed)


def _mean(resamples: Resamples, name: str) -> Estimate:
    found = resamples.estimate(resamples.total(name) / resamples.total("n"))
    if found is None:
        raise DataError(f"The {name.replace('_', ' ')} is no number: the model gives none.")
    if not name.endswith("accuracy"):
        return found
    n = resamples.n_contexts
    test = binomtest(round(found.value * n), n)
    low, high = test.proportion_ci(resamples.options.confidence, method="wilson")
    return Estimate(value=found.value, low=float(low), high=float(high), n=n)
