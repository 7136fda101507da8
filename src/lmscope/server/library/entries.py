"""What a library lists: runs, dictionaries, their atlases and health reports, as plain values."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmscope.atlas.config import AtlasMeta
from lmscope.core.errors import SiteError
from lmscope.core.site import Site
from lmscope.runs.lock import is_locked
from lmscope.runs.record import RunRecord, Status, read_record

Signature = tuple[Any, ...]
"""Of files: changes when they do."""


@dataclass(frozen=True)
class Figures:
    """How good a dictionary is, in four numbers; None where one was not measured."""

    l0: float | None = None
    explained_variance_centred: float | None = None
    ce_recovered_zero: float | None = None
    dead_fraction: float | None = None


@dataclass(frozen=True)
class SuiteEntry:
    """What a suite says of one of its dictionaries.

    Attributes:
        name: Of the dictionary.
        reads: The site that is read.
        writes: The site that is written.
        n_latents: Latents.
        status: `waiting`, `trained`, `measured` or `failed`.
        figures: As far as they are measured.
        problem: Why it failed, or what was not measured.
    """

    name: str
    reads: str
    writes: str
    n_latents: int
    status: str
    figures: Figures
    problem: str | None = None


@dataclass(frozen=True)
class RunEntry:
    """A run.

    Attributes:
        id: Stands in addresses.
        path: Its folder.
        root: The served folder that it was found under.
        record: What run.json says.
        recipe: What was asked, as plain values.
        suite: Rows of its table of dictionaries; none where it trained one only.
        dictionaries: Ids of the dictionaries that it trained and that lie there.
        written: When run.json was written last, in seconds since 1970.
    """

    id: str
    path: Path
    root: Path
    record: RunRecord
    recipe: Mapping[str, Any]
    suite: tuple[SuiteEntry, ...]
    dictionaries: tuple[str, ...]
    written: float

    @property
    def status(self) -> Status:
        """Where it stands now; a run whose process was killed counts as interrupted."""
        if self.record.status != "running" or is_locked(self.path):
            return self.record.status
        # It may have ended since it was listed: then it was not killed.
        found = read_record(self.path).status
        return "interrupted" if found == "running" else found

    @property
    def elapsed_s(self) -> float:
        """Seconds that it ran, or runs by now."""
        if self.status != "running":
            return self.record.elapsed_s
        return self.record.elapsed_s + max(0.0, time.time() - self.written)


@dataclass(frozen=True)
class LabelsEntry:
    """Labels of an atlas.

    Attributes:
        explainer: What made them.
        run: Id of the explain run; None for those within a packed atlas.
        folder: Where they lie; None likewise.
        n_labels: Latents for which the explainer was asked.
        n_known: Latents whose label is shown.
    """

    explainer: str
    run: str | None
    folder: Path | None
    n_labels: int
    n_known: int


@dataclass(frozen=True)
class AtlasEntry:
    """An atlas of a dictionary.

    Attributes:
        id: The beginning of its digest.
        digest: Its content digest.
        path: Its folder or packed file.
        where: The same, as seen from the served folder.
        run: Id of the run that it is an artifact of; None for a packed one.
        meta: What it says of itself.
        labels: Newest first.
        n_labels: Latents for which some explainer was asked.
        n_known: Latents whose label is shown.
        signature: Changes when its files or its labels do.
    """

    id: str
    digest: str
    path: Path
    where: str
    run: str | None
    meta: AtlasMeta
    labels: tuple[LabelsEntry, ...]
    n_labels: int
    n_known: int
    signature: Signature

    @property
    def is_packed(self) -> bool:
        """Whether it is one file."""
        return self.run is None


@dataclass(frozen=True)
class ReportEntry:
    """A health report of a dictionary.

    Attributes:
        run: Id of the run that measured it.
        folder: Where `report.json` lies.
        model: On whose activations it was measured.
        figures: Its headline.
        own: Whether the run is the one that trained the dictionary.
    """

    run: str
    folder: Path
    model: str
    figures: Figures
    own: bool


@dataclass(frozen=True)
class DictionaryEntry:
    """A dictionary: one content digest, wherever it was found.

    Attributes:
        id: Stands in addresses.
        name: Its name.
        digest: Content digest of its folder.
        model: Name of the model whose activations it was trained on.
        weights_hash: Hash of that model's weights.
        config: `DictionaryConfig` as plain values; imported atlases may know only a part.
        run: Id of the run that trained it; None where that is not here.
        folder: Where its weights lie; None where they are not here.
        atlases: Newest first.
        reports: Health reports: that of its own training first, then the newest.
        figures: How good it is, as its own training measured it, else the newest report on its model.
        status: `trained`, `measured`, or `atlas only` where its weights are not here.
    """

    id: str
    name: str
    digest: str
    model: str | None
    weights_hash: str | None
    config: Mapping[str, Any]
    run: str | None
    folder: Path | None
    atlases: tuple[AtlasEntry, ...]
    reports: tuple[ReportEntry, ...]
    figures: Figures
    status: str

    @property
    def reads(self) -> str:
        """The site that is read; empty where that is not known."""
        return _first(self.config.get("reads"))

    @property
    def writes(self) -> str:
        """The site that is written; empty where that is not known."""
        return _first(self.config.get("writes")) or self.reads

    @property
    def write_site(self) -> Site | None:
        """The site that is written; None where it is not known."""
        return as_site(self.writes)

    @property
    def n_latents(self) -> int:
        """Latents."""
        return int(self.config["n_latents"])

    @property
    def d_read(self) -> int | None:
        """Coordinates that are read; None where that is not known."""
        return self.config.get("d_read")

    @property
    def d_write(self) -> int | None:
        """Coordinates that are written; None where that is not known."""
        return self.config.get("d_write")

    @property
    def sparsity(self) -> str:
        """`topk`, `batchtopk`, `jumprelu` or `relu`; empty where that is not known."""
        found = self.config.get("sparsity")
        return str(found.get("kind", "")) if isinstance(found, Mapping) else ""


@dataclass(frozen=True)
class ModelEntry:
    """A model that was studied.

    Attributes:
        id: Stands in addresses.
        name: Its name.
        weights_hash: Hash of its weights; None where no run wrote it down.
        dictionaries: Ids of its dictionaries.
        runs: Ids of the runs that studied it.
    """

    id: str
    name: str
    weights_hash: str | None
    dictionaries: tuple[str, ...]
    runs: tuple[str, ...]


def as_site(text: str) -> Site | None:
    """The site of a name; None where it is none that this version knows."""
    try:
        return Site.parse(text) if text else None
    except SiteError:
        return None


def _first(sites: Any) -> str:
    return str(sites[0]) if isinstance(sites, list | tuple) and sites else ""
