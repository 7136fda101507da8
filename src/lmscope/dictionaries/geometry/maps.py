"""Maps: two coordinates a latent, so that a page can show which latents lie near each other."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from lmscope.core.errors import DataError, LmscopeError
from lmscope.core.rng import stream_seed
from lmscope.dictionaries.geometry.cosines import BLOCK_ROWS, unit_rows

N_COORDINATES = 2


class Map(NamedTuple):
    """Coordinates of the latents of dictionaries that lie in one space.

    Attributes:
        method: How they were found.
        coordinates: By dictionary, one row a latent.
        explained_share: For PCA, the share of the unit rows' variance along each coordinate. Small
            shares mean that the map hides most of what the rows are.
    """

    method: Literal["pca", "umap"]
    coordinates: Mapping[str, Float32[Tensor, "latent 2"]]
    explained_share: tuple[float, ...] | None


def pca_map(rows: Mapping[str, Float[Tensor, "latent width"]]) -> Map:
    """Principal components of all unit rows together, exact; the same input gives the same map.

    The sign of a component is the one that makes its entry of largest size positive.

    Args:
        rows: One row a latent, by dictionary, all of one width of at least 2.

    Raises:
        DataError: The widths differ or are below 2, there is no row, or one holds NaN or infinity.
    """
    width, n = _checked_width(rows), sum(len(r) for r in rows.values())
    mean = torch.zeros(width, dtype=torch.float64)
    second = torch.zeros(width, width, dtype=torch.float64)
    for part in (p for r in rows.values() for p in r.split(BLOCK_ROWS)):
        unit = unit_rows(part).double().cpu()
        mean += unit.sum(0) / n
        second += unit.T @ unit / n
    values, vectors = torch.linalg.eigh(second - mean.outer(mean))
    axes = vectors[:, -N_COORDINATES:].flip(1)
    peaks = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    axes = axes * peaks.sign()
    explained = values[-N_COORDINATES:].flip(0).clamp(min=0) / values.clamp(min=0).sum()
    coordinates = {
        name: torch.cat(
            [((unit_rows(p).double().cpu() - mean) @ axes).float() for p in r.split(BLOCK_ROWS)]
        )
        for name, r in rows.items()
    }
    return Map("pca", coordinates, tuple(explained.nan_to_num().tolist()))


def umap_map(rows: Mapping[str, Float[Tensor, "latent width"]], seed: int) -> Map:
    """UMAP of all rows together by cosine (mcinnes2018umap); needs the extra `maps`.

    Neighbourhoods mean something on such a map, distances between groups do not.

    Args:
        rows: As `pca_map`; at least 4 in all.
        seed: With it the map is the same in every run, at the price of one thread.

    Raises:
        LmscopeError: umap-learn is not installed.
        DataError: As `pca_map`.
    """
    _checked_width(rows)
    n = sum(len(r) for r in rows.values())
    if n < 2 * N_COORDINATES:
        raise DataError(f"A UMAP map needs at least {2 * N_COORDINATES} latents, there are {n}.")
    reducer = _umap().UMAP(
        n_components=N_COORDINATES,
        n_neighbors=min(15, n - 1),
        metric="cosine",
        init="random" if n <= 15 else "spectral",
        random_state=stream_seed(seed, "geometry", "umap") % 2**32,
        n_jobs=1,
    )
    together = torch.cat([unit_rows(r).cpu() for r in rows.values()])
    found = torch.from_numpy(reducer.fit_transform(together.numpy())).float()
    parts = found.split([len(r) for r in rows.values()])
    return Map("umap", dict(zip(rows, parts, strict=True)), None)


def _checked_width(rows: Mapping[str, Tensor]) -> int:
    widths = {r.shape[1] for r in rows.values()}
    if len(widths) != 1 or min(widths) < N_COORDINATES or not any(len(r) for r in rows.values()):
        found = ", ".join(str(width) for width in sorted(widths)) or "none"
        raise DataError(
            f"A map needs rows of one width of at least {N_COORDINATES}, and at least one row; "
            f"widths found: {found}."
        )
    return widths.pop()


def _umap() -> Any:
    try:
        return import_module("umap")
    except ImportError:
        raise LmscopeError(
            "A UMAP map needs umap-learn, which is not installed: "
            'pip install "lmscope[maps]", or choose the map `pca`.'
        ) from None
