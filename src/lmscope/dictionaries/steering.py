"""Steering: edits of a model by single latents of a dictionary.

A change of latent l at a token adds `delta x W_dec[l]` to what the model has there, and touches
nothing else: what the dictionary does not reconstruct stays as it is (templeton2024scaling, "feature
steering"). Where delta is 0 the value stays as it was, bit for bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.core.errors import RecipeError, SiteError
from lmscope.core.rng import generator
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.models.batch import Batch
from lmscope.models.edit import At, EditFunction, Edits
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel

Where = Literal["all", "prompt", "generated"]
"""Which tokens are steered: all of them, those of the first pass, or those that continue it."""

_BY_TOKENS_ALONE: Final = Exclusion()


@dataclass(frozen=True)
class LatentChange:
    """What happens to one latent.

    Attributes:
        latent: Its number.
        kind: `add`: the activation rises by the value; `clamp`: it becomes the value, whatever it was;
            `ablate`: it becomes 0.
        value: In the dictionary's units; raw for a folded one, in which an activation of 1 adds a
            vector of norm 1.
    """

    latent: int
    kind: Literal["add", "clamp", "ablate"]
    value: float = 0.0

    def delta(self, current: Float[Tensor, "token"]) -> Float[Tensor, "token"]:
        """By how much the activation changes where it is `current`."""
        if self.kind == "add":
            return torch.full_like(current, self.value)
        return (0.0 if self.kind == "ablate" else self.value) - current

    def __str__(self) -> str:
        amount = "" if self.kind == "ablate" else f" {self.value:g}"
        return f"{self.kind} {self.latent}{amount}"


def activate(latent: int, strength: float) -> LatentChange:
    """Add `strength` times the latent's decoder row."""
    return LatentChange(latent, "add", strength)


def clamp(latent: int, value: float) -> LatentChange:
    """Give the latent this activation everywhere."""
    return LatentChange(latent, "clamp", value)


def ablate(latent: int) -> LatentChange:
    """Take away what the latent writes."""
    return LatentChange(latent, "ablate")


class Steering:
    """Changes of latents as edits of a model.

    Positions that the exclusion mask leaves out (the first one, special ids, outliers) keep their
    clean value. For a transcoder the latents are computed where it reads and act where it writes.

    Args:
        model: What is edited.
        dictionary: Whose latents; on the model's device.
        changes: What happens to which latents, each latent once.
        exclusion: Which positions stay clean. Of a site whose median norm it does not hold, tokens
            alone decide.
        where: Which tokens are steered.
        directions: Vectors that stand in for the decoder rows of the changed latents, in their order;
            for controls. The latents' activations stay those of the dictionary.

    Raises:
        RecipeError: There is no change, a latent does not exist or is named twice, or a value is not
            finite.
        ModelError: The dictionary does not fit the model.
        SiteError: The dictionary reads behind the place where it writes, or at attention scores.
    """

    def __init__(
        self,
        model: LanguageModel,
        dictionary: Dictionary,
        changes: Sequence[LatentChange],
        *,
        exclusion: Exclusion = _BY_TOKENS_ALONE,
        where: Where = "all",
        directions: Float[Tensor, "change write"] | None = None,
    ) -> None:
        check_fits(model, dictionary)
        check_changes(dictionary.config.n_latents, changes)
        config = dictionary.config
        self.read_site, self.write_site = config.read_site, config.write_site
        if self.write_site.depth < self.read_site.depth:
            raise SiteError(
                f"The dictionary writes '{self.write_site}', which is computed before '{self.read_site}' "
                "that it reads, so its latents cannot steer one forward pass."
            )
        self.changes = tuple(changes)
        self.where: Where = where
        self._model, self._dictionary, self._exclusion = model, dictionary, exclusion
        rows = decoder_rows(dictionary, changes) if directions is None else directions
        self.rows = rows.float().to(dictionary.W_dec.device)
        self._latents = torch.tensor([change.latent for change in changes], device=self.rows.device)

    def edits(self, batch: Batch) -> Edits:
        """The edits of one pass over a batch: for `model.edit`, or as a whole for `generate`.

        Raises:
            RecipeError: The batch has no tokens, by which positions are left out.
        """
        keep = self._keep(batch)
        if self.where != "all":
            keep = keep & ((batch.cache is None) == (self.where == "prompt"))
        if self.read_site == self.write_site:
            return {self.write_site: self._edit(keep, None)}
        seen: list[Tensor] = []

        def look(x: Tensor, _at: At) -> Tensor:
            seen[:] = [x]
            return x

        return {self.read_site: look, self.write_site: self._edit(keep, seen)}

    def _edit(self, keep: Bool[Tensor, "batch pos"], seen: list[Tensor] | None) -> EditFunction:
        def edit(y: Tensor, _at: At) -> Tensor:
            x = y if seen is None else seen[0]
            return self._steered(x, y, keep)

        return edit

    def _steered(self, x: Tensor, y: Tensor, keep: Bool[Tensor, "batch pos"]) -> Tensor:
        kept = keep.to(y.device)
        wide_x, wide_y = x.flatten(2), y.flatten(2)
        for site, value in ((self.read_site, wide_x), (self.write_site, wide_y)):
            if site in self._exclusion.median_norm:
                kept = kept & self._exclusion.inlier(site, value)
        delta = self._deltas(wide_x[kept])
        added = torch.zeros_like(wide_y, dtype=torch.float32)
        added[kept] = delta @ self.rows
        changed = torch.zeros_like(kept)
        changed[kept] = (delta != 0).any(-1)
        steered = (wide_y.float() + added).to(y.dtype)
        return torch.where(changed[..., None], steered, wide_y).view_as(y)

    def _deltas(self, x: Float[Tensor, "token read"]) -> Float[Tensor, "token change"]:
        current = torch.zeros(len(x), len(self.changes), device=x.device)
        if any(change.kind != "add" for change in self.changes):
            latents = self._dictionary.encode_sparse(x.float())
            mine = latents.indices[..., None] == self._latents
            current = (latents.values[..., None] * mine).sum(1).float()
        columns = [change.delta(current[:, i]) for i, change in enumerate(self.changes)]
        return torch.stack(columns, dim=-1)

    def _keep(self, batch: Batch) -> Bool[Tensor, "batch pos"]:
        """Where tokens allow a change; in a pass that continues a context no position is its first."""
        if batch.tokens is None:
            raise RecipeError(
                "Steering leaves positions out by their tokens; this batch has embeds and no tokens."
            )
        text, special = batch.text_mask(), self._model.special_ids
        if batch.cache is None:
            return self._exclusion.keep_tokens(batch.tokens, text, special)
        ids = torch.tensor(sorted(special), dtype=batch.tokens.dtype, device=batch.tokens.device)
        return text & ~torch.isin(batch.tokens, ids)


def check_changes(n_latents: int, changes: Sequence[LatentChange]) -> None:
    """Refuse changes that cannot be made or would have no effect.

    Args:
        n_latents: Of the dictionary.
        changes: What is to happen.

    Raises:
        RecipeError: There is none, a latent does not exist or is named twice, a value is not finite.
    """
    if not changes:
        raise RecipeError("There is nothing to steer: name at least one latent.")
    seen: set[int] = set()
    for change in changes:
        if not 0 <= change.latent < n_latents:
            raise RecipeError(
                f"There is no latent {change.latent}: the dictionary has {n_latents:,}, numbered 0 to "
                f"{n_latents - 1}."
            )
        if change.latent in seen:
            raise RecipeError(f"Latent {change.latent} is changed twice: give one change for it.")
        if not math.isfinite(change.value):
            raise RecipeError(f"Latent {change.latent} cannot get the value {change.value}.")
        seen.add(change.latent)


def decoder_rows(
    dictionary: Dictionary, changes: Sequence[LatentChange]
) -> Float[Tensor, "change write"]:
    """What one unit of each changed latent adds to the raw activation; float32."""
    latents = [change.latent for change in changes]
    return dictionary.W_dec.detach()[latents].float() / dictionary.scale_out.float()


def random_directions(
    rows: Float[Tensor, "change write"], seed: int, draw: int = 0
) -> Float[Tensor, "change write"]:
    """Directions drawn evenly from the sphere, each as long as the row that it stands in for.

    Args:
        rows: Decoder rows.
        seed: The recipe's.
        draw: Number of the draw; each has a stream of its own.
    """
    drawn = torch.randn(rows.shape, generator=generator(seed, "random direction", draw))
    return (drawn / drawn.norm(dim=-1, keepdim=True)).to(rows.device) * rows.norm(
        dim=-1, keepdim=True
    )
