"""Bracket features: latents that know how deep in which brackets a token stands (ge2024circuits)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, cast

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.errors import DataError, RecipeError
from lmscope.core.protocols import Listener, Tokenizer
from lmscope.core.rng import numpy_generator
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.dictionaries.labels import Firings, LabelOptions, LabelScore, score_labels
from lmscope.dictionaries.probing import Probe, probe_reading, read_text
from lmscope.display.tables import Table
from lmscope.jobs.bench import measured_exclusion
from lmscope.jobs.choices import load_model
from lmscope.jobs.evaluate import OtherModel
from lmscope.jobs.trace_dictionaries import CircuitDictionaries, check_weights, find_parts
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.text.tasks.brackets import DEEPEST, LabelledText, labelled_texts

_PHASE: Final = "brackets"


class BracketChoice(Config):
    """Which latents are looked at, and on how many texts."""

    dictionaries: CircuitDictionaries = CircuitDictionaries()
    model: OtherModel = OtherModel()
    """Absent keys are those of the run that trained the dictionaries."""
    n_texts: Annotated[int, Field(ge=4)] = 200
    """Of about 50 tokens; every other one chooses latents and thresholds, the rest judge."""
    mismatch_fraction: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of texts in which one bracket is closed by the wrong kind."""
    scores: LabelOptions = LabelOptions()
    seed: Annotated[int, Field(ge=0)] = 0


class BracketLatent(Config):
    """The best latent for a label, and where to trace it."""

    latent: int
    depth_means: tuple[float, ...]
    """Its mean activation where 0, 1, 2, ... brackets are open, over all texts."""
    prompt: str
    """The text on which it fires most strongly."""
    target: str
    """The feature there, as `lmscope trace` reads targets."""


class DictionaryBrackets(Config):
    """What one dictionary knows of brackets."""

    name: str
    reads: str
    n_latents: int
    n_firing: int
    """Latents that fire on these texts at all."""
    labels: tuple[LabelScore, ...]
    best: Mapping[str, BracketLatent]
    """The best latent of each label."""


class BracketReport(Config):
    """What the dictionaries of a model know of brackets."""

    model: str
    weights_hash: str
    n_texts: int
    n_tokens: int
    """That count: first ones, special ones and outliers are left out."""
    seed: int
    dictionaries: tuple[DictionaryBrackets, ...]

    def table(self, n: int | None = None) -> Table:
        """One row a label: the best latent of all dictionaries by the half that chooses.

        Args:
            n: At most so many dictionaries a label.
        """
        rows = []
        for label in dict.fromkeys(one.label for d in self.dictionaries for one in d.labels):
            found = [(d.name, one) for d in self.dictionaries for one in d.labels]
            mine = [(name, one) for name, one in found if one.label == label and one.best]
            mine.sort(key=lambda pair: -pair[1].best[0].chosen_f1)
            rows += [_row(name, one) for name, one in mine[: n or 1]]
        columns = ("label", "feature", "F1", "precision", "recall", "by chance", "always", "p")
        caption = (
            f"Best latents on {self.n_texts // 2} texts that chose neither latent nor threshold"
        )
        return Table(columns, tuple(rows), caption=caption)


def bracket_features(choice: BracketChoice, listener: Listener) -> BracketReport:
    """Score every latent of some dictionaries against labels of bracket texts.

    Args:
        choice: Which.
        listener: Follows it.

    Raises:
        RecipeError: No dictionary stands in the model.
        DataError: The model's tokens allow no such texts.
        LmscopeError: Model or dictionaries cannot be read, or do not go together.
    """
    parts = find_parts(choice.dictionaries, choice.model)
    if parts.task is None:
        raise RecipeError(
            "Without a dictionary there is no latent to score: give a run that trained some."
        )
    model = load_model(parts.model, listener)
    check_weights(model, parts.dictionaries, other_model=choice.dictionaries.other_model)
    texts = labelled_texts(
        cast("Tokenizer", model.tokenizer),
        choice.n_texts,
        numpy_generator(choice.seed, "bracket texts"),
        mismatch_fraction=choice.mismatch_fraction,
    )
    dictionaries = {one.name: one.load().to(model.device) for one in parts.dictionaries}
    for dictionary in dictionaries.values():
        check_fits(model, dictionary)
    sites = {dictionary.config.read_site for dictionary in dictionaries.values()}
    n_tokens = choice.dictionaries.calibration_tokens
    exclusion = measured_exclusion(parts.task, model, sites, listener, n_tokens)
    seen = read_brackets(model, dictionaries, texts, exclusion, listener)
    return BracketReport(
        model=model.name,
        weights_hash=model.weights_hash,
        n_texts=len(texts),
        n_tokens=max(len(one.firings.text) for one in seen.values()),
        seed=choice.seed,
        dictionaries=tuple(
            _describe(name, dictionaries[name], one, choice.scores) for name, one in seen.items()
        ),
    )


@dataclass(frozen=True, eq=False)
class SeenBrackets:
    """Bracket texts as one dictionary sees them; only tokens that count.

    Attributes:
        texts: The texts, whole.
        firings: Of its latents.
        labels: Truth values of each token by the label's name.
        depth: Brackets open after each token.
        position: Where each token stands in its text as the model reads it, a BOS included.
    """

    texts: Sequence[LabelledText]
    firings: Firings
    labels: Mapping[str, Bool[np.ndarray, "token"]]
    depth: Int[np.ndarray, "token"]
    position: Int[np.ndarray, "token"]


def read_brackets(
    model: LanguageModel,
    dictionaries: Mapping[str, Dictionary],
    texts: Sequence[LabelledText],
    exclusion: Exclusion,
    listener: Listener,
) -> dict[str, SeenBrackets]:
    """Read bracket texts once for all dictionaries.

    Args:
        model: Reads each text as one context, after its BOS.
        dictionaries: By name.
        texts: Made for the model's tokenizer.
        exclusion: Which positions do not count.
        listener: Follows it.
    """
    sites = {dictionary.config.read_site for dictionary in dictionaries.values()}
    probes: dict[str, list[Probe]] = {name: [] for name in dictionaries}
    for done, text in enumerate(texts):
        listener.on_progress(_PHASE, done, len(texts), {})
        reading = read_text(model, text.text, sites)
        for name, dictionary in dictionaries.items():
            probes[name].append(probe_reading(reading, dictionary, exclusion))
    listener.on_progress(_PHASE, len(texts), len(texts), {})
    return {name: _join(texts, found) for name, found in probes.items()}


def _join(texts: Sequence[LabelledText], probes: Sequence[Probe]) -> SeenBrackets:
    """All texts one behind the other, without what does not count."""
    token, latent, value, number, position, depth = [], [], [], [], [], []
    labels: dict[str, list[np.ndarray]] = {name: [] for name in texts[0].labels}
    n_before = 0
    for i, (text, probe) in enumerate(zip(texts, probes, strict=True)):
        n_bos = len(probe.tokens) - len(text.tokens)
        if probe.tokens[n_bos:] != text.tokens:
            raise DataError(
                f"The model reads '{text.text[:40]}' as other tokens than it was labelled by."
            )
        counts = probe.counts.copy()
        counts[:n_bos] = False
        place = np.cumsum(counts) - 1 + n_before
        own = counts[n_bos:]
        token.append(place[probe.position])
        latent.append(probe.latent)
        value.append(probe.value)
        number.append(np.full(own.sum(), i))
        position.append(np.flatnonzero(counts))
        depth.append(text.depth[own])
        for name, values in text.labels.items():
            labels[name].append(values[own])
        n_before += int(own.sum())
    join = np.concatenate
    firings = Firings(join(token), join(latent), join(value), join(number))
    joined = {name: join(values) for name, values in labels.items()}
    return SeenBrackets(texts, firings, joined, join(depth), join(position))


def _describe(
    name: str, dictionary: Dictionary, seen: SeenBrackets, options: LabelOptions
) -> DictionaryBrackets:
    scores = score_labels(seen.firings, seen.labels, options)
    return DictionaryBrackets(
        name=name,
        reads=str(dictionary.config.read_site),
        n_latents=dictionary.config.n_latents,
        n_firing=len(np.unique(seen.firings.latent)),
        labels=scores,
        best={one.label: _follow(name, one.best[0].latent, seen) for one in scores if one.best},
    )


def _follow(name: str, latent: int, seen: SeenBrackets) -> BracketLatent:
    """How a latent's activation goes with the depth, and where to trace it."""
    mine = seen.firings.latent == latent
    token, value = seen.firings.token[mine], seen.firings.value[mine]
    n_deep = np.bincount(seen.depth, minlength=DEEPEST + 1)
    sums = np.bincount(seen.depth[token], weights=value, minlength=DEEPEST + 1)
    peak = int(token[value.argmax()])
    return BracketLatent(
        latent=latent,
        depth_means=tuple((sums / np.maximum(n_deep, 1)).tolist()),
        prompt=seen.texts[int(seen.firings.text[peak])].text,
        target=f"{name}/{latent}@{int(seen.position[peak])}",
    )


def _row(name: str, score: LabelScore) -> tuple[str | float | None, ...]:
    best = score.best[0]
    feature = f"{name}/{best.latent}"
    figures = (best.f1, best.precision, best.recall, score.null_f1, score.always_f1, score.p_value)
    return (score.label, feature, *figures)
