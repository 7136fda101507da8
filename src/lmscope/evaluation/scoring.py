"""Score a model under edits: cross-entropy and KL of each arm, for each context and position."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float64
from pydantic import Field
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError, SiteError
from lmscope.core.site import ATTENTION_PARTS, Site
from lmscope.evaluation.losses import CleanPass, Question, ask, check_scorable, resume_site
from lmscope.evaluation.rows import TextContexts, TextRows, n_units, text_rows
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Estimate,
    Resamples,
    bucket_of,
    position_edges,
    ratio,
)
from lmscope.models.edit import At, EditFunction, Edits
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel


class ScoringOptions(Config):
    """How much text is scored, and how."""

    n_contexts: Annotated[int, Field(ge=1)] | None = None
    """Contexts to score, at even distances through the text; all when absent."""
    batch_contexts: Annotated[int, Field(ge=1)] = 8
    """Contexts of one forward pass; the scores of all their tokens are held twice."""
    mask_fraction: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of tokens that a masked language model has to guess."""
    bootstrap: BootstrapOptions = BootstrapOptions()
    seed: int = 0


@dataclass(frozen=True)
class ArmScores:
    """Sums of each arm's losses, kept for each context and position bucket.

    Columns of `sums`: `n` counted tokens, `ce/clean`, and `ce/ARM`, `kl/ARM` for each arm; nats.

    Attributes:
        arms: Names in the order given, without `clean`.
        edges: Where the position buckets begin.
        sums: The sums.
        options: Those that made them.
    """

    arms: tuple[str, ...]
    edges: tuple[int, ...]
    sums: ContextSums
    options: ScoringOptions = field(default_factory=ScoringOptions)

    def resamples(self) -> Resamples:
        """Totals with their resamples, from contexts in which something counted."""
        return Resamples(self.sums.nonempty("n"), self.options.bootstrap, self.options.seed)


def score_edits(
    model: LanguageModel,
    contexts: TextContexts,
    arms: Mapping[str, Edits],
    *,
    exclusion: Exclusion,
    options: ScoringOptions = ScoringOptions(),  # noqa: B008 (a frozen value)
) -> ArmScores:
    """Cross-entropy of a model, clean and under each arm's edits, on the same tokens.

    Every edit is spliced in: positions that the exclusion mask leaves out keep their clean value.
    Layers below the first edited site run once for all arms.

    Args:
        model: Causal, or masked (then a fixed, seeded share of tokens is hidden and guessed).
        contexts: Held-out text.
        arms: Edits by name; `clean` is always scored beside them.
        exclusion: Which tokens and outliers stay out, and stay clean.
        options: How much text.

    Raises:
        ModelError: The model predicts no tokens.
        RecipeError: An arm is called `clean`.
        DataError: There is no context.
    """
    check_scorable(model)
    if "clean" in arms:
        raise RecipeError("'clean' is the name of the unedited run: give the arm another name.")
    edges = position_edges(contexts.context_length)
    start_site = resume_site(model, {site for edits in arms.values() for site in edits})
    max_units = options.bootstrap.max_units
    sums = ContextSums(n_units(contexts, options.n_contexts, max_units), len(edges))
    for rows in text_rows(contexts, options.n_contexts, options.batch_contexts, max_units):
        placed = rows.to(model.device)
        keep = exclusion.keep_tokens(placed.tokens, placed.batch.text_mask(), model.special_ids)
        question = ask(model, placed, keep, options.mask_fraction, options.seed)
        clean = clean_pass(model, question, start_site)
        spliced_arms = {
            name: {site: spliced(fn, keep, exclusion) for site, fn in edits.items()}
            for name, edits in arms.items()
        }
        add_losses(sums, clean, spliced_arms, placed, question, edges)
    return ArmScores(tuple(arms), edges, sums, options)


def clean_pass(model: LanguageModel, question: Question, start_site: Site | None) -> CleanPass:
    """The unedited run; reads the value at `start_site` to resume the arms from."""
    if start_site is None:
        return CleanPass(model, question, None)
    value = model.read(question.batch, (start_site,))[start_site]
    return CleanPass(model, question, (start_site, value))


def add_losses(
    sums: ContextSums,
    clean: CleanPass,
    arms: Mapping[str, Edits],
    rows: TextRows,
    question: Question,
    edges: tuple[int, ...],
) -> None:
    """Run each arm over one batch and add its losses to the columns `n`, `ce/*`, `kl/*`."""
    row, _ = question.counted.nonzero(as_tuple=True)
    position = rows.batch.absolute_positions()[question.counted]
    columns = {"n": torch.ones_like(clean.ce), "ce/clean": clean.ce}
    for name, edits in arms.items():
        losses = clean.losses(edits)
        columns |= {f"ce/{name}": losses.ce, f"kl/{name}": losses.kl}
    sums.add(rows.unit[row], bucket_of(position, edges), columns)


def spliced(
    function: EditFunction, keep: Bool[Tensor, "batch pos"], exclusion: Exclusion | None = None
) -> EditFunction:
    """An edit that changes kept positions only; every other position keeps its clean value, bit for bit.

    Args:
        function: The edit.
        keep: Where it may act.
        exclusion: If given, values that are outliers at the edit's site stay clean too.
    """
    return partial(_splice, function, keep, exclusion)


def _splice(
    function: EditFunction, keep: Tensor, exclusion: Exclusion | None, x: Tensor, at: At
) -> Tensor:
    if at.site.part in ("scores", "pattern"):
        raise SiteError(
            f"'{at.site}' has a value for each pair of positions, so no position can be left clean: "
            f"edit one of {', '.join(part for part in ATTENTION_PARTS if part not in ('scores', 'pattern'))}."
        )
    if exclusion is not None and at.site in exclusion.median_norm:
        keep = keep & exclusion.inlier(at.site, x.flatten(2))
    wide = keep.view(*keep.shape, *[1] * (x.ndim - 2))
    return torch.where(wide, function(x, at).to(x.dtype), x)


def mean_ce(resamples: Resamples, arm: str, bucket: int | None = None) -> Estimate | None:
    """Mean cross-entropy of an arm (or `clean`), nats a token."""
    n = resamples.total("n", bucket)
    return resamples.estimate(ratio(resamples.total(f"ce/{arm}", bucket), n))


def mean_kl(resamples: Resamples, arm: str, bucket: int | None = None) -> Estimate | None:
    """Mean KL divergence from the clean model's prediction to the arm's, nats a token."""
    n = resamples.total("n", bucket)
    return resamples.estimate(ratio(resamples.total(f"kl/{arm}", bucket), n))


def mean_ce_increase(
    resamples: Resamples, arm: str, bucket: int | None = None
) -> Float64[np.ndarray, "resample"]:
    """By how much an arm raises the mean cross-entropy of each resample, nats a token.

    Llama Scope's Delta LM loss (he2024llamascope, sec. 4).
    """
    increase = resamples.total(f"ce/{arm}", bucket) - resamples.total("ce/clean", bucket)
    return ratio(increase, resamples.total("n", bucket))


def ce_recovered(
    resamples: Resamples, arm: str, against: str, bucket: int | None = None
) -> Estimate | None:
    """Share of the loss that `against` costs which the arm does not (bricken2023monosemanticity).

    `(CE_against - CE_arm) / (CE_against - CE_clean)` of mean losses over the same tokens: 1 where
    the arm predicts like the clean model, 0 where it predicts like `against`; may lie outside.

    Returns:
        None where `against` costs nothing, so that there is nothing to recover.
    """
    return resamples.estimate(share_recovered(resamples, arm, against, bucket))


def share_recovered(
    resamples: Resamples, arm: str, against: str, bucket: int | None = None
) -> Float64[np.ndarray, "resample"]:
    """`ce_recovered` of each resample; NaN where `against` costs nothing."""
    clean, arm_ce, other = (
        resamples.total(f"ce/{name}", bucket) for name in ("clean", arm, against)
    )
    cost = other - clean
    return ratio(other - arm_ce, cost * (cost > 0))
