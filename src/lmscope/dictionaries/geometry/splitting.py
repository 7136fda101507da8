"""What a wide dictionary makes of the latents of a narrow one: split, carried over, lost, and new.

Definitions. The *parent* of a wide latent is the narrow latent with the largest cosine to it. A wide
latent is a *child* of its parent if that cosine exceeds the threshold, and *new* otherwise. A narrow
latent is *split* if it has two children or more, *carried over* if it has one, *lost* if none.

The threshold is not chosen by hand: random rows in the place of the wide ones (a null of
`geometry.nulls`) also have a best cosine, and the threshold is a high quantile of it. What as many
random rows as the wide dictionary has would be counted as stands beside every count.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from lmscope.core.rng import generator
from lmscope.dictionaries.geometry.config import GeometryOptions
from lmscope.dictionaries.geometry.cosines import Best, best_in
from lmscope.dictionaries.geometry.nulls import null_rows
from lmscope.dictionaries.sparsity import SparseLatents


@dataclass(frozen=True)
class Splitting:
    """The wide dictionary seen from the narrow one.

    Attributes:
        best: Parent and cosine of each wide latent.
        null_best: The same of as many random rows; drawn apart from those that set the threshold.
        threshold: The cosine that a child exceeds.
        n_narrow: Latents of the narrow dictionary.
    """

    best: Best
    null_best: Best
    threshold: float
    n_narrow: int

    @property
    def is_new(self) -> Bool[Tensor, "wide"]:
        """Wide latents without a parent."""
        return self.best.cosine <= self.threshold

    @property
    def n_children(self) -> Int64[Tensor, "narrow"]:
        """Children of each narrow latent."""
        return self._children(self.best)

    @property
    def n_children_null(self) -> Int64[Tensor, "narrow"]:
        """Random rows that would count as children of each narrow latent."""
        return self._children(self.null_best)

    def _children(self, best: Best) -> Tensor:
        parents = best.partner[best.cosine > self.threshold]
        return parents.bincount(minlength=self.n_narrow)


def split(
    narrow: Float[Tensor, "narrow width"],
    wide: Float[Tensor, "wide width"],
    options: GeometryOptions,
    seed: int,
) -> Splitting:
    """Find the parent of each wide latent, and a threshold from a null (bricken2023monosemanticity; he2024llamascope).

    Differs: the papers follow single features by eye or by activations, with a threshold by hand or
    none; here the threshold comes from rows without a counterpart.

    Args:
        narrow: Rows of the dictionary with fewer latents.
        wide: Rows of the one with more.
        options: Kind, number and quantile of the null.
        seed: Of the null.

    Raises:
        DataError: The widths differ, a side has no rows, or a row holds NaN or infinity.
    """
    kind = options.splitting_null

    def null(n: int, name: str) -> Best:
        rows = null_rows(wide, kind, n, generator(seed, "geometry", kind, name))
        return best_in(rows, narrow, options.block_rows)

    calibration = null(options.null_rows, "splitting threshold").cosine
    threshold = torch.quantile(calibration.double().cpu(), options.null_quantile).item()
    best = best_in(wide, narrow, options.block_rows)
    return Splitting(
        Best(*(t.cpu() for t in best)),
        Best(*(t.cpu() for t in null(len(wide), "splitting"))),
        threshold,
        len(narrow),
    )


@dataclass(frozen=True)
class GroupFiring:
    """How firing of a narrow latent and of its children goes together, on the same tokens.

    Attributes:
        parent_given_child: For each child, the share of its firings at which its parent fires; NaN
            where it never fires, and for wide latents that are no child.
        parent_given_child_chance: What it is when both fire independently: how often the parent fires.
        coverage: For each narrow latent, the share of its firings at which a child fires; NaN where it
            never fires or has no child.
        coverage_chance: What it is when the group fires independently of it: how often any child fires.
        n_tokens: Tokens seen.
    """

    parent_given_child: Float32[Tensor, "wide"]
    parent_given_child_chance: Float32[Tensor, "wide"]
    coverage: Float32[Tensor, "narrow"]
    coverage_chance: Float32[Tensor, "narrow"]
    n_tokens: int


class FiringTally:
    """Counts joint firings of parents and children as tokens stream by.

    Memory: 8 bytes a latent, and a few bytes x latents of both for each token of one call of `add`.

    Args:
        splitting: Who is whose child.
    """

    def __init__(self, splitting: Splitting) -> None:
        self._parent = splitting.best.partner
        self._is_child = ~splitting.is_new
        self._n_narrow, n_wide = splitting.n_narrow, len(self._parent)
        self._n_tokens = 0
        self._narrow = torch.zeros(self._n_narrow, dtype=torch.int64)
        self._wide = torch.zeros(n_wide, dtype=torch.int64)
        self._joint = torch.zeros(n_wide, dtype=torch.int64)
        self._group = torch.zeros(self._n_narrow, dtype=torch.int64)
        self._covered = torch.zeros(self._n_narrow, dtype=torch.int64)

    def add(self, narrow: SparseLatents, wide: SparseLatents) -> None:
        """Add tokens: the latents of both dictionaries for the same tokens, in the same order."""
        fires = _mask(narrow, self._n_narrow)
        token, place = (wide.values != 0).nonzero(as_tuple=True)
        child = wide.indices[token, place].cpu()
        token, parent = token.cpu(), self._parent[child]
        self._n_tokens += len(fires)
        self._narrow += fires.sum(0)
        self._wide += child.bincount(minlength=len(self._wide))
        together = fires[token, parent]
        self._joint += child[together].bincount(minlength=len(self._joint))
        group = torch.zeros_like(fires)
        mine = self._is_child[child]
        group[token[mine], parent[mine]] = True
        self._group += group.sum(0)
        self._covered += (group & fires).sum(0)

    def firing(self) -> GroupFiring:
        """The shares so far."""
        n = max(self._n_tokens, 1)
        nothing = torch.tensor(torch.nan)
        has_child = self._parent[self._is_child].bincount(minlength=self._n_narrow) > 0
        given = torch.where(self._is_child, self._joint / self._wide, nothing)
        chance = torch.where(self._is_child, self._narrow[self._parent] / n, nothing)
        return GroupFiring(
            given,
            chance,
            torch.where(has_child, self._covered / self._narrow, nothing),
            torch.where(has_child, self._group / n, nothing),
            self._n_tokens,
        )


def _mask(latents: SparseLatents, n: int) -> Bool[Tensor, "token latent"]:
    mask = torch.zeros(len(latents.values), n, dtype=torch.bool)
    token, place = (latents.values != 0).nonzero(as_tuple=True)
    mask[token.cpu(), latents.indices[token, place].cpu()] = True
    return mask
