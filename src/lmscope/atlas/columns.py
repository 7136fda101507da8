"""LatentColumns: the figures of all latents as arrays, so that long lists are ordered and filtered at once."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Int32, Num

from lmscope.atlas.database import reported
from lmscope.core.errors import RecipeError, did_you_mean

ORDERS: Final = (
    "latent",
    "n_fired",
    "density",
    "mean",
    "max",
    "n_documents",
    "document_share",
    "detection",
)
"""What lists are sorted by; `-` in front turns it round."""

_COLUMNS: Final[Mapping[str, type]] = {
    "n_fired": np.int64,
    "density": np.float64,
    "mean": np.float64,
    "max": np.float64,
    "n_documents": np.int64,
    "document_share": np.float64,
    "dead": np.bool_,
    "dense": np.bool_,
}


@dataclass(frozen=True)
class Figures:
    """What the figures of a latent must be; None: whatever they are.

    Attributes:
        min_density: Least share of positions on which it fires.
        max_density: Largest share.
        known: Whether it has a label that is shown.
        dead: Whether it never fires.
        dense: Whether it is flagged as dense.
    """

    min_density: float | None = None
    max_density: float | None = None
    known: bool | None = None
    dead: bool | None = None
    dense: bool | None = None


@dataclass(frozen=True, eq=False)
class LatentColumns:
    """One number a latent in each column, by the latent's number; 50 bytes a latent.

    Attributes:
        values: By name: those of `ORDERS` but `latent`, and `dead`, `dense` and `known`.
    """

    values: Mapping[str, Num[np.ndarray, "latent"] | Bool[np.ndarray, "latent"]]
    _orders: dict[str, Int32[np.ndarray, "latent"]] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        connection: sqlite3.Connection,
        path: Path,
        known: Iterable[int],
        detections: Mapping[int, float],
    ) -> "LatentColumns":
        """The columns of a census with those of its labels.

        Args:
            connection: The census, with a row for every latent.
            path: For messages.
            known: Latents whose labels are shown.
            detections: Detection scores by latent.

        Raises:
            ArtifactError: The census is damaged.
        """
        with reported(path):
            query = f"SELECT {', '.join(_COLUMNS)} FROM latent ORDER BY id"
            rows = connection.execute(query).fetchall()
        found: dict[str, Any] = {
            name: np.fromiter((row[i] for row in rows), kind, len(rows))
            for i, (name, kind) in enumerate(_COLUMNS.items())
        }
        found["known"] = np.zeros(len(rows), dtype=np.bool_)
        found["known"][np.fromiter(known, np.int64)] = True
        found["detection"] = np.full(len(rows), np.nan)
        found["detection"][np.fromiter(detections.keys(), np.int64)] = np.fromiter(
            detections.values(), np.float64
        )
        return cls(found)

    def __len__(self) -> int:
        return len(self.values["dead"])

    def fitting(self, figures: Figures) -> Bool[np.ndarray, "latent"]:
        """Whether each latent is as asked."""
        fits = np.ones(len(self), dtype=np.bool_)
        if figures.min_density is not None:
            fits &= self.values["density"] >= figures.min_density
        if figures.max_density is not None:
            fits &= self.values["density"] <= figures.max_density
        for name in ("known", "dead", "dense"):
            wanted = getattr(figures, name)
            if wanted is not None:
                fits &= self.values[name] == wanted
        return fits

    def ordered(self, order: str) -> Int32[np.ndarray, "latent"]:
        """All latents in an order; those without the number come last, ties go by latent.

        Args:
            order: One of `ORDERS`, with `-` in front from the largest down.

        Raises:
            RecipeError: The order is not known.
        """
        if order not in self._orders:
            self._orders[order] = self._sorted(order)
        return self._orders[order]

    def _sorted(self, order: str) -> Int32[np.ndarray, "latent"]:
        name = order.removeprefix("-")
        if name not in ORDERS:
            raise RecipeError(f"Latents have no order '{name}'.{did_you_mean(name, ORDERS)}")
        column = np.arange(len(self)) if name == "latent" else self.values[name]
        # Not a number comes last in both directions, and equal ones keep their order.
        found = np.argsort(-column if order.startswith("-") else column, kind="stable")
        return found.astype(np.int32)
