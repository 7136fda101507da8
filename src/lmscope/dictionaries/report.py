"""HealthReport: how good a dictionary is on held-out text, as plain values with one definition each.

Notation: y the true activation of the written site, yh its reconstruction, sums over the N
evaluated tokens, m the mean of y over them.
"""

from typing import Any, NamedTuple

from lmscope.core.config import Config
from lmscope.evaluation.statistics import Estimate


class Subject(Config):
    """What was measured on what."""

    model: str
    model_hash: str
    reads: str
    writes: str
    n_latents: int
    text: str | None = None
    """Fingerprint of the contexts."""
    context_length: int
    n_contexts: int
    n_tokens: int
    """Tokens on which latents and reconstruction were measured."""
    n_scored_tokens: int
    """Predictions of which the loss was measured."""


class Excluded(Config):
    """Positions that hold text and yet do not count; they stay clean when a dictionary is spliced in."""

    n_first: int
    """First positions of their attention context."""
    n_special: int
    """Special tokens."""
    n_outliers: int
    """Other positions whose norm at the read or written site exceeds the multiple of its median."""


class Histogram(Config):
    """Counts between edges; `edges` has one entry more than `counts`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Sparsity(Config):
    """How often latents fire: a latent fires where it is not 0."""

    l0: Estimate
    """Mean number of latents that fire on a token."""
    l0_quantiles: dict[str, int]
    """L0 below which 1, 5, 25, 50, 75, 95, 99 % of the tokens lie."""
    l0_histogram: Histogram
    n_dead: int
    """Latents that fired on none of the evaluated tokens."""
    dead_fraction: float
    """Share of dead latents. No interval: a resample of contexts leaves out a third of them, so it
    would call latents dead that are not."""
    n_dense: int
    """Latents that fire on more than 10 % of the tokens (Llama Scope: ultra-active)."""
    dense_fraction: float
    n_half: int
    """Latents that fire on more than 50 % of the tokens."""
    frequency_histogram: Histogram
    """Living latents by log10 of the share of tokens on which they fire."""


class Reconstruction(Config):
    """How close yh comes to y. All but `mse` are free of unit."""

    explained_variance_centred: Estimate | None = None
    """1 - sum ||y - yh||^2 / sum ||y - m||^2: 0 for the mean, 1 for the truth."""
    explained_variance_uncentred: Estimate | None = None
    """1 - sum ||y - yh||^2 / sum ||y||^2: Llama Scope's; the mean alone may score high."""
    normalised_mse: Estimate | None = None
    """sum ||y - yh||^2 / sum ||y - m||^2 (gao2024topk): what the mean predictor leaves is 1."""
    mse: Estimate | None = None
    """Mean of ||y - yh||^2 over tokens, summed over the width, in squared activation units."""
    cosine: Estimate | None = None
    """Mean cosine of y and yh over tokens."""
    l2_ratio: Estimate | None = None
    """Mean of ||yh|| / ||y|| over tokens: below 1 is shrinkage."""


class Loss(Config):
    """What the model loses when yh stands in for y at every position that counts; nats a token."""

    ce: Estimate | None = None
    """Cross-entropy with yh spliced in."""
    ce_recovered_zero: Estimate | None = None
    """(CE_zero - CE) / (CE_zero - CE_clean), CE_zero with 0 in place of y; absent where that costs
    nothing."""
    ce_recovered_mean: Estimate | None = None
    """The same against the mean training activation in place of y."""
    kl: Estimate | None = None
    """KL divergence from the clean model's prediction."""


class Ablation(Config):
    """The model's loss without any dictionary: the two ends of the recovered fractions; nats a token."""

    ce_clean: Estimate | None = None
    ce_zero: Estimate | None = None
    ce_mean: Estimate | None = None
    kl_zero: Estimate | None = None
    kl_mean: Estimate | None = None


class Baseline(Config):
    """The same figures for something simpler."""

    n_active: int
    """Numbers a token that it may use: components, or latents."""
    reconstruction: Reconstruction
    loss: Loss | None = None


class PositionHealth(Config):
    """The figures between two positions of the context."""

    first: int
    last: int
    n_tokens: int
    l0: Estimate | None = None
    reconstruction: Reconstruction
    """Variance is around the mean of all positions."""
    loss: Loss | None = None
    ce_clean: Estimate | None = None


class HealthTable(NamedTuple):
    """A table as plain values: one row for the dictionary and each baseline."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | Estimate | None, ...], ...]


class HealthReport(Config):
    """A dictionary's health on held-out text, its baselines beside it."""

    subject: Subject
    sparsity: Sparsity
    reconstruction: Reconstruction
    loss: Loss | None = None
    """Absent when the model predicts no tokens, or it was not asked for."""
    ablation: Ablation | None = None
    baselines: dict[str, Baseline]
    """`identity` (checks the measuring itself), `pca`, `random`."""
    positions: tuple[PositionHealth, ...]
    excluded: Excluded
    notes: tuple[str, ...] = ()
    """What was left out, and on which weights the dictionary was trained if on others, in sentences."""

    def headline(self) -> dict[str, Any]:
        """The figures that a reader wants first: each by its definition, its interval beside it."""
        pca, random = self.baselines.get("pca"), self.baselines.get("random")
        figures: dict[str, Estimate | None] = {
            "l0": self.sparsity.l0,
            "explained_variance_centred": self.reconstruction.explained_variance_centred,
            "explained_variance_uncentred": self.reconstruction.explained_variance_uncentred,
            "pca_explained_variance_centred": pca and pca.reconstruction.explained_variance_centred,
            "random_explained_variance_centred": random
            and random.reconstruction.explained_variance_centred,
            "ce_recovered_zero": self.loss and self.loss.ce_recovered_zero,
            "ce_recovered_mean": self.loss and self.loss.ce_recovered_mean,
        }
        shown: dict[str, Any] = {}
        for name, estimate in figures.items():
            shown[name] = estimate and estimate.value
            shown[f"{name}_interval"] = estimate and [estimate.low, estimate.high]
        return shown | {"dead_fraction": self.sparsity.dead_fraction}

    def table(self) -> HealthTable:
        """The dictionary and its baselines, one row each."""
        columns = (
            "arm",
            "n_active",
            "explained_variance_centred",
            "explained_variance_uncentred",
            "cosine",
            "ce",
            "ce_recovered_zero",
            "ce_recovered_mean",
            "kl",
        )
        arms: list[tuple[str, Estimate | int, Reconstruction, Loss | None]] = [
            ("dictionary", self.sparsity.l0, self.reconstruction, self.loss)
        ]
        for name, arm in self.baselines.items():
            arms.append((name, arm.n_active, arm.reconstruction, arm.loss))
        rows = []
        for name, active, reconstruction, loss in arms:
            quality = loss or Loss()
            rows.append(
                (
                    name,
                    active,
                    reconstruction.explained_variance_centred,
                    reconstruction.explained_variance_uncentred,
                    reconstruction.cosine,
                    quality.ce,
                    quality.ce_recovered_zero,
                    quality.ce_recovered_mean,
                    quality.kl,
                )
            )
        return HealthTable(columns, tuple(rows))
