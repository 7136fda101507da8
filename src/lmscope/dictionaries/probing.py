"""Which latents fire on a text, token by token."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int32
from torch import Tensor

from lmscope.core.errors import DataError
from lmscope.core.protocols import Tokenizer
from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.display.tables import Table
from lmscope.display.tokens import TokenStrip
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.text.pieces import token_pieces

Order = Literal["max", "sum", "tokens"]
"""What latents are ranked by: their largest activation, their sum, the tokens they fire on."""

BY_TOKENS_ALONE: Final = Exclusion()
"""Leaves out padding, special ids and the first position; tells no outliers."""


@dataclass(frozen=True)
class ProbedLatent:
    """A latent on one text.

    Attributes:
        latent: Its number.
        max: Its largest activation, in the dictionary's units (raw for a folded one).
        sum: Sum over the tokens that count.
        n_tokens: Tokens on which it fires.
        peak: Position of the largest activation, the first of equal ones.
    """

    latent: int
    max: float
    sum: float
    n_tokens: int
    peak: int


@dataclass(frozen=True, eq=False)
class Probe:
    """The latents that fire on a text.

    Attributes:
        tokens: Vocabulary ids, with the BOS that the model reads before the text.
        texts: What each token shows as.
        counts: False at positions that are left out: special, the first one, outliers.
        position: Position of each firing, ascending.
        latent: The latent that fires there; of one position the strongest comes first.
        value: Its activation, above 0.
    """

    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    counts: Bool[np.ndarray, "pos"]
    position: Int32[np.ndarray, "firing"]
    latent: Int32[np.ndarray, "firing"]
    value: Float32[np.ndarray, "firing"]

    def ranked(
        self,
        n: int | None = None,
        *,
        by: Order = "max",
        position: int | None = None,
        without: Collection[int] = (),
    ) -> tuple[ProbedLatent, ...]:
        """Latents that fire, the strongest first; ties to the lower number.

        Args:
            n: At most so many; all when None.
            by: What they are ranked by.
            position: Rank by the activation at this one position, over the latents that fire there.
            without: Latents to leave out, e.g. dense ones.

        Raises:
            DataError: There is no such position.
        """
        left_out = set(without)
        if position is None:
            names = {"max": "max", "sum": "sum", "tokens": "n_tokens"}
            found = sorted(self._latents, key=lambda one: (-getattr(one, names[by]), one.latent))
        else:
            by_latent = {one.latent: one for one in self._latents}
            here = self._at(position)
            order = np.lexsort((self.latent[here], -self.value[here]))
            found = [by_latent[int(latent)] for latent in self.latent[here][order]]
        return tuple([one for one in found if one.latent not in left_out][:n])

    def at(self, position: int) -> dict[int, float]:
        """Latents that fire at one position with their activations, the strongest first.

        Raises:
            DataError: There is no such position.
        """
        here = self._at(position)
        pairs = zip(self.latent[here].tolist(), self.value[here].tolist(), strict=True)
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))

    def activations(self, latent: int) -> Float32[np.ndarray, "pos"]:
        """One latent's value at each token, 0 where it does not fire."""
        values = np.zeros(len(self.tokens), dtype=np.float32)
        mine = self.latent == latent
        values[self.position[mine]] = self.value[mine]
        return values

    def strip(self, latent: int, full: float | None = None) -> TokenStrip:
        """The text shaded by one latent; `full` is the activation that gets the full colour."""
        return TokenStrip(self.texts, tuple(self.activations(latent).tolist()), full)

    def table(self, n: int = 20, *, by: Order = "max", position: int | None = None) -> Table:
        """The strongest latents as a table."""
        rows = tuple(
            (one.latent, one.max, one.sum, one.n_tokens, f"{self.texts[one.peak]} @{one.peak}")
            for one in self.ranked(n, by=by, position=position)
        )
        return Table(("latent", "max", "sum", "tokens", "peak at"), rows)

    def to_mapping(self, n: int | None = None) -> dict[str, Any]:
        """Plain values for JSON: tokens, each with its `n` strongest latents."""
        shown = [
            {
                "position": i,
                "token": token,
                "text": text,
                "counts": bool(self.counts[i]),
                "latents": [
                    {"latent": latent, "value": value}
                    for latent, value in list(self.at(i).items())[:n]
                ],
            }
            for i, (token, text) in enumerate(zip(self.tokens, self.texts, strict=True))
        ]
        return {"tokens": shown, "latents": [vars(one) for one in self.ranked(n)]}

    def _repr_html_(self) -> str:
        best = self.ranked(1)
        strip = self.strip(best[0].latent)._repr_html_() if best else ""
        return self.table()._repr_html_() + strip

    def _at(self, position: int) -> Bool[np.ndarray, "firing"]:
        if not 0 <= position < len(self.tokens):
            raise DataError(
                f"There is no position {position}: the text has {len(self.tokens)} tokens, 0 to "
                f"{len(self.tokens) - 1}."
            )
        return np.asarray(self.position == position)

    @cached_property
    def _latents(self) -> tuple[ProbedLatent, ...]:
        order = np.lexsort((self.position, self.latent))
        numbers, starts = np.unique(self.latent[order], return_index=True)
        found = []
        for latent, mine in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            values = self.value[mine]
            found.append(
                ProbedLatent(
                    latent=latent,
                    max=float(values.max()),
                    sum=float(values.sum(dtype=np.float64)),
                    n_tokens=len(mine),
                    peak=int(self.position[mine[values.argmax()]]),
                )
            )
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Reading:
    """A text as a model reads it, at the sites of some dictionaries.

    Attributes:
        tokens: Vocabulary ids, with the BOS that the model reads before the text.
        texts: What each token shows as.
        keep: Where a position counts as far as tokens tell.
        values: What the model has at each site, one row a position.
    """

    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    keep: Bool[Tensor, "pos"]
    values: Mapping[Site, Float[Tensor, "pos _width"]]


@torch.no_grad()
def read_text(model: LanguageModel, text: str, sites: Collection[Site]) -> Reading:
    """Read a text once, for all dictionaries that read at some sites.

    Args:
        model: Whose activations are read.
        text: Read as one context, after BOS.
        sites: Where.

    Raises:
        DataError: The text has no token, or more than the model has positions for.
        SiteError: The model has not got a site.
    """
    if not text:
        raise DataError("There is no text to read: give at least one word.")
    batch = model.batch(text)
    assert batch.tokens is not None
    length = batch.shape[1]
    if model.max_positions is not None and length > model.max_positions:
        raise DataError(
            f"The text has {length} tokens and '{model.name}' positions for {model.max_positions}: "
            "give less text."
        )
    found = model.read(batch, sorted(sites))
    ids = batch.tokens[0].tolist()
    return Reading(
        tokens=tuple(ids),
        texts=token_pieces(cast("Tokenizer", model.tokenizer), ids),
        keep=Exclusion().keep_tokens(batch.tokens, batch.text_mask(), model.special_ids)[0],
        values={site: value.flatten(2)[0].float() for site, value in found.items()},
    )


@torch.no_grad()
def probe_reading(
    reading: Reading, dictionary: Dictionary, exclusion: Exclusion = BY_TOKENS_ALONE
) -> Probe:
    """Which latents of a dictionary fire on a text that was read at its site.

    Args:
        reading: The text.
        dictionary: Whose latents.
        exclusion: As of `probe`.
    """
    site = dictionary.config.read_site
    x, kept = reading.values[site], reading.keep
    if site in exclusion.median_norm:
        kept = kept & exclusion.inlier(site, x)
    latents = dictionary.encode_sparse(x[kept])
    token, place = (latents.values > 0).nonzero(as_tuple=True)
    position = kept.nonzero().squeeze(-1)[token].cpu().numpy().astype(np.int32)
    latent = latents.indices[token, place].cpu().numpy().astype(np.int32)
    value = latents.values[token, place].float().cpu().numpy()
    order = np.lexsort((latent, -value, position))
    return Probe(
        tokens=reading.tokens,
        texts=reading.texts,
        counts=kept.cpu().numpy(),
        position=position[order],
        latent=latent[order],
        value=value[order],
    )


def probe(
    model: LanguageModel,
    dictionary: Dictionary,
    text: str,
    *,
    exclusion: Exclusion = BY_TOKENS_ALONE,
) -> Probe:
    """Which latents fire on a text.

    Args:
        model: Whose activations are read.
        dictionary: Whose latents.
        text: Read as one context, after BOS.
        exclusion: Which positions stay out. Where it does not hold the median norm of the site that
            is read, tokens alone decide, and no outlier is told.

    Raises:
        DataError: The text has no token, or more than the model has positions for.
        ModelError: The dictionary does not fit the model.
    """
    check_fits(model, dictionary)
    reading = read_text(model, text, (dictionary.config.read_site,))
    return probe_reading(reading, dictionary, exclusion)
