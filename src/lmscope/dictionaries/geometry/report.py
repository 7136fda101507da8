"""Geometry reports: what each analysis found, as plain values with one definition each.

A share is a fraction of the latents that took part (see `rows` and `dead` of the options). They are
counts over all latents, no samples, so they carry no interval; the null is what they are read against.
"""

from collections.abc import Mapping
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.config import Config
from lmscope.dictionaries.geometry.config import GeometryOptions, NullKind
from lmscope.dictionaries.geometry.matching import Matching
from lmscope.dictionaries.geometry.neighbours import (
    NearestNull,
    Neighbours,
    johnson_lindenstrauss_threshold,
    random_max_cosine,
)
from lmscope.dictionaries.geometry.splitting import Splitting

CURVE_COSINES = tuple(i / 100 for i in range(101))
"""Where curves are given."""
_MANY_CHILDREN = 10


class Curve(Config):
    """How many latents lie at or below a cosine, for every hundredth from 0 to 1."""

    latents: tuple[float, ...]
    """Share of the latents whose cosine is at most i / 100, the cumulative distribution."""
    null: dict[NullKind, tuple[float, ...]]
    """The same of random rows."""


class OneSide(Config):
    """The latents of one dictionary, each with its best partner in the other."""

    n_latents: int
    mean_max_cosine: float
    """Mean over these latents of the largest cosine with any latent of the other dictionary (MMCS)."""
    mean_max_cosine_null: dict[NullKind, float]
    """The same of random rows in the place of these latents."""
    matched_share: dict[str, float]
    """By cosine: share of these latents whose best partner is nearer than that."""
    matched_share_null: dict[NullKind, dict[str, float]]
    """The same of random rows."""
    curve: Curve


class Pairs(Config):
    """A one-to-one matching: each latent stands in one pair at most."""

    method: str
    """`exact`: the largest possible sum of cosines. `greedy`: nearest pair first."""
    n_pairs: int
    """The latents of the smaller dictionary."""
    mean_cosine: float
    """Mean over the pairs."""
    matched_share: dict[str, float]
    """By cosine: share of the pairs that are nearer than that."""


class MatchingReport(Config):
    """Two dictionaries matched by the cosines of their rows."""

    a: str
    b: str
    a_in_b: OneSide
    """Each latent of a with its best partner in b."""
    b_in_a: OneSide
    """Each latent of b with its best partner in a."""
    one_to_one: Pairs
    same_model: bool | None = None
    """Whether both were trained on the same model weights; absent where one does not say. Rows of
    different models lie in different spaces, unless one model was trained on from the other."""

    def headline(self) -> dict[str, Any]:
        """The figures that a reader wants first."""
        null = self.a_in_b.mean_max_cosine_null
        return {
            "mean_max_cosine_a_in_b": self.a_in_b.mean_max_cosine,
            "mean_max_cosine_b_in_a": self.b_in_a.mean_max_cosine,
            **{f"mean_max_cosine_a_in_b_null_{kind}": value for kind, value in null.items()},
            "one_to_one_mean_cosine": self.one_to_one.mean_cosine,
        }


class NeighbourReport(Config):
    """How crowded the directions of one dictionary are."""

    dictionary: str
    n_latents: int
    width: int
    threshold: float
    """sqrt(12 ln F / D), the Johnson-Lindenstrauss threshold of the Llama Scope paper: F latents, D
    coordinates."""
    neighbour_share: float
    """Share of the latents with another latent nearer than the threshold."""
    neighbour_share_null: dict[NullKind, float]
    """The same within a dictionary of as many random rows."""
    mean_nearest_cosine: float
    """Mean over the latents of the cosine of their nearest latent."""
    mean_nearest_cosine_null: dict[NullKind, float]
    max_cosine: float
    """The largest cosine of any two latents."""
    max_cosine_isotropic: float
    """What it is for as many isotropic random directions: the median, by the exact law of a cosine."""
    n_clusters: int
    """Groups of at least two latents, connected by chains of pairs nearer than the threshold."""
    clustered_share: float
    """Share of the latents in a cluster; equals `neighbour_share`."""
    largest_cluster: int
    """Latents of the largest cluster."""

    def headline(self) -> dict[str, Any]:
        """The figures that a reader wants first."""
        return {
            "threshold": self.threshold,
            "neighbour_share": self.neighbour_share,
            **{f"neighbour_share_null_{k}": v for k, v in self.neighbour_share_null.items()},
            "max_cosine": self.max_cosine,
            "largest_cluster": self.largest_cluster,
        }


class Fates(Config):
    """What became of the latents, as shares."""

    new: float
    """Wide latents whose cosine to every narrow latent is at most the threshold."""
    split: float
    """Narrow latents with two children or more."""
    carried_over: float
    """Narrow latents with exactly one child."""
    lost: float
    """Narrow latents without a child."""


class SplittingReport(Config):
    """What a wide dictionary makes of the latents of a narrow one.

    A wide latent's parent is the narrow latent nearest to it; it is the parent's child if the cosine
    exceeds the threshold.
    """

    narrow: str
    wide: str
    n_narrow: int
    n_wide: int
    threshold: float
    """`null_quantile` of the best cosines of random rows in the place of wide latents."""
    threshold_null: NullKind
    threshold_quantile: float
    shares: Fates
    shares_null: Fates
    """The same with as many random rows in the place of the wide latents, other ones than those that
    set the threshold."""
    n_new: int
    children_mean: float
    """Children of a narrow latent that has any, on average."""
    children_counts: tuple[int, ...]
    """Narrow latents with 0, 1, 2, ... children; the last entry counts those with ten or more."""
    new_share_by_cosine: tuple[float, ...]
    """The share of new latents if the threshold were i / 100."""
    new_share_by_cosine_null: tuple[float, ...]
    """The same of random rows."""

    def headline(self) -> dict[str, Any]:
        """The figures that a reader wants first."""
        shares = {f"{name}_share": v for name, v in self.shares.to_mapping().items()}
        null = {f"{name}_share_null": v for name, v in self.shares_null.to_mapping().items()}
        return {"threshold": self.threshold, **shares, **null, "n_new": self.n_new}


class LayersReport(Config):
    """Dictionaries of several sites matched with each other."""

    names: tuple[str, ...]
    mean_max_cosine: tuple[tuple[float, ...], ...]
    """Row a, column b: mean over the latents of a of the largest cosine with any latent of b."""
    mean_max_cosine_null: tuple[tuple[float, ...], ...]
    """The same with random rows of a's mean and covariance in the place of a's latents; on the diagonal too,
    where the true value is 1 by definition."""

    def headline(self) -> dict[str, Any]:
        """The figures that a reader wants first."""
        n = len(self.names)
        off = [(i, j) for i in range(n) for j in range(n) if i != j]
        return {
            "n_dictionaries": n,
            "mean_max_cosine": sum(self.mean_max_cosine[i][j] for i, j in off) / len(off),
            "mean_max_cosine_null": sum(self.mean_max_cosine_null[i][j] for i, j in off) / len(off),
        }


class MapReport(Config):
    """A map of all dictionaries whose rows lie in one space; the coordinates stand beside it."""

    method: str
    """`pca` or `umap`."""
    dictionaries: tuple[str, ...]
    n_latents: tuple[int, ...]
    """Latents on the map, of each dictionary."""
    explained_share: tuple[float, ...] | None = None
    """For PCA: share of the unit rows' variance along each coordinate."""

    def headline(self) -> dict[str, Any]:
        """The figures that a reader wants first."""
        return {"method": self.method, "explained_share": self.explained_share}


def matching_report(
    a: str, b: str, matching: Matching, options: GeometryOptions, same_model: bool | None = None
) -> MatchingReport:
    """The figures of `matching.match`."""
    pairs = matching.one_to_one
    return MatchingReport(
        a=a,
        b=b,
        a_in_b=_side(matching.of_a.cosine, matching.null_a, options.thresholds),
        b_in_a=_side(matching.of_b.cosine, matching.null_b, options.thresholds),
        one_to_one=Pairs(
            method=pairs.method,
            n_pairs=len(pairs.cosine),
            mean_cosine=_mean(pairs.cosine),
            matched_share=_above(pairs.cosine, options.thresholds),
        ),
        same_model=same_model,
    )


def neighbour_report(
    name: str, found: Neighbours, null: NearestNull, rows: Float[Tensor, "latent width"]
) -> NeighbourReport:
    """The figures of `neighbours.neighbours` and of random dictionaries beside it."""
    n, width = rows.shape
    nearest, threshold = found.cosine[:, 0], found.threshold
    sizes = found.cluster.bincount()
    return NeighbourReport(
        dictionary=name,
        n_latents=n,
        width=width,
        threshold=johnson_lindenstrauss_threshold(n, width),
        neighbour_share=_share(nearest > threshold),
        neighbour_share_null={k: _share(c > threshold) for k, c in null.cosine.items()},
        mean_nearest_cosine=_mean(nearest),
        mean_nearest_cosine_null={k: _mean(c) for k, c in null.cosine.items()},
        max_cosine=nearest.max().item(),
        max_cosine_isotropic=random_max_cosine(n, width),
        n_clusters=int((sizes > 1).sum()),
        clustered_share=sizes[sizes > 1].sum().item() / n,
        largest_cluster=int(sizes.max()),
    )


def splitting_report(
    narrow: str, wide: str, found: Splitting, options: GeometryOptions
) -> SplittingReport:
    """The figures of `splitting.split`."""
    children = found.n_children
    counts = children.clamp(max=_MANY_CHILDREN).bincount(minlength=_MANY_CHILDREN + 1)
    return SplittingReport(
        narrow=narrow,
        wide=wide,
        n_narrow=found.n_narrow,
        n_wide=len(found.best.cosine),
        threshold=found.threshold,
        threshold_null=options.splitting_null,
        threshold_quantile=options.null_quantile,
        shares=_fates(found.best.cosine, found.threshold, children),
        shares_null=_fates(found.null_best.cosine, found.threshold, found.n_children_null),
        n_new=int(found.is_new.sum()),
        children_mean=_mean(children[children > 0]) if bool(children.any()) else 0.0,
        children_counts=tuple(counts.tolist()),
        new_share_by_cosine=_curve(found.best.cosine),
        new_share_by_cosine_null=_curve(found.null_best.cosine),
    )


def _side(best: Tensor, null: Mapping[NullKind, Tensor], thresholds: tuple[float, ...]) -> OneSide:
    return OneSide(
        n_latents=len(best),
        mean_max_cosine=_mean(best),
        mean_max_cosine_null={kind: _mean(cosine) for kind, cosine in null.items()},
        matched_share=_above(best, thresholds),
        matched_share_null={kind: _above(cosine, thresholds) for kind, cosine in null.items()},
        curve=Curve(latents=_curve(best), null={k: _curve(c) for k, c in null.items()}),
    )


def _fates(cosine: Tensor, threshold: float, children: Tensor) -> Fates:
    return Fates(
        new=_share(cosine <= threshold),
        split=_share(children > 1),
        carried_over=_share(children == 1),
        lost=_share(children == 0),
    )


def _curve(cosine: Tensor) -> tuple[float, ...]:
    ordered = cosine.double().cpu().sort().values
    at_most = torch.searchsorted(
        ordered, torch.tensor(CURVE_COSINES, dtype=torch.float64), right=True
    )
    return tuple((at_most.double() / len(ordered)).tolist())


def _above(cosine: Tensor, thresholds: tuple[float, ...]) -> dict[str, float]:
    return {str(threshold): _share(cosine > threshold) for threshold in thresholds}


def _share(mask: Tensor) -> float:
    return mask.double().mean().item()


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def definitions(config: type[Config]) -> dict[str, str]:
    """What each figure of a report means, by its key in dots."""
    found: dict[str, str] = {}
    for name, field in config.model_fields.items():
        if field.description:
            found[name] = " ".join(field.description.split())
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, Config):
                found |= {f"{name}.{key}": text for key, text in definitions(inner).items()}
    return found
