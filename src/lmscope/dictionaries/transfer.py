"""A dictionary under several conditions: longer contexts, other weights of the same shape.

Each condition is measured as `health` does; home, where the dictionary was trained, comes first and the others are
compared with it (he2024llamascope, sec. 4: longer contexts, the instruction-tuned model).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Float64

from lmscope.core.config import Config
from lmscope.dictionaries.figures import spread_around_mean
from lmscope.dictionaries.health import Examination
from lmscope.dictionaries.report import HealthReport
from lmscope.evaluation.contrasts import Comparison, Contrast, Figure, Measurement
from lmscope.evaluation.scoring import mean_ce_increase, share_recovered
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Estimate,
    Resamples,
    position_edges,
    ratio,
)

_ARM: Final = "dictionary"
_ARMS: Final = ("clean", _ARM, "zero", "mean")


class Weights(Config):
    """A model and which weights of it."""

    model: str | None = None
    model_hash: str | None = None


class TransferPosition(Config):
    """The figures between two positions of the context."""

    first: int
    last: int
    n_tokens: int
    l0: Estimate | None = None
    explained_variance_centred: Estimate | None = None
    normalised_mse: Estimate | None = None
    mse_over_home: Contrast | None = None
    """Mean squared error here divided by that over all positions at home: 1.12 is 12 % more."""


class TransferRow(Config):
    """One condition."""

    model: str
    model_hash: str
    context_length: int
    n_contexts: int
    n_tokens: int
    n_scored_tokens: int
    n_dead: int
    dead_fraction: float
    """Latents that never fired on these tokens; every condition has as many tokens, so they compare."""
    figures: dict[str, Estimate]
    """Those of `FIGURES` that are defined; the same values as in a health report."""
    differences: dict[str, Contrast]
    """Here minus home; empty at home."""
    mse_over_home: Contrast | None = None
    """Mean squared error divided by home's; raw, so a stream with larger norms has a larger one."""
    positions: tuple[TransferPosition, ...]
    notes: tuple[str, ...] = ()


class TransferReport(Config):
    """A dictionary's conditions, home first."""

    dictionary: str
    trained_on: Weights
    within_documents: bool
    """Whether each context held one document only; otherwise packed contexts attend across documents."""
    rows: tuple[TransferRow, ...]


@dataclass(frozen=True)
class Measured:
    """One condition's report, and the sums that it is compared by.

    Attributes:
        report: What `measure_health` gives.
        activations: Sums by unit and position; the vectors over all positions.
        losses: Sums by unit and position; None when no loss was measured.
    """

    report: HealthReport
    activations: Measurement
    losses: Measurement | None


def measured(examination: Examination, text: str, *, is_packed: bool) -> Measured:
    """What comparing needs of an examination, in little memory.

    Args:
        examination: After its last batch; with baselines, of which the mean is needed.
        text: Names the text, whatever the length of its contexts.
        is_packed: Whether contexts follow each other without a gap.
    """

    def measurement(sums: ContextSums) -> Measurement:
        return Measurement(
            sums,
            examination.first_context,
            examination.contexts.context_length,
            text,
            is_packed,
        )

    losses = _loss_sums(examination.losses)
    return Measured(
        examination.report(),
        measurement(_activation_sums(examination.activations)),
        None if losses is None else measurement(losses),
    )


def transfer_report(
    dictionary: str,
    trained_on: Weights,
    conditions: Sequence[Measured],
    *,
    within_documents: bool,
    options: BootstrapOptions,
    seed: int,
) -> TransferReport:
    """Compare every condition with the first one, which is home."""
    home = conditions[0]
    return TransferReport(
        dictionary=dictionary,
        trained_on=trained_on,
        within_documents=within_documents,
        rows=(
            _row(home, None, options, seed),
            *(_row(here, home, options, seed) for here in conditions[1:]),
        ),
    )


def _explained_variance(sums: Resamples) -> Float64[np.ndarray, "resample"]:
    return 1 - _normalised_mse(sums)


def _normalised_mse(sums: Resamples) -> Float64[np.ndarray, "resample"]:
    return ratio(sums.total(f"error/{_ARM}"), spread_around_mean(sums))


def _mean(
    column: str, sums: Resamples, bucket: int | None = None
) -> Float64[np.ndarray, "resample"]:
    return ratio(sums.total(column, bucket), sums.total("n", bucket))


_mse: Final = partial(_mean, f"error/{_ARM}")

RECONSTRUCTION: Final[Mapping[str, Figure]] = {
    "explained_variance_centred": _explained_variance,
    "normalised_mse": _normalised_mse,
    "mse": _mse,
    "l0": partial(_mean, "l0"),
}
"""Figures of activations."""
LOSS: Final[Mapping[str, Figure]] = {
    "ce_clean": partial(_mean, "ce/clean"),
    "ce_increase": partial(mean_ce_increase, arm=_ARM),
    "ce_recovered_zero": partial(share_recovered, arm=_ARM, against="zero"),
    "ce_recovered_mean": partial(share_recovered, arm=_ARM, against="mean"),
    "kl": partial(_mean, f"kl/{_ARM}"),
}
"""Figures of predictions; nats a token, or shares."""
FIGURES: Final = (*RECONSTRUCTION, *LOSS)
"""Every figure that conditions are compared by."""


def _row(
    here: Measured, home: Measured | None, options: BootstrapOptions, seed: int
) -> TransferRow:
    subject, sparsity = here.report.subject, here.report.sparsity
    by_activations = home and Comparison(here.activations, home.activations, options, seed)
    by_losses = (
        Comparison(here.losses, home.losses, options, seed)
        if home and here.losses and home.losses
        else None
    )
    contrasts = _contrasts(RECONSTRUCTION, by_activations) | _contrasts(LOSS, by_losses)
    return TransferRow(
        model=subject.model,
        model_hash=subject.model_hash,
        context_length=subject.context_length,
        n_contexts=subject.n_contexts,
        n_tokens=subject.n_tokens,
        n_scored_tokens=subject.n_scored_tokens,
        n_dead=sparsity.n_dead,
        dead_fraction=sparsity.dead_fraction,
        figures=_estimates(RECONSTRUCTION, here.activations, options, seed)
        | _estimates(LOSS, here.losses, options, seed),
        differences=contrasts,
        mse_over_home=by_activations and by_activations.quotient(_mse, _mse),
        positions=_positions(here.report, by_activations),
        notes=here.report.notes,
    )


def _estimates(
    figures: Mapping[str, Figure],
    measurement: Measurement | None,
    options: BootstrapOptions,
    seed: int,
) -> dict[str, Estimate]:
    if measurement is None:
        return {}
    sums = Resamples(measurement.sums.nonempty("n"), options, seed)
    found = {name: sums.estimate(figure(sums)) for name, figure in figures.items()}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _contrasts(figures: Mapping[str, Figure], comparison: Comparison | None) -> dict[str, Contrast]:
    if comparison is None:
        return {}
    found = {name: comparison.difference(figure) for name, figure in figures.items()}
    return {name: contrast for name, contrast in found.items() if contrast is not None}


def _positions(report: HealthReport, comparison: Comparison | None) -> tuple[TransferPosition, ...]:
    edges = position_edges(report.subject.context_length)
    return tuple(
        TransferPosition(
            first=position.first,
            last=position.last,
            n_tokens=position.n_tokens,
            l0=position.l0,
            explained_variance_centred=position.reconstruction.explained_variance_centred,
            normalised_mse=position.reconstruction.normalised_mse,
            mse_over_home=comparison
            and comparison.quotient(partial(_mse, bucket=edges.index(position.first)), _mse),
        )
        for position in report.positions
    )


def _activation_sums(whole: ContextSums) -> ContextSums:
    """Without what belongs to other arms, and the vectors added up over positions."""
    kept = ContextSums(whole.n_contexts, whole.n_buckets)
    names = ("n", "square", "l0", f"error/{_ARM}")
    kept.columns = {name: whole.columns[name] for name in names}
    kept.columns["vector"] = whole.columns["vector"].sum(axis=1, keepdims=True)
    return kept


def _loss_sums(whole: ContextSums) -> ContextSums | None:
    if not whole.columns.get("n", np.zeros(1)).any():
        return None
    kept = ContextSums(whole.n_contexts, whole.n_buckets)
    names = ["n", *(f"{kind}/{arm}" for kind in ("ce", "kl") for arm in _ARMS)]
    kept.columns = {name: whole.columns[name] for name in names if name in whole.columns}
    return kept
