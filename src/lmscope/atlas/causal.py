"""Causal check of a feature: does steering its latent raise the tokens that are promised of it.

What is promised is a set of tokens: those whose logit the decoder row raises by weights alone, those at
which the latent peaks, or those that a label names. The check runs on text in which the latent is
silent, and beside the latent stand random directions: the same change of activation at the same
positions, times a random vector as long as the decoder row. A strong push of any kind makes improbable
tokens more probable, so only the difference from these controls speaks for the feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from lmscope.atlas.promises import record_promises
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.text import CorpusText
from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.steering import (
    LatentChange,
    Steering,
    clamp,
    decoder_rows,
    random_directions,
)
from lmscope.evaluation.losses import resume_site
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Estimate,
    Resamples,
    ratio,
)
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.generate import GenerationOptions, generate, token_batch
from lmscope.models.language_model import LanguageModel

_CLEAN: Final = "clean"
_STEERED: Final = "steered"


class CausalOptions(Config):
    """How hard a latent is pushed, and on how much text."""

    times_max: Annotated[float, Field(gt=0)] = 1.0
    """The latent is clamped to so many times its largest activation in the census."""
    n_tokens: Annotated[int, Field(ge=1)] = 64
    """Tokens of each stretch of text, at most."""
    n_promised: Annotated[int, Field(ge=1)] = 10
    """Tokens of each promise that is a list, at most."""
    n_directions: Annotated[int, Field(ge=1)] = 8
    """Random directions for the prediction of the next token."""
    n_generated: Annotated[int, Field(ge=0)] = 24
    """New tokens written after each prompt; 0: nothing is generated."""
    n_prompt: Annotated[int, Field(ge=1)] = 12
    """Tokens of a stretch that serve as a prompt."""
    n_generated_directions: Annotated[int, Field(ge=1)] = 3
    """Random directions for generation."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """At which tokens are drawn when generating; every arm uses the same random numbers."""
    batch_contexts: Annotated[int, Field(ge=1)] = 4
    """Stretches of one forward pass; the scores of all their tokens are held three times."""
    bootstrap: BootstrapOptions = BootstrapOptions()
    seed: int = 0


@dataclass(frozen=True)
class Contrast:
    """One figure of the unedited model, of the steered one, and under random directions.

    Attributes:
        clean: Unedited.
        steered: With the latent changed.
        control: Mean over random directions of equal norm.
        difference: steered - control, paired by stretch of text.
        n_at_least: Directions whose figure is at least that of the latent.
        n_directions: All of them.
    """

    clean: Estimate | None
    steered: Estimate | None
    control: Estimate | None
    difference: Estimate | None
    n_at_least: int
    n_directions: int

    @property
    def is_raised(self) -> bool:
        """Whether the 95 % interval of the difference lies above 0."""
        return self._end("low") > 0

    @property
    def is_lowered(self) -> bool:
        """Whether it lies below 0."""
        return -self._end("high") > 0

    def _end(self, which: Literal["low", "high"]) -> float:
        end = None if self.difference is None else getattr(self.difference, which)
        return 0.0 if end is None else float(end)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        estimates = {name: getattr(self, name) for name in ("clean", "steered", "control")}
        estimates["difference"] = self.difference
        plain = {name: e and e.to_mapping() for name, e in estimates.items()}
        return {**plain, "n_at_least": self.n_at_least, "n_directions": self.n_directions}


@dataclass(frozen=True)
class CausalCheck:
    """What became of the promises of one change.

    Attributes:
        change: What was done to the latent.
        promised: The tokens of each promise, by its name.
        log_prob: Mean log-probability that the next token is one of them (nats), by promise.
        written: Share of generated tokens that are, by promise; empty where nothing was generated.
        fires: Share of generated tokens on which the unedited model, reading them again, has the latent
            fire; None where nothing was generated.
        kl: KL divergence from the clean prediction of the next token, nats: how strong the push is.
    """

    change: LatentChange
    promised: Mapping[str, tuple[int, ...]]
    log_prob: Mapping[str, Contrast]
    written: Mapping[str, Contrast]
    fires: Contrast | None
    kl: Contrast

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "change": vars(self.change),
            "promised": {name: list(tokens) for name, tokens in self.promised.items()},
            "log_prob": {name: c.to_mapping() for name, c in self.log_prob.items()},
            "written": {name: c.to_mapping() for name, c in self.written.items()},
            "fires": self.fires and self.fires.to_mapping(),
            "kl": self.kl.to_mapping(),
        }


def silent_rows(
    model: LanguageModel, record: LatentRecord, corpus: CorpusText, n_tokens: int
) -> list[list[int]]:
    """Stretches in which the latent never fires, each after BOS.

    Raises:
        DataError: The record has none.
    """
    if not record.silent:
        raise DataError(
            f"Latent {record.latent} has no stretch of text in which it is silent: build the atlas with "
            "census.n_silent above 0; a latent that fires everywhere cannot be checked so."
        )
    rows = []
    for start in record.silent:
        length = min(n_tokens, corpus.context_length - start % corpus.context_length)
        tokens = [int(token) for token in corpus.tokens(start, length)]
        rows.append(tokens if model.bos_id is None else [model.bos_id, *tokens])
    return rows


def check_record(
    model: LanguageModel,
    dictionary: Dictionary,
    record: LatentRecord,
    corpus: CorpusText,
    *,
    promised: Mapping[str, Sequence[int]] | None = None,
    exclusion: Exclusion = Exclusion(),  # noqa: B008 (a frozen value)
    options: CausalOptions = CausalOptions(),  # noqa: B008 (a frozen value)
) -> CausalCheck:
    """Clamp a latent on text in which it is silent, and see whether the promised tokens rise.

    Args:
        model: The model.
        dictionary: Whose latent.
        record: The latent.
        corpus: What the record's positions refer to.
        promised: Tokens by the promise's name, e.g. those that a label names; None for what the
            record itself promises.
        exclusion: Which positions stay clean.
        options: How hard, and on how much text.

    Raises:
        DataError: The latent is dead or never silent, or nothing is promised.
    """
    if record.is_dead:
        raise DataError(
            f"Latent {record.latent} never fired, so there is no activation to clamp to."
        )
    if promised is None:
        promised = record_promises(record, options.n_promised)
    rows = silent_rows(model, record, corpus, options.n_tokens)
    change = clamp(record.latent, options.times_max * record.max)
    return check_change(
        model, dictionary, change, rows, promised, exclusion=exclusion, options=options
    )


@torch.no_grad()
def check_change(
    model: LanguageModel,
    dictionary: Dictionary,
    change: LatentChange,
    rows: Sequence[Sequence[int]],
    promised: Mapping[str, Sequence[int]],
    *,
    exclusion: Exclusion = Exclusion(),  # noqa: B008 (a frozen value)
    options: CausalOptions = CausalOptions(),  # noqa: B008 (a frozen value)
) -> CausalCheck:
    """What a change does to promised tokens, against random directions of equal norm.

    Args:
        model: The model.
        dictionary: Whose latent.
        change: What is done to it.
        rows: Token ids of each stretch of text.
        promised: Tokens by the promise's name.
        exclusion: Which positions stay clean; only the others count.
        options: On how much text; `times_max` has no part in it.

    Raises:
        DataError: There is no text, or nothing is promised.
    """
    if not promised or not all(promised.values()):
        raise DataError(f"Nothing is promised of latent {change.latent}: give at least one token.")
    trial = _Trial(model, dictionary, change, exclusion, promised, options)
    next_token = trial.next_token(rows)
    written = trial.generation(rows) if options.n_generated else {}
    return CausalCheck(
        change=change,
        promised={name: tuple(int(t) for t in tokens) for name, tokens in promised.items()},
        log_prob={name: next_token[f"log_prob/{name}"] for name in promised},
        written={name: written[f"written/{name}"] for name in promised} if written else {},
        fires=written.get("fires"),
        kl=next_token["kl"],
    )


class _Trial:
    """One change beside its controls; every figure is a sum for each row, from which contrasts come."""

    def __init__(
        self,
        model: LanguageModel,
        dictionary: Dictionary,
        change: LatentChange,
        exclusion: Exclusion,
        promised: Mapping[str, Sequence[int]],
        options: CausalOptions,
    ) -> None:
        self.model, self.dictionary, self.options = model, dictionary, options
        self.change, self.exclusion = change, exclusion
        self.promised = {
            name: torch.tensor(sorted(set(tokens)), device=model.device)
            for name, tokens in promised.items()
        }

    def arms(self, n_directions: int) -> dict[str, Steering | None]:
        """The runs to compare, by name."""
        row = decoder_rows(self.dictionary, [self.change])
        arms: dict[str, Steering | None] = {_CLEAN: None, _STEERED: self._steering(None)}
        for draw in range(n_directions):
            arms[f"random{draw}"] = self._steering(random_directions(row, self.options.seed, draw))
        return arms

    def next_token(self, rows: Sequence[Sequence[int]]) -> dict[str, Contrast]:
        """Contrasts of `log_prob/PROMISE` and `kl`."""
        sums = ContextSums(len(rows))
        arms = self.arms(self.options.n_directions)
        for first in range(0, len(rows), self.options.batch_contexts):
            part = rows[first : first + self.options.batch_contexts]
            batch = token_batch(self.model, part)
            assert batch.tokens is not None
            keep = self.exclusion.keep_tokens(
                batch.tokens, batch.text_mask(), self.model.special_ids
            )
            unit = first + keep.nonzero()[:, 0]
            columns = self._next_token_columns(batch, keep, arms)
            sums.add(unit, torch.zeros_like(unit), columns)
        figures = [*(f"log_prob/{name}" for name in self.promised), "kl"]
        return self._contrasts(sums, figures, self.options.n_directions)

    def generation(self, rows: Sequence[Sequence[int]]) -> dict[str, Contrast]:
        """Contrasts of `written/PROMISE` and `fires`; prompts are the beginnings of the rows."""
        options = self.options
        prompts = [row[: options.n_prompt + 1] for row in rows]
        how = GenerationOptions(
            n_tokens=options.n_generated,
            temperature=options.temperature,
            seed=options.seed,
            stop_at_end=False,
        )
        batch = token_batch(self.model, prompts)
        sums = ContextSums(len(rows))
        for arm, steering in self.arms(options.n_generated_directions).items():
            found = generate(self.model, batch, how, {} if steering is None else steering.edits)
            tokens = torch.tensor([one.tokens for one in found], device=self.model.device)
            fires = self._fires([[*one.prompt, *one.tokens] for one in found], how.n_tokens)
            unit = torch.arange(len(found))[:, None].expand(tokens.shape).flatten()
            columns = {
                f"written/{name}/{arm}": torch.isin(tokens, wanted).flatten().double()
                for name, wanted in self.promised.items()
            }
            columns[f"fires/{arm}"] = fires.flatten().double()
            if arm == _CLEAN:
                columns["n"] = torch.ones(len(unit))
            sums.add(unit, torch.zeros_like(unit), columns)
        figures = [*(f"written/{name}" for name in self.promised), "fires"]
        return self._contrasts(sums, figures, options.n_generated_directions)

    def _steering(self, directions: Float[Tensor, "change write"] | None) -> Steering:
        return Steering(
            self.model,
            self.dictionary,
            [self.change],
            exclusion=self.exclusion,
            directions=directions,
        )

    def _next_token_columns(
        self, batch: Batch, keep: Bool[Tensor, "batch pos"], arms: Mapping[str, Steering | None]
    ) -> dict[str, Float[Tensor, "token"]]:
        config = self.dictionary.config
        start = resume_site(self.model, (config.read_site, config.write_site))
        value = None if start is None else self.model.read(batch, (start,))[start]
        columns: dict[str, Tensor] = {"n": torch.ones(int(keep.sum()), device=keep.device)}
        clean = torch.empty(0)
        for arm, steering in arms.items():
            with self.model.edit({} if steering is None else steering.edits(batch)):
                output = (
                    self.model(batch)
                    if start is None or value is None
                    else self.model.resume(start, value, batch)
                )
            log_probs = output.logits[keep].float().log_softmax(-1)
            if arm == _CLEAN:
                clean = log_probs
            columns[f"kl/{arm}"] = (clean.exp() * (clean - log_probs)).sum(-1)
            for name, wanted in self.promised.items():
                columns[f"log_prob/{name}/{arm}"] = log_probs[:, wanted].logsumexp(-1)
        return columns

    def _fires(self, rows: Sequence[Sequence[int]], n_last: int) -> Int[Tensor, "batch pos"]:
        """1 where the latent fires on the last tokens of rows, as the unedited model reads them."""
        batch = token_batch(self.model, rows)
        site = self.dictionary.config.read_site
        x = self.model.read(batch, (site,))[site].flatten(2)[:, -n_last:].float()
        latents = self.dictionary.encode_sparse(x)
        mine = (latents.indices == self.change.latent) & (latents.values > 0)
        return mine.any(-1).long()

    def _contrasts(
        self, sums: ContextSums, figures: Sequence[str], n_directions: int
    ) -> dict[str, Contrast]:
        resamples = Resamples(sums.nonempty("n"), self.options.bootstrap, self.options.seed)
        n = resamples.total("n")
        found = {}
        for figure in figures:
            clean, steered = (
                ratio(resamples.total(f"{figure}/{arm}"), n) for arm in (_CLEAN, _STEERED)
            )
            controls = [
                ratio(resamples.total(f"{figure}/random{draw}"), n) for draw in range(n_directions)
            ]
            control = sum(controls[1:], start=controls[0]) / n_directions
            found[figure] = Contrast(
                clean=resamples.estimate(clean),
                steered=resamples.estimate(steered),
                control=resamples.estimate(control),
                difference=resamples.estimate(steered - control),
                n_at_least=sum(bool(one[0] >= steered[0]) for one in controls),
                n_directions=n_directions,
            )
        return found
