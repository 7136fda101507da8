"""Feature sets: which of a prompt's features make up a circuit."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.circuits.attribution import Attribution
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Frozen
from lmscope.circuits.targets import position_of
from lmscope.core.errors import DataError
from lmscope.core.rng import generator
from lmscope.core.site import Site

_ID = re.compile(r"(?P<site>[^/]+)/(?P<latent>\d+)@(?P<position>\d+)", re.ASCII)


class FeatureNode(NamedTuple):
    """A latent at a position; its text is that of a graph's node, `mlp_out@2/17@3`.

    Attributes:
        site: What its dictionary writes.
        position: Counted from the start.
        latent: Its number.
    """

    site: Site
    position: int
    latent: int

    def __str__(self) -> str:
        return f"{self.site}/{self.latent}@{self.position}"

    @classmethod
    def parse(cls, text: str) -> "FeatureNode":
        """The node of a graph's id.

        Raises:
            DataError: It is the id of no feature.
            SiteError: There is no such site.
        """
        found = _ID.fullmatch(text)
        if found is None:
            raise DataError(
                f"'{text}' names no feature: write site/latent@position, e.g. mlp_out@2/17@3."
            )
        return cls(Site.parse(found["site"]), int(found["position"]), int(found["latent"]))

    def on(self, frozen: Frozen) -> ActiveFeatures:
        """The features of its site, if it can be there.

        Raises:
            DataError: No dictionary writes the site, there is no such latent or position, or
                dictionaries do not stand at the position.
        """
        _, branch = frozen.branch(self.site)
        features = branch.features
        if features is None:
            raise DataError(f"No dictionary writes '{self.site}', so it has no features.")
        n_latents = features.dictionary.config.n_latents
        if not 0 <= self.latent < n_latents:
            raise DataError(
                f"There is no latent {self.latent}: the dictionary at '{self.site}' has {n_latents}, from 0."
            )
        if not features.stands[position_of(frozen, self.position)]:
            raise DataError(
                f"No dictionary stands at position {self.position} (the first one, a special token or an "
                f"outlier), so '{self}' has no effect there."
            )
        return features


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Some features of a prompt.

    Attributes:
        kept: By site, which of its active features are in it.
        silent: Whether the latents that do not fire are in it too.
    """

    kept: Mapping[Site, Bool[Tensor, "node"]]
    silent: bool = False

    def __len__(self) -> int:
        return sum(int(kept.sum()) for kept in self.kept.values())

    def complement(self) -> "FeatureSet":
        """All others."""
        return FeatureSet({site: ~kept for site, kept in self.kept.items()}, not self.silent)

    def nodes(self, frozen: Frozen) -> list[FeatureNode]:
        """Its active features, in forward order."""
        found = list[FeatureNode]()
        for site, kept in self.kept.items():
            features = features_of(frozen, site)
            places = zip(
                features.position[kept].tolist(), features.latent[kept].tolist(), strict=True
            )
            found += [FeatureNode(site, position, latent) for position, latent in places]
        return found


def features_of(frozen: Frozen, site: Site) -> ActiveFeatures:
    """The active features of a site.

    Raises:
        DataError: No dictionary writes it.
    """
    _, branch = frozen.branch(site)
    if branch.features is None:
        raise DataError(f"No dictionary writes '{site}', so it has no features.")
    return branch.features


def active_below(frozen: Frozen, stage: int) -> dict[Site, ActiveFeatures]:
    """The active features that lie below a stage, by site in forward order."""
    return {
        branch.site: branch.features
        for place, branch in frozen.branches()
        if place < stage and branch.features is not None
    }


def every_feature(frozen: Frozen, stage: int) -> FeatureSet:
    """All that lie below a stage, silent ones too."""
    kept = {
        site: torch.ones_like(features.latent, dtype=torch.bool)
        for site, features in active_below(frozen, stage).items()
    }
    return FeatureSet(kept, silent=True)


def no_feature(frozen: Frozen, stage: int) -> FeatureSet:
    """None of them."""
    return every_feature(frozen, stage).complement()


def chosen_features(frozen: Frozen, stage: int, nodes: Iterable[FeatureNode]) -> FeatureSet:
    """The set of given nodes.

    Raises:
        DataError: One does not fire on the prompt, or lies not below the stage.
    """
    kept = {site: mask.clone() for site, mask in no_feature(frozen, stage).kept.items()}
    for node in nodes:
        features = node.on(frozen)
        place = (features.position == node.position) & (features.latent == node.latent)
        if node.site not in kept or not place.any():
            why = (
                "does not fire on this prompt" if node.site in kept else "lies not below the target"
            )
            raise DataError(f"'{node}' {why}, so it can be in no circuit.")
        kept[node.site] |= place
    return FeatureSet(kept)


def kept_by(found: Attribution) -> FeatureSet:
    """The features that an attribution traced further."""
    return FeatureSet({site: one.kept for site, one in found.sites.items()})


def largest(scores: Mapping[Site, Float[Tensor, "node"]], n: int) -> FeatureSet:
    """So many features of largest score; ties go to what comes first in forward order."""
    flat = torch.cat([torch.zeros(0), *(score.double().cpu() for score in scores.values())])
    order = flat.argsort(descending=True, stable=True)[:n]
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[order] = True
    parts = chosen.split([len(score) for score in scores.values()])
    pairs = zip(scores.items(), parts, strict=True)
    return FeatureSet({site: part.to(score.device) for (site, score), part in pairs})


def standard_set(full: Attribution, n: int) -> FeatureSet:
    """The features of largest |attribution| in the whole linear model.

    Args:
        full: Traced with threshold 0.
        n: How many.
    """
    return largest({site: one.attribution.abs() for site, one in full.sites.items()}, n)


def hierarchical_set(swept: Sequence[Attribution], n: int) -> FeatureSet:
    """The circuit of n features that hierarchical attribution finds (ge2024circuits).

    The largest circuit of a sweep that has at most n features, and of what was reached and cut there
    those of largest |attribution|. Kept sets of a sweep are not nested, so nothing is interpolated.

    Args:
        swept: One attribution for each threshold; an endless one should be among them, for small n.
        n: How many.

    Raises:
        DataError: All circuits of the sweep are larger.
    """
    fitting = [found for found in swept if found.n_kept <= n]
    if not fitting:
        least = min((found.n_kept for found in swept), default=0)
        raise DataError(
            f"No threshold of the sweep keeps as few as {n} features (the fewest: {least}): add a higher one."
        )
    found = max(fitting, key=lambda one: one.n_kept)
    scores = {
        site: torch.where(one.kept, torch.inf, one.attribution.abs())
        for site, one in found.sites.items()
    }
    return largest(scores, n)


def random_set(found: Attribution, n: int, seed: int) -> FeatureSet:
    """So many of the features below a target, drawn evenly."""
    draw = generator(seed, "random features")
    scores = {
        site: torch.rand(len(one.kept), generator=draw).to(one.kept.device)
        for site, one in found.sites.items()
    }
    return largest(scores, n)
