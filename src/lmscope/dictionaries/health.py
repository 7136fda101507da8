"""Measure a dictionary on held-out text: sparsity, reconstruction, and what the model loses by it.

One pass over the text. Every figure is a ratio of sums in float64 over the tokens that the one
exclusion mask keeps; intervals come from resampling contexts (see `evaluation.statistics`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import DataError, ModelError
from lmscope.core.protocols import Listener
from lmscope.core.site import Site
from lmscope.dictionaries import figures
from lmscope.dictionaries.baselines import Baselines
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.latent_statistics import LatentStatistics, LatentTally
from lmscope.dictionaries.report import Baseline, Excluded, HealthReport, Subject
from lmscope.evaluation.losses import CleanPass, ask, check_scorable, resume_site
from lmscope.evaluation.rows import TextContexts, TextRows, is_special, n_units, spread, text_rows
from lmscope.evaluation.scoring import add_losses, spliced
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Resamples,
    bucket_of,
    position_edges,
)
from lmscope.models.batch import Batch
from lmscope.models.edit import At, Edits
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel


class HealthOptions(Config):
    """How much text is measured, and how."""

    n_contexts: Annotated[int, Field(ge=1)] | None = None
    """Contexts to measure, at even distances through the text; all when absent."""
    scored_contexts: Annotated[int, Field(ge=0)] | None = None
    """Of these, contexts on which the loss is measured (in whole batches); all when absent, 0 for
    none. The loss costs one run of the layers above the dictionary for each arm."""
    batch_contexts: Annotated[int, Field(ge=1)] = 8
    """Contexts of one forward pass."""
    mask_fraction: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of tokens that a masked language model has to guess."""
    bootstrap: BootstrapOptions = BootstrapOptions()
    seed: int = 0


class Health(NamedTuple):
    """What `measure_health` gives: the report, and the figures of each latent beside it."""

    report: HealthReport
    latents: LatentStatistics


def measure_health(
    model: LanguageModel,
    dictionary: Dictionary,
    contexts: TextContexts,
    *,
    exclusion: Exclusion,
    baselines: Baselines | None = None,
    options: HealthOptions = HealthOptions(),  # noqa: B008 (a frozen value)
    listener: Listener | None = None,
) -> Health:
    """Measure a dictionary on held-out text, on its own model or another of the same shape.

    Memory: the sums hold 8 bytes x written width x position buckets for each of at most
    `bootstrap.max_units` contexts; two batches of vocabulary scores are held at a time.

    Args:
        model: Whose activations are read and whose loss is measured.
        dictionary: SAE or transcoder; what it writes is what is reconstructed and ablated.
        contexts: Held-out text.
        exclusion: Which positions stay out of every figure, and clean in every splice.
        baselines: Fitted on training activations; without them the report has the identity only,
            and no mean ablation.
        options: How much text.
        listener: Hears of progress, in contexts.

    Raises:
        ModelError: The dictionary does not fit the model.
        SiteError: The model has not got the dictionary's sites.
        DataError: There is no context, or not one token that counts.
    """
    check_fits(model, dictionary)
    examination = Examination(model, dictionary, contexts, exclusion, baselines, options)
    examination.go(listener)
    return examination.health()


def check_fits(model: LanguageModel, dictionary: Dictionary) -> None:
    """Refuse a model that the dictionary cannot be put into.

    Raises:
        SiteError: The model has not got the sites.
        ModelError: Its sites have other widths, or lie on another device than the dictionary.
    """
    config = dictionary.config
    for verb, site, width in (
        ("reads", config.read_site, config.d_read),
        ("writes", config.write_site, config.d_write),
    ):
        if (found := model.width(site)) != width:
            raise ModelError(
                f"The dictionary {verb} '{site}' with {width} coordinates; in '{model.name}' it has "
                f"{found}: evaluate on a model of the shape it was trained on."
            )
    if dictionary.W_enc.device != model.device:
        raise ModelError(
            f"The dictionary is on {dictionary.W_enc.device} and '{model.name}' on {model.device}: "
            "move one to the other."
        )


def _reasons_for_no_loss(model: LanguageModel, options: HealthOptions) -> tuple[str, ...]:
    if options.scored_contexts == 0:
        return ("The loss was not measured: scored_contexts is 0.",)
    try:
        check_scorable(model)
    except ModelError as error:
        return (str(error),)
    return ()


def _another_model(model: LanguageModel, dictionary: Dictionary) -> tuple[str, ...]:
    """A sentence when the dictionary was trained on other weights than it is measured on."""
    trained_on, weights = dictionary.config.model, dictionary.config.model_hash
    if weights is None or weights == model.weights_hash:
        return ()
    return (
        f"Trained on '{trained_on}' (weights {weights[:12]}), "
        f"measured on '{model.name}' (weights {model.weights_hash[:12]}).",
    )


def _batches(
    contexts: TextContexts, options: HealthOptions, n_contexts: int, *, is_scored: bool
) -> Iterator[tuple[TextRows, bool]]:
    """Text, and whether its loss is measured: on batches at even distances."""
    size = options.batch_contexts
    wanted = n_contexts if options.scored_contexts is None else options.scored_contexts
    scored = set(spread(-(-n_contexts // size), -(-wanted // size)).tolist()) if is_scored else ()
    rows = text_rows(contexts, options.n_contexts, size, options.bootstrap.max_units)
    return ((part, i in scored) for i, part in enumerate(rows))


@dataclass(frozen=True)
class _Values:
    """One batch at the dictionary's sites.

    Attributes:
        kept: Positions that count.
        x, y: What is read and written there, in float32.
        clean: The written site as the model has it.
        start: Where runs resume from, and its value.
    """

    kept: Bool[Tensor, "batch pos"]
    x: Float[Tensor, "token read"]
    y: Float[Tensor, "token write"]
    clean: Tensor
    start: tuple[Site, Tensor] | None


class Examination:
    """The sums of one evaluation, and how a batch is added to them; see `measure_health`.

    Attributes:
        activations: Sums over tokens, for each unit of resampling and position bucket.
        losses: Sums over scored predictions, likewise; empty when no loss was measured.
        first_context: The number of the first context of each unit.
        latents: Figures of each latent.
    """

    def __init__(
        self,
        model: LanguageModel,
        dictionary: Dictionary,
        contexts: TextContexts,
        exclusion: Exclusion,
        baselines: Baselines | None,
        options: HealthOptions,
    ) -> None:
        self.model, self.dictionary, self.contexts = model, dictionary, contexts
        self.exclusion, self.baselines, self.options = exclusion, baselines, options
        self.read_site = dictionary.config.read_site
        self.write_site = dictionary.config.write_site
        self.start_site = resume_site(model, (self.write_site,))
        self.edges = position_edges(contexts.context_length)
        self.n_contexts = len(spread(len(contexts), options.n_contexts))
        self.notes = _reasons_for_no_loss(model, options)
        units = n_units(contexts, options.n_contexts, options.bootstrap.max_units)
        self.first_context = np.full(units, np.iinfo(np.int64).max)
        self.activations = ContextSums(units, len(self.edges))
        self.losses = ContextSums(units, len(self.edges))
        self.latents = LatentTally(dictionary.config.n_latents, model.device)
        self.n_first = self.n_special = self.n_outliers = 0

    @torch.no_grad()
    def go(self, listener: Listener | None = None) -> None:
        """Measure all batches."""
        done = 0
        batches = _batches(self.contexts, self.options, self.n_contexts, is_scored=not self.notes)
        for rows, is_scored in batches:
            np.minimum.at(self.first_context, rows.unit.numpy(), rows.batch.row_ids().numpy())
            self.add(rows.to(self.model.device), is_scored)
            done += len(rows.unit)
            if listener is not None:
                listener.on_progress("evaluate", done, self.n_contexts, {})

    def health(self) -> Health:
        """What came of it.

        Raises:
            DataError: Not one token counted.
        """
        return Health(self.report(), self.latents.statistics())

    def add(self, rows: TextRows, is_scored: bool) -> None:
        """Measure one batch."""
        text = rows.batch.text_mask()
        keep = self.exclusion.keep_tokens(rows.tokens, text, self.model.special_ids)
        values = self._read(rows.batch, keep, is_scored)
        self._count_excluded(rows, keep, values.kept)
        latents = self.dictionary.encode_sparse(values.x)
        l0 = self.latents.add(latents)
        guesses = self._guesses(values, self.dictionary.decode(latents, values.x))
        columns = {"l0": l0.double(), **figures.target_columns(values.y)}
        for arm, guess in guesses.items():
            columns |= figures.arm_columns(arm, values.y, guess)
        row, _ = values.kept.nonzero(as_tuple=True)
        position = rows.batch.absolute_positions()[values.kept]
        self.activations.add(rows.unit[row], bucket_of(position, self.edges), columns)
        if is_scored:
            self._score(rows, keep, values, guesses)

    def _score(
        self, rows: TextRows, keep: Tensor, values: _Values, guesses: Mapping[str, Tensor]
    ) -> None:
        options = self.options
        question = ask(self.model, rows, values.kept, options.mask_fraction, options.seed)
        if not self.model.is_causal:  # what the model reads now is another text, with masks
            values = self._read(question.batch, keep, is_scored=True)
            guesses = self._guesses(values, self.dictionary(values.x))
        ablations = {"zero": torch.zeros_like(values.y)}
        if self.baselines is not None:
            ablations["mean"] = self.baselines.mean.expand_as(values.y)
        clean = CleanPass(self.model, question, values.start)
        arms = {arm: self._splice(values, guess) for arm, guess in {**guesses, **ablations}.items()}
        add_losses(self.losses, clean, arms, rows, question, self.edges)

    def _read(self, batch: Batch, keep: Tensor, is_scored: bool) -> _Values:
        start_site = self.start_site if is_scored else None
        sites = {self.read_site, self.write_site} | ({start_site} if start_site else set())
        found = self.model.read(batch, sorted(sites))
        clean = found[self.write_site]
        x, y = found[self.read_site].flatten(2).float(), clean.flatten(2).float()
        inlier = self.exclusion.inlier(self.read_site, x)
        kept = keep & inlier & self.exclusion.inlier(self.write_site, y)
        start = (start_site, found[start_site]) if start_site else None
        return _Values(kept, x[kept], y[kept], clean, start)

    def _guesses(self, values: _Values, own: Tensor) -> dict[str, Tensor]:
        """Each arm's reconstruction; the identity's is the truth itself."""
        guesses = {"dictionary": own, "identity": values.y}
        if self.baselines is not None:
            guesses["pca"] = self.baselines.pca(values.x)
            guesses["random"] = self.baselines.random(values.x)
        return guesses

    def _splice(self, values: _Values, guess: Float[Tensor, "token write"]) -> Edits:
        """The reconstruction in place of the kept positions' values, the others as they are."""
        replacement = values.clean.clone()
        replacement[values.kept] = guess.to(replacement.dtype).view_as(replacement[values.kept])

        def replace(_: Tensor, at: At) -> Tensor:
            return replacement

        return {self.write_site: spliced(replace, values.kept)}

    def _count_excluded(self, rows: TextRows, keep: Tensor, kept: Tensor) -> None:
        text = rows.batch.text_mask()
        special = is_special(rows.tokens, self.model.special_ids)
        first = text & (text.cumsum(-1) == 1)
        self.n_first += int(first.sum())
        self.n_special += int((text & special & ~first).sum())
        self.n_outliers += int((keep & ~kept).sum())

    def report(self) -> HealthReport:
        """The figures of all batches.

        Raises:
            DataError: Not one token counted.
        """
        options, notes = self.options, self.notes
        if not self.latents.n_tokens:
            raise DataError(
                f"Not one token of {self.n_contexts} contexts counts: {self.n_first} first positions, "
                f"{self.n_special} special tokens, {self.n_outliers} outliers; give other text."
            )
        sums = Resamples(self.activations.nonempty("n"), options.bootstrap, options.seed)
        losses = None
        if "n" in self.losses.columns and self.losses.columns["n"].any():
            losses = Resamples(self.losses.nonempty("n"), options.bootstrap, options.seed)
        elif not notes:
            notes = ("The loss was not measured: no prediction counted in the scored contexts.",)
        spread_ = figures.spread_around_mean(sums)
        baselines = {
            arm: Baseline(
                n_active=n_active,
                reconstruction=figures.reconstruction(sums, arm, spread_),
                loss=figures.loss(losses, arm),
            )
            for arm, n_active in self._baseline_sizes().items()
        }
        return HealthReport(
            subject=self._subject(losses),
            sparsity=figures.sparsity(sums, self.latents),
            reconstruction=figures.reconstruction(sums, "dictionary", spread_),
            loss=figures.loss(losses, "dictionary"),
            ablation=figures.ablation(losses),
            baselines=baselines,
            positions=figures.positions(sums, losses, self.edges, self.contexts.context_length),
            excluded=Excluded(
                n_first=self.n_first, n_special=self.n_special, n_outliers=self.n_outliers
            ),
            notes=(*notes, *_another_model(self.model, self.dictionary)),
        )

    def _baseline_sizes(self) -> dict[str, int]:
        sizes = {}
        if self.baselines is not None:
            sizes["pca"] = self.baselines.pca.n_active
            sizes["random"] = self.baselines.random.n_active
        return sizes | {"identity": self.dictionary.config.d_write}

    def _subject(self, losses: Resamples | None) -> Subject:
        config = self.dictionary.config
        return Subject(
            model=self.model.name,
            model_hash=self.model.weights_hash,
            reads=str(self.read_site),
            writes=str(self.write_site),
            n_latents=config.n_latents,
            text=getattr(self.contexts, "fingerprint", None),
            context_length=self.contexts.context_length,
            n_contexts=self.n_contexts,
            n_tokens=self.latents.n_tokens,
            n_scored_tokens=0 if losses is None else int(losses.total("n")[0]),
        )
