"""The text on which latents fire most, and which latents tell a reader most."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from lmscope.core.config import Config
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.dictionaries.latent_statistics import LatentTally
from lmscope.dictionaries.sparsity import SparseLatents
from lmscope.evaluation.rows import TextContexts, TextRows, rows_at, text_rows
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel


class ExampleOptions(Config):
    """How much text is searched, and what is kept of it."""

    n_contexts: Annotated[int, Field(ge=1)] | None = None
    """Contexts to search, at even distances through the text; all when absent."""
    batch_contexts: Annotated[int, Field(ge=1)] = 8
    n_ranked: Annotated[int, Field(ge=2)] = 16
    """Contexts by which a latent is judged: those in which it fires most."""
    n_shown: Annotated[int, Field(ge=1)] = 4
    """Of these, contexts that are given back."""
    window: Annotated[int, Field(ge=1)] = 12
    """Tokens to either side of the peak."""
    min_density: float = 1e-4
    """Latents that fire on a smaller share of the tokens are left out: too few cases to judge."""
    max_density: float = 2e-2
    """Latents that fire more often are left out: most say little about any one token."""


@dataclass(frozen=True)
class LatentExample:
    """A stretch of text around a latent's peak in one context.

    Attributes:
        context: The context's index.
        document: The document's number in the corpus.
        position: Where in the context the stretch begins.
        tokens: Vocabulary ids.
        activations: The latent's value at each token; 0 at excluded positions.
        peak: Which of these tokens is the peak.
    """

    context: int
    document: int
    position: int
    tokens: tuple[int, ...]
    activations: tuple[float, ...]
    peak: int


@dataclass(frozen=True)
class TellingLatent:
    """A latent with the text that speaks for it.

    Attributes:
        latent: Its number.
        density: Share of tokens on which it fires.
        max_activation: Its largest value.
        score: See `telling_latents`; 0 to 1.
        n_documents: Documents among its ranked contexts.
        peak_token: The token on which it peaks most often.
        peak_token_share: Share of its ranked contexts that peak there.
        examples: Its strongest contexts, strongest first.
    """

    latent: int
    density: float
    max_activation: float
    score: float
    n_documents: int
    peak_token: int
    peak_token_share: float
    examples: tuple[LatentExample, ...]


@torch.no_grad()
def telling_latents(
    model: LanguageModel,
    dictionary: Dictionary,
    contexts: TextContexts,
    *,
    exclusion: Exclusion,
    n: int = 10,
    options: ExampleOptions = ExampleOptions(),  # noqa: B008 (a frozen value)
) -> tuple[TellingLatent, ...]:
    """The latents whose strongest contexts make their meaning plain, best first.

    A heuristic for showing, not a measure of a dictionary. Over the `n_ranked` contexts in which a
    latent fires most (one peak a context), the score is the product of three shares: documents
    (distinct ones / n_ranked: no latent of a single text), peak token (how often the commonest one
    is the peak), and evenness (mean peak / largest peak: no latent of a single outlier). Of latents
    with the same peak token only the best is given, so that ten latents show ten things.

    One pass over the text, then one over the few contexts shown. Memory: 20 bytes x latents x
    n_ranked.

    Args:
        model: Whose activations are read.
        dictionary: Whose latents are judged.
        contexts: Held-out text.
        exclusion: Which positions stay out.
        n: How many latents; fewer when fewer fire often enough.
        options: How much text.

    Raises:
        ModelError: The dictionary does not fit the model.
        DataError: There is no context.
    """
    check_fits(model, dictionary)
    peaks = _Peaks(dictionary.config.n_latents, options.n_ranked, model.device)
    tally = LatentTally(dictionary.config.n_latents, model.device)
    for rows in text_rows(contexts, options.n_contexts, options.batch_contexts, max_units=1):
        placed = rows.to(model.device)
        latents, row, position = _latents(model, dictionary, placed, exclusion)
        tally.add(latents)
        peaks.add(placed, latents, row, position)
    statistics = tally.statistics()
    density = statistics.firing_frequency
    eligible = (density >= options.min_density) & (density <= options.max_density)
    ranked = peaks.rank(eligible)[:n]
    windows = _Windows(model, dictionary, contexts, exclusion, options)
    return tuple(
        TellingLatent(
            latent=rank.latent,
            density=float(density[rank.latent]),
            max_activation=float(statistics.max_activation[rank.latent]),
            score=rank.score,
            n_documents=rank.n_documents,
            peak_token=rank.peak_token,
            peak_token_share=rank.peak_token_share,
            examples=windows.around(rank.latent, rank.places[: options.n_shown]),
        )
        for rank in ranked
    )


class _Rank(NamedTuple):
    latent: int
    score: float
    n_documents: int
    peak_token: int
    peak_token_share: float
    places: tuple[tuple[int, int], ...]


class _Peaks:
    """The contexts in which each latent fires most: bounded memory, ties to the earlier context."""

    _FIELDS = ("context", "position", "token", "document")

    def __init__(self, n_latents: int, n_ranked: int, device: torch.device) -> None:
        shape = (n_latents, n_ranked)
        self._value = torch.zeros(shape, device=device)
        self._where = {
            name: torch.zeros(shape, dtype=torch.int32, device=device) for name in self._FIELDS
        }

    def add(self, rows: TextRows, latents: SparseLatents, row: Tensor, position: Tensor) -> None:
        """Let a batch's peaks, one for each latent and context, compete with those kept."""
        n_latents, n_ranked = self._value.shape
        n_rows = len(rows.unit)
        fires = latents.values > 0
        token = fires.nonzero(as_tuple=True)[0]
        value = latents.values[fires].float()
        cell = latents.indices[fires] * n_rows + row[token]
        # By cell, within it by value, and among equals the first position last: it is what stays.
        order = torch.arange(len(cell) - 1, -1, -1, device=cell.device)
        order = order[value[order].argsort(stable=True)]
        order = order[cell[order].argsort(stable=True)]
        is_last = torch.ones_like(order, dtype=torch.bool)
        is_last[:-1] = cell[order][1:] != cell[order][:-1]
        best = order[is_last]
        peak = value.new_zeros(n_latents * n_rows)
        peak[cell[best]] = value[best]
        at = row[token[best]], position[token[best]]
        found = {
            "context": rows.batch.row_ids()[at[0]],
            "position": at[1],
            "token": rows.tokens[at],
            "document": rows.documents[at],
        }
        both = torch.cat([self._value, peak.view(n_latents, n_rows)], dim=1)
        self._value, places = both.sort(dim=1, descending=True, stable=True)
        self._value, places = self._value[:, :n_ranked], places[:, :n_ranked]
        for name, kept in self._where.items():
            new = kept.new_zeros(n_latents * n_rows)
            new[cell[best]] = found[name].to(kept.dtype)
            both = torch.cat([kept, new.view(n_latents, n_rows)], dim=1)
            self._where[name] = both.gather(1, places)

    def rank(self, eligible: Tensor) -> list[_Rank]:
        """Eligible latents by score, one for each peak token."""
        value = self._value.cpu()
        where = {name: kept.cpu() for name, kept in self._where.items()}
        ranks = [
            self._judge(latent, value[latent], {name: w[latent] for name, w in where.items()})
            for latent in (eligible & (value[:, 0] > 0)).nonzero().flatten().tolist()
        ]
        ranks.sort(key=lambda rank: (-rank.score, rank.latent))
        best_of_token: dict[int, _Rank] = {}
        for rank in ranks:
            best_of_token.setdefault(rank.peak_token, rank)
        return list(best_of_token.values())

    @staticmethod
    def _judge(
        latent: int, value: Float[Tensor, "ranked"], where: Mapping[str, Int[Tensor, "ranked"]]
    ) -> _Rank:
        n_ranked, found = len(value), int((value > 0).sum())
        tokens = Counter(where["token"][:found].tolist())
        peak_token, n_peak = tokens.most_common(1)[0]
        n_documents = len(set(where["document"][:found].tolist()))
        evenness = float(value.sum() / n_ranked / value[0])
        share = n_peak / found
        places = zip(where["context"].tolist(), where["position"].tolist(), strict=True)
        return _Rank(
            latent=latent,
            score=n_documents / n_ranked * share * evenness,
            n_documents=n_documents,
            peak_token=peak_token,
            peak_token_share=share,
            places=tuple(places)[:found],
        )


class _Windows:
    """Cuts stretches of text around peaks, with the latent's value at each token."""

    def __init__(
        self,
        model: LanguageModel,
        dictionary: Dictionary,
        contexts: TextContexts,
        exclusion: Exclusion,
        options: ExampleOptions,
    ) -> None:
        self._model, self._dictionary, self._contexts = model, dictionary, contexts
        self._exclusion, self._options = exclusion, options

    def around(self, latent: int, places: tuple[tuple[int, int], ...]) -> tuple[LatentExample, ...]:
        """One example for each (context, position)."""
        chosen = np.array([context for context, _ in places])
        rows = rows_at(self._contexts, chosen).to(self._model.device)
        latents, row, position = _latents(self._model, self._dictionary, rows, self._exclusion)
        values = torch.zeros(rows.tokens.shape, device=self._model.device)
        values[row, position] = (latents.values * (latents.indices == latent)).sum(-1).float()
        return tuple(
            self._cut(rows, values[i], i, context, peak) for i, (context, peak) in enumerate(places)
        )

    def _cut(
        self, rows: TextRows, values: Tensor, row: int, context: int, peak: int
    ) -> LatentExample:
        window = self._options.window
        last = int(rows.batch.text_mask()[row].nonzero().max())
        start, stop = max(peak - window, 0), min(peak + window, last) + 1
        return LatentExample(
            context=context,
            document=int(rows.documents[row, peak]),
            position=start,
            tokens=tuple(rows.tokens[row, start:stop].tolist()),
            activations=tuple(values[start:stop].tolist()),
            peak=peak - start,
        )


def _latents(
    model: LanguageModel, dictionary: Dictionary, rows: TextRows, exclusion: Exclusion
) -> tuple[SparseLatents, Int[Tensor, "token"], Int[Tensor, "token"]]:
    """Latents of the positions that count, and the row and column of each."""
    site = dictionary.config.read_site
    x = model.read(rows.batch, (site,))[site].flatten(2).float()
    keep = exclusion.keep_tokens(rows.tokens, rows.batch.text_mask(), model.special_ids)
    kept = keep & exclusion.inlier(site, x)
    row, position = kept.nonzero(as_tuple=True)
    return dictionary.encode_sparse(x[kept]), row, position
