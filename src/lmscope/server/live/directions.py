"""Decoder rows of dictionaries: compared with each other, and drawn as a map; no model is needed."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from lmscope.atlas.atlas import Atlas
from lmscope.core.errors import DataError
from lmscope.core.rng import generator
from lmscope.dictionaries import storage
from lmscope.dictionaries.geometry.config import GeometryOptions
from lmscope.dictionaries.geometry.cosines import best_in
from lmscope.dictionaries.geometry.maps import pca_map
from lmscope.dictionaries.geometry.nulls import null_rows
from lmscope.dictionaries.geometry.report import splitting_report
from lmscope.dictionaries.geometry.splitting import Splitting, split
from lmscope.dictionaries.latent_statistics import LatentStatistics
from lmscope.server.live.protocol import Rows

N_BINS: Final = 60
"""Of a histogram of cosines."""
N_NEW: Final = 200
"""New latents of a comparison that are listed."""
MAX_DRAWN: Final = 32_768
"""Latents of a map; of a wider dictionary so many at even distances."""
_N_KEPT: Final = 16
_OPTIONS: Final = GeometryOptions()
_SEED: Final = 0
GroupKind = Literal["split", "carried over", "lost"]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Directions:
    """The latents of a dictionary that take part.

    Attributes:
        rows: Decoder rows.
        latents: Their numbers.
        density: Share of tokens on which each fires; None where that is not known.
    """

    rows: Float[Tensor, "latent width"]
    latents: Int64[np.ndarray, "latent"]
    density: Float64[np.ndarray, "latent"] | None

    def share(self, place: int) -> float | None:
        """How often a row's latent fires."""
        return None if self.density is None else float(self.density[place])


@dataclass(frozen=True, eq=False)
class Compared:
    """Two dictionaries, and what stands on every page of their comparison.

    Attributes:
        narrow: The one with fewer latents.
        wide: The other.
        splitting: Parents, children and threshold.
        figures: Threshold, shares and histograms as plain values.
        order: Narrow rows: those with the most children first, then those that fire most.
        n_children: Of each narrow row.
    """

    narrow: Directions
    wide: Directions
    splitting: Splitting
    figures: Mapping[str, Any]
    order: Int64[np.ndarray, "narrow"]
    n_children: Int64[np.ndarray, "narrow"]


class Comparisons:
    """Comparisons and maps that were asked for last, by the digests of their dictionaries."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], Any] = OrderedDict()

    def compare(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """A page of a comparison.

        Args:
            payload: `narrow` and `wide` (`Rows` as plain values), `kind`, `offset` and `limit`.

        Raises:
            DataError: They write streams of different widths, or have no latent that fires.
            ArtifactError: Their rows cannot be read.
        """
        narrow, wide = Rows(**payload["narrow"]), Rows(**payload["wide"])
        key = ("compare", narrow.digest, wide.digest)
        found = self._keep(key, lambda: compare(read(narrow), read(wide)))
        return {
            **found.figures,
            **page(found, payload["kind"], payload["offset"], payload["limit"]),
        }

    def map(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Two coordinates a latent; errors as of `compare`."""
        rows = Rows(**payload["rows"])
        return self._keep(("map", rows.digest), lambda: draw(read(rows)))

    def _keep(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = make()
            while len(self._kept) > _N_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def read(rows: Rows) -> Directions:
    """The decoder rows of the latents that fire.

    Raises:
        ArtifactError: They cannot be read.
        DataError: No latent fires.
    """
    found = _of_atlas(rows.atlas) if rows.atlas is not None else None
    if found is None:
        if rows.folder is None:
            raise DataError(
                "The dictionary's decoder rows are neither in its atlas nor here: build its atlas anew, or serve "
                "the run that trained it too."
            )
        found = _of_weights(Path(rows.folder), rows.statistics)
    values, density = found
    alive = np.arange(len(values)) if density is None else np.flatnonzero(density > 0)
    if not len(alive):
        raise DataError("No latent of the dictionary ever fires, so there is nothing to compare.")
    return Directions(
        values[torch.from_numpy(alive)], alive, None if density is None else density[alive]
    )


def compare(narrow: Directions, wide: Directions) -> Compared:
    """What the wide dictionary makes of the latents of the narrow one.

    Raises:
        DataError: They write streams of different widths.
    """
    splitting = split(narrow.rows, wide.rows, _OPTIONS, _SEED)
    report = splitting_report("narrow", "wide", splitting, _OPTIONS)
    back = best_in(narrow.rows, wide.rows, _OPTIONS.block_rows).cosine
    random = null_rows(
        narrow.rows,
        _OPTIONS.splitting_null,
        len(narrow.rows),
        generator(_SEED, "geometry", _OPTIONS.splitting_null, "narrow"),
    )
    back_null = best_in(random, wide.rows, _OPTIONS.block_rows).cosine
    best, null = splitting.best.cosine, splitting.null_best.cosine
    shares = [
        {"name": name, "value": value, "null": getattr(report.shares_null, name)}
        for name, value in report.shares.to_mapping().items()
    ]
    for name, cosine, chance in (
        ("wide_in_narrow", best, null),
        ("narrow_in_wide", back, back_null),
    ):
        shares.append({"name": name, "value": float(cosine.mean()), "null": float(chance.mean())})
    edges = np.linspace(min(0.0, float(best.min()), float(null.min())), 1.0, N_BINS + 1)
    n_children = splitting.n_children.numpy()
    firing = np.zeros(len(n_children)) if narrow.density is None else narrow.density
    return Compared(
        narrow,
        wide,
        splitting,
        {
            "threshold": splitting.threshold,
            "shares": shares,
            "cosines": _histogram(best, edges),
            "cosines_null": _histogram(null, edges),
            "new": _new(splitting, wide),
            "n_new": report.n_new,
        },
        np.lexsort((-firing, -n_children)),
        n_children,
    )


def page(found: Compared, kind: GroupKind | None, offset: int, limit: int) -> dict[str, Any]:
    """Some of the groups of a comparison, and how many there are of their kind."""
    of_kind: Bool[np.ndarray, "narrow"] = {
        "split": found.n_children > 1,
        "carried over": found.n_children == 1,
        "lost": found.n_children == 0,
        None: np.ones(len(found.n_children), dtype=np.bool_),
    }[kind]
    order = found.order[of_kind[found.order]]
    shown = order[offset : offset + limit].tolist()
    return {"total": len(order), "groups": [_group(found, place) for place in shown]}


def draw(directions: Directions) -> dict[str, Any]:
    """The first two principal components of the decoder rows.

    Raises:
        DataError: The rows have fewer than two coordinates.
    """
    step = -(-len(directions.rows) // MAX_DRAWN)
    places = np.arange(0, len(directions.rows), step)
    found = pca_map({"": directions.rows})
    coordinates = found.coordinates[""].numpy()[places]
    density = directions.density
    return {
        "method": found.method,
        "explained_share": found.explained_share,
        "latents": directions.latents[places].tolist(),
        "x": [float(f"{x:.5g}") for x in coordinates[:, 0].tolist()],
        "y": [float(f"{y:.5g}") for y in coordinates[:, 1].tolist()],
        "density": None if density is None else density[places].tolist(),
    }


def _of_atlas(path: str) -> tuple[Tensor, Float64[np.ndarray, "latent"]] | None:
    with Atlas.open(path) as atlas:
        vectors = atlas.vectors
        if vectors is None:
            return None
        return torch.from_numpy(np.array(vectors)), atlas.columns.values["density"]


def _of_weights(
    folder: Path, statistics: str | None
) -> tuple[Tensor, Float64[np.ndarray, "latent"] | None]:
    _, tensors = storage.read(folder)
    if statistics is None:
        return tensors["W_dec"], None
    return tensors["W_dec"], LatentStatistics.load(statistics).firing_frequency.numpy()


def _group(found: Compared, place: int) -> dict[str, Any]:
    best = found.splitting.best
    mine = (best.partner == place) & (best.cosine > found.splitting.threshold)
    rows = mine.nonzero().squeeze(-1)
    order = rows[best.cosine[rows].argsort(descending=True, stable=True)].tolist()
    n = len(order)
    return {
        "latent": int(found.narrow.latents[place]),
        "density": found.narrow.share(place),
        "kind": "split" if n > 1 else "carried over" if n else "lost",
        "children": [_child(found.wide, row, float(best.cosine[row])) for row in order],
    }


def _child(wide: Directions, row: int, cosine: float) -> dict[str, Any]:
    return {"latent": int(wide.latents[row]), "density": wide.share(row), "cosine": cosine}


def _new(splitting: Splitting, wide: Directions) -> list[dict[str, Any]]:
    rows = splitting.is_new.nonzero().squeeze(-1).numpy()
    if wide.density is not None:
        rows = rows[np.argsort(-wide.density[rows], kind="stable")]
    return [_child(wide, row, float(splitting.best.cosine[row])) for row in rows[:N_NEW].tolist()]


def _histogram(cosine: Tensor, edges: Float64[np.ndarray, "edge"]) -> dict[str, Any]:
    counts, _ = np.histogram(cosine.numpy().clip(edges[0], edges[-1]), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
