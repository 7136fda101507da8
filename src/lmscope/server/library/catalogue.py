"""Catalogue: what was found in all folders, put together and named."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lmscope.atlas.finding import open_labels
from lmscope.atlas.labels import LabelReader
from lmscope.atlas.sources import LabelSources
from lmscope.core.errors import LmscopeError
from lmscope.core.site import Site
from lmscope.server.library.entries import (
    AtlasEntry,
    DictionaryEntry,
    Figures,
    LabelsEntry,
    ModelEntry,
    ReportEntry,
    RunEntry,
    as_site,
)
from lmscope.server.library.names import as_id, model_id, unlike, with_digest
from lmscope.server.library.scan import (
    FoundAtlas,
    FoundDictionary,
    FoundLabels,
    FoundReport,
    RunContents,
    Trouble,
)

ATLAS_DIGITS: Final = 12
"""Of an atlas's digest, in its id."""


@dataclass(frozen=True)
class Catalogue:
    """All there is; runs oldest first, dictionaries in forward order of each model's sites.

    Attributes:
        runs: By id.
        dictionaries: By id.
        models: By id.
        troubles: What cannot be shown.
    """

    runs: Mapping[str, RunEntry] = field(default_factory=dict)
    dictionaries: Mapping[str, DictionaryEntry] = field(default_factory=dict)
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    troubles: tuple[Trouble, ...] = ()


@dataclass
class _Gathered:
    """One digest, while everything that belongs to it is put together."""

    digest: str
    name: str
    model: str | None
    weights_hash: str | None
    config: Mapping[str, Any]
    run: str | None = None
    folder: Path | None = None
    atlases: list[AtlasEntry] = field(default_factory=list)
    reports: list[ReportEntry] = field(default_factory=list)


class CatalogueMaker:
    """Puts catalogues together; how many labels several sources make is remembered between them."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Any, ...], tuple[int, int]] = {}

    def make(
        self, contents: Sequence[RunContents], packed: Sequence[tuple[Path, FoundAtlas]]
    ) -> Catalogue:
        """The catalogue of what was found.

        Args:
            contents: Runs.
            packed: Packed atlases, each with the served folder that it was found under.
        """
        ordered = sorted(contents, key=_age)
        ids = _run_ids(ordered)
        gathered = _gather(ordered, ids)
        counts: dict[tuple[Any, ...], tuple[int, int]] = {}
        for run in reversed(ordered):
            beside = [one for one in ordered if one.path.parent == run.path.parent]
            for found in run.atlases:
                labels = [
                    (ids.get(one.path), labels)
                    for one in sorted(beside, key=lambda one: one.path.name, reverse=True)
                    for labels in reversed(one.labels)
                    if labels.meta.atlas_digest == found.digest
                ]
                where = _seen_from(run.root, found.path)
                entry = self._atlas(found, where, ids.get(run.path), labels, counts)
                _add_atlas(gathered, entry)
        for root, found in packed:
            own = [] if found.own_labels is None else [(None, found.own_labels)]
            entry = self._atlas(found, _seen_from(root, found.path), None, own, counts)
            _add_atlas(gathered, entry)
        self._counts = counts
        dictionaries = _dictionaries(gathered, ordered, ids)
        runs = _runs(ordered, ids, dictionaries)
        troubles = tuple(trouble for one in ordered for trouble in one.troubles)
        return Catalogue(runs, dictionaries, _models(runs, dictionaries), troubles)

    def _atlas(
        self,
        found: FoundAtlas,
        where: str,
        run: str | None,
        labels: Sequence[tuple[str | None, FoundLabels]],
        counts: dict[tuple[Any, ...], tuple[int, int]],
    ) -> AtlasEntry:
        states = tuple((one.path, one.signature) for _, one in labels)
        if states and states not in counts:
            counts[states] = self._counts.get(states) or _count([one for _, one in labels])
        n_labels, n_known = counts.get(states, (0, 0))
        return AtlasEntry(
            id=found.digest[:ATLAS_DIGITS],
            digest=found.digest,
            path=found.path,
            where=where,
            run=run,
            meta=found.meta,
            labels=tuple(
                LabelsEntry(
                    one.meta.explainer,
                    labels_run,
                    None if one.path.is_file() else one.path,
                    one.n_labels,
                    one.n_known,
                )
                for labels_run, one in labels
            ),
            n_labels=n_labels,
            n_known=n_known,
            signature=(found.signature, states),
        )


def _count(labels: Sequence[FoundLabels]) -> tuple[int, int]:
    """Latents that some source names, and those whose label is shown."""
    if len(labels) == 1:
        return labels[0].n_labels, labels[0].n_known
    readers: list[LabelReader] = []
    try:
        readers += [open_labels(one.path) for one in labels]
        asked = frozenset[int]().union(*(reader.latents() for reader in readers))
        return len(asked), len(LabelSources(readers).known)
    except LmscopeError:  # it changed meanwhile: the next look finds that out
        return labels[0].n_labels, labels[0].n_known
    finally:
        for reader in readers:
            reader.close()


def _age(run: RunContents) -> tuple[str, str]:
    created = "" if run.record is None else run.record.created.isoformat()
    return created, str(run.path)


def _run_ids(runs: Iterable[RunContents]) -> dict[Path, str]:
    """Ids of the runs that can be read; of two with one name the later bears its root's name too."""
    ids: dict[Path, str] = {}
    for run in runs:
        if run.record is None:
            continue
        wanted = as_id(run.path.name)
        if wanted in ids.values():
            wanted = unlike(f"{as_id(run.root.resolve().name)}.{wanted}", ids.values())
        ids[run.path] = wanted
    return ids


def _gather(runs: Sequence[RunContents], ids: Mapping[Path, str]) -> dict[str, _Gathered]:
    gathered: dict[str, _Gathered] = {}
    for run in runs:
        for found in run.dictionaries:
            if found.digest not in gathered:
                gathered[found.digest] = _from_folder(found, ids.get(run.path))
    return gathered


def _from_folder(found: FoundDictionary, run: str | None) -> _Gathered:
    config = found.config
    return _Gathered(
        digest=found.digest,
        name=found.name,
        model=config.model,
        weights_hash=config.model_hash,
        config=config.to_mapping(),
        run=run,
        folder=found.folder,
    )


def _add_atlas(gathered: dict[str, _Gathered], entry: AtlasEntry) -> None:
    meta = entry.meta
    digest = meta.dictionary_digest
    if digest not in gathered:
        config = {**meta.dictionary_config, "n_latents": meta.n_latents}
        gathered[digest] = _Gathered(digest, meta.dictionary, meta.model, meta.weights_hash, config)
    mine = gathered[digest]
    mine.model = mine.model or meta.model
    mine.weights_hash = mine.weights_hash or meta.weights_hash
    # Runs come first, so a packed copy of an atlas that is here anyway adds nothing.
    if all(one.digest != entry.digest for one in mine.atlases):
        mine.atlases.append(entry)


def _dictionaries(
    gathered: Mapping[str, _Gathered], runs: Sequence[RunContents], ids: Mapping[Path, str]
) -> dict[str, DictionaryEntry]:
    _add_reports(gathered, runs, ids)
    rows = {(ids[run.path], row.name): row for run in runs if run.path in ids for row in run.suite}
    found: dict[str, DictionaryEntry] = {}
    for one in gathered.values():
        row = rows.get((one.run, one.name)) if one.run is not None else None
        figures = Figures() if row is None else row.figures
        if figures == Figures():
            fitting = (r.figures for r in one.reports if r.own or r.model == one.model)
            figures = next(fitting, Figures())
        status = "measured" if figures != Figures() else "trained"
        entry = DictionaryEntry(
            id=unlike(with_digest(one.name, one.digest), found),
            name=one.name,
            digest=one.digest,
            model=one.model,
            weights_hash=one.weights_hash,
            config=one.config,
            run=one.run,
            folder=one.folder,
            atlases=tuple(one.atlases),
            reports=tuple(one.reports),
            figures=figures,
            status=status if one.folder is not None else "atlas only",
        )
        found[entry.id] = entry
    return dict(sorted(found.items(), key=lambda item: _place(item[1])))


def _add_reports(
    gathered: Mapping[str, _Gathered], runs: Sequence[RunContents], ids: Mapping[Path, str]
) -> None:
    """Give each report to the dictionary that it measured: that of the same run, else of the run it names."""
    by_place = {one.folder.resolve(): one for one in gathered.values() if one.folder is not None}
    by_run = {
        (one.folder.resolve().parents[2].name, one.name): one
        for one in gathered.values()
        if one.folder is not None
    }
    own: list[tuple[_Gathered, ReportEntry]] = []
    others: list[tuple[_Gathered, ReportEntry]] = []
    for run in reversed(runs):
        if run.path not in ids:
            continue
        for report in run.reports:
            mine = by_place.get((run.path / "artifacts/dictionaries" / report.name).resolve())
            measured = mine or _measured(run, report, by_run)
            if measured is None or not _fits(measured, report):
                continue
            entry = ReportEntry(
                run=ids[run.path],
                folder=report.folder,
                model=str(report.subject.get("model", "")),
                figures=report.figures,
                own=mine is not None,
            )
            (own if entry.own else others).append((measured, entry))
    for measured, entry in (*own, *others):
        measured.reports.append(entry)


def _measured(
    run: RunContents, report: FoundReport, by_run: Mapping[tuple[str, str], _Gathered]
) -> _Gathered | None:
    """The dictionary that an evaluation names: by the run that trained it, or by its own folder."""
    asked = run.recipe.get("dictionary")
    if not isinstance(asked, str):
        return None
    path = Path(asked)
    inner = path.parents[2].name if len(path.parents) > 2 else ""
    return by_run.get((path.name, report.name)) or by_run.get((inner, report.name))


def _fits(measured: _Gathered, report: FoundReport) -> bool:
    config, subject = measured.config, report.subject
    return (
        subject.get("n_latents") == config.get("n_latents")
        and subject.get("reads") in config.get("reads", ())
        and subject.get("writes") in config.get("writes", ())
    )


def _place(entry: DictionaryEntry) -> tuple[Any, ...]:
    """By model, then in the order of a forward pass, then by width."""
    first = Site("embed")
    sites = (entry.write_site or first, as_site(entry.reads) or first)
    return (entry.model or "", entry.weights_hash or "", *sites, entry.n_latents, entry.name)


def _runs(
    runs: Sequence[RunContents],
    ids: Mapping[Path, str],
    dictionaries: Mapping[str, DictionaryEntry],
) -> dict[str, RunEntry]:
    by_digest = {entry.digest: entry.id for entry in dictionaries.values()}
    return {
        ids[run.path]: RunEntry(
            id=ids[run.path],
            path=run.path,
            root=run.root,
            record=run.record,
            recipe=run.recipe,
            suite=run.suite,
            dictionaries=tuple(by_digest[found.digest] for found in run.dictionaries),
            written=run.written,
        )
        for run in runs
        if run.record is not None and run.path in ids
    }


def _models(
    runs: Mapping[str, RunEntry], dictionaries: Mapping[str, DictionaryEntry]
) -> dict[str, ModelEntry]:
    mine: dict[tuple[str, str | None], list[str]] = {}
    for entry in dictionaries.values():
        if entry.model is not None:
            mine.setdefault((entry.model, entry.weights_hash), []).append(entry.id)
    studied: dict[tuple[str, str | None], list[str]] = {}
    for run in runs.values():
        for name, weights_hash in run.record.weights.items():
            studied.setdefault((name, weights_hash), []).append(run.id)
    models: dict[str, ModelEntry] = {}
    for name, weights_hash in sorted({*mine, *studied}, key=str):
        key = (name, weights_hash)
        entry = ModelEntry(
            id=unlike(model_id(name, weights_hash), models),
            name=name,
            weights_hash=weights_hash,
            dictionaries=tuple(mine.get(key, ())),
            runs=tuple(studied.get(key, ())),
        )
        models[entry.id] = entry
    return models


def _seen_from(root: Path, path: Path) -> str:
    """A path as seen from the served folder that it lies under, that folder's name first."""
    name = root.resolve().name
    return name if path == root else str(Path(name) / path.relative_to(root))
