"""FeatureList: what a query of an atlas gives, one line a latent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmscope.display.tables import Table


@dataclass(frozen=True)
class Summary:
    """One latent in a line.

    Attributes:
        latent: Its number.
        label: What it means; `not known` where the score is too low, empty where nobody was asked.
        detection: The label's detection score; None without one.
        n_fired: Positions on which it fires.
        density: Their share.
        mean: Mean activation where it fires.
        max: Largest activation.
        n_documents: Documents in which it fires.
        document_share: Share of its firings that lie in one document.
        peak: Text of the token at which it peaks most often; None for a dead latent.
        dead: Whether it never fires.
        dense: Whether it fires on so many tokens that it is flagged.
    """

    latent: int
    label: str
    detection: float | None
    n_fired: int
    density: float
    mean: float
    max: float
    n_documents: int
    document_share: float
    peak: str | None
    dead: bool
    dense: bool


@dataclass(frozen=True)
class FeatureList:
    """Latents in the order of a query.

    Attributes:
        rows: One a latent.
        value_name: What `values` are, e.g. `cosine`; None where the query has none.
        values: One a row.
    """

    rows: tuple[Summary, ...]
    value_name: str | None = None
    values: tuple[float | int, ...] = ()

    def __iter__(self) -> Iterator[Summary]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Summary:
        return self.rows[i]

    @property
    def latents(self) -> tuple[int, ...]:
        """Their numbers."""
        return tuple(row.latent for row in self.rows)

    def table(self) -> Table:
        """As a table for people."""
        columns = ("latent", "label", "detection", "density", "max", "documents", "peaks at")
        rows = [
            (one.latent, one.label, one.detection, one.density, one.max, one.n_documents, one.peak)
            for one in self.rows
        ]
        if self.value_name is None:
            return Table(columns, tuple(rows))
        valued = [(row[0], value, *row[1:]) for row, value in zip(rows, self.values, strict=True)]
        return Table((columns[0], self.value_name, *columns[1:]), tuple(valued))

    def to_mappings(self) -> list[dict[str, Any]]:
        """As plain values for JSON."""
        found = [dict(vars(row)) for row in self.rows]
        if self.value_name is not None:
            for row, value in zip(found, self.values, strict=True):
                row[self.value_name] = value
        return found

    def __repr__(self) -> str:
        return f"FeatureList({len(self.rows)} latents)"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
