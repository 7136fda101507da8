"""The page of a dictionary: how it was trained, how good it is, and what it can be compared with."""

import shlex
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

import numpy as np

from lmscope.atlas.atlas import Atlas
from lmscope.core.errors import ArtifactError, LmscopeError
from lmscope.server.library.entries import AtlasEntry, DictionaryEntry
from lmscope.server.library.library import Library
from lmscope.server.schemas.common import Histogram, Line, Problem, Provenance, Snippet
from lmscope.server.schemas.dictionary import AtlasLine, DictionaryPage, Evaluation
from lmscope.server.views.curves import lines
from lmscope.server.views.feature import density_histogram
from lmscope.server.views.health import evaluation
from lmscope.server.views.lines import dictionary_line

_POINTS: Final = 400
"""Of each training curve."""
_NORM_BINS: Final = 40
_FEW_BINS: Final = 5
_ROUNDING: Final = 2e-3
"""Relative difference of norms that float16 alone may make."""
_MOST_OTHERS: Final = 300
_ROWS_AT_ONCE: Final = 8192
_REMEMBERED: Final = 512
_OTHER_PART: Final = 0.5
"""How far another part of the same layer is, in layers."""


class Distributions(NamedTuple):
    """How the latents of an atlas are spread.

    Attributes:
        norms: Norms of the decoder rows; None where the atlas has no vectors.
        density: log10 of the densities of those that fire.
        n_dead: Latents that never fire.
        n_dense: Latents that fire on more of the text than the atlas's options say.
    """

    norms: Histogram | None
    density: Histogram | None
    n_dead: int
    n_dense: int


class DictionaryPages:
    """Makes pages of dictionaries; remembers what takes long, by the digest of the atlas."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, Distributions] = OrderedDict()

    def page(self, library: Library, entry: DictionaryEntry) -> DictionaryPage:
        """The page of a dictionary; a part that is damaged is left out, and `problems` says so."""
        problems: list[Problem] = []
        distributions = self._distributions(library, entry, problems)
        curves = _curves(library, entry)
        return DictionaryPage(
            line=dictionary_line(entry),
            digest=entry.digest,
            d_read=entry.d_read,
            d_write=entry.d_write,
            config=dict(entry.config),
            atlases=[atlas_line(one) for one in entry.atlases],
            evaluations=_evaluations(library, entry, problems),
            curves=curves,
            norms=None if distributions is None else distributions.norms,
            density=None if distributions is None else distributions.density,
            n_dead=None if distributions is None else distributions.n_dead,
            n_dense=None if distributions is None else distributions.n_dense,
            others=[dictionary_line(one) for one in comparable(library, entry)],
            problems=problems,
            provenance=_provenance(library, entry),
        )

    def _distributions(
        self, library: Library, entry: DictionaryEntry, problems: list[Problem]
    ) -> Distributions | None:
        if not entry.atlases:
            return None
        atlas = entry.atlases[0]
        with self._lock:
            known = self._known.get(atlas.digest)
        if known is not None:
            return known
        try:
            with library.atlas(entry.id, atlas.digest) as opened:
                found = _distributions(opened)
        except LmscopeError as error:  # damaged, or being replaced on the disk
            problems.append(Problem(where=atlas.where, message=str(error)))
            return None
        with self._lock:
            self._known[atlas.digest] = found
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found


def atlas_line(entry: AtlasEntry) -> AtlasLine:
    """An atlas in a line."""
    options = entry.meta.options
    return AtlasLine(
        id=entry.id,
        run=entry.run,
        where=entry.where,
        model=entry.meta.model,
        n_tokens=entry.meta.n_counted,
        n_examples_kept=options.n_top + options.n_intervals * options.n_each,
        n_labels_known=entry.n_known,
        n_labels=entry.n_labels,
        explainers=list(dict.fromkeys(one.explainer for one in entry.labels)),
    )


def comparable(library: Library, entry: DictionaryEntry) -> list[DictionaryEntry]:
    """Dictionaries of the same model that write as wide a stream, those of the nearest sites first."""
    found = [
        one
        for one in library.dictionaries()
        if one.id != entry.id
        and (one.model, one.weights_hash) == (entry.model, entry.weights_hash)
        and one.d_write == entry.d_write
        and one.d_write is not None
    ]
    return sorted(found, key=lambda one: _distance(one, entry))[:_MOST_OTHERS]


def _distance(one: DictionaryEntry, other: DictionaryEntry) -> tuple[float, bool, int]:
    a, b = one.write_site, other.write_site
    if a is None or b is None or a.layer is None or b.layer is None:
        apart = 0.0 if one.writes == other.writes else float("inf")
    else:
        apart = abs(a.layer - b.layer) + _OTHER_PART * (a.part != b.part)
    return apart, one.reads != other.reads, abs(one.n_latents - other.n_latents)


def _distributions(atlas: Atlas) -> Distributions:
    densities = atlas.densities
    alive = int(np.searchsorted(densities, 0.0, side="right"))
    dense = np.searchsorted(densities, atlas.meta.options.dense_above, side="right")
    return Distributions(norms(atlas), density_histogram(atlas), alive, len(densities) - int(dense))


def norms(atlas: Atlas) -> Histogram | None:
    """Norms of the decoder rows of an atlas; None where it came without them."""
    kept = "vectors" in vars(atlas)
    rows = atlas.vectors
    if rows is None:
        return None
    found = np.concatenate(
        [
            np.linalg.norm(rows[first : first + _ROWS_AT_ONCE].astype(np.float32), axis=1)
            for first in range(0, len(rows), _ROWS_AT_ONCE)
        ]
    )
    if not kept:
        del atlas.vectors  # hundreds of megabytes, which nobody may ask for again
    low, high = float(found.min()), float(found.max())
    bins = _NORM_BINS
    # Rows that are held at norm 1 differ by rounding only: they belong in one bin, the middle one.
    if high - low <= _ROUNDING * max(high, _ROUNDING):
        middle = (low + high) / 2
        low, high, bins = middle * 0.95, middle * 1.05 or 1.0, _FEW_BINS
    counts, edges = np.histogram(found, bins=bins, range=(low, high))
    return Histogram(edges=edges.tolist(), counts=counts.tolist())


def _evaluations(
    library: Library, entry: DictionaryEntry, problems: list[Problem]
) -> list[Evaluation]:
    found: list[Evaluation] = []
    runs = library.catalogue.runs
    for report in entry.reports:
        try:
            found.append(evaluation(entry, report, runs))
        except ArtifactError as error:
            problems.append(Problem(where=library.where(report.folder), message=str(error)))
    return found


def _curves(library: Library, entry: DictionaryEntry) -> list[Line]:
    run = library.catalogue.runs.get(entry.run) if entry.run is not None else None
    if run is None:
        return []
    metrics, _ = library.journals.of(run.path)
    prefix = f"{entry.name}/"
    names = [name for name in metrics.names if name.startswith(prefix)]
    return lines(metrics, names, _POINTS, prefix=prefix) if names else []


def _provenance(library: Library, entry: DictionaryEntry) -> Provenance:
    facts = [("dictionary digest", entry.digest)]
    facts += [("model", entry.model)] if entry.model else []
    facts += [("weights of the model", entry.weights_hash)] if entry.weights_hash else []
    facts += [("reads", entry.reads), ("writes", entry.writes)]
    run = library.catalogue.runs.get(entry.run) if entry.run is not None else None
    if run is not None:
        machine = run.record.machine
        facts += [
            ("trained by run", run.id),
            ("recipe digest", run.record.recipe_digest),
            ("seed", str(run.recipe.get("seed", 0))),
            ("text", _text(run.recipe)),
            ("machine", f"{machine.kind}, {machine.n_threads} threads"),
            *((name, version) for name, version in machine.versions.items()),
        ]
        facts += [("commit", machine.git_commit)] if machine.git_commit else []
    if entry.folder is not None:
        facts.append(("folder", str(entry.folder.resolve())))
    facts += [(f"atlas {one.id}", one.where) for one in entry.atlases]
    return Provenance(facts=facts, snippets=_snippets(entry))


def _text(recipe: Any) -> str:
    text = recipe.get("text") or {}
    length = text.get("context_length")
    return f"{text.get('source', 'unknown')}" + (f", contexts of {length} tokens" if length else "")


def _snippets(entry: DictionaryEntry) -> list[Snippet]:
    found: list[Snippet] = []
    if entry.reports:
        folder = str(entry.reports[0].folder.resolve())
        found.append(
            Snippet(
                title="The evaluation table",
                language="python",
                text=(
                    "from lmscope.jobs.reports import read_health\n\n"
                    f"report = read_health({folder!r})\n"
                    "print(report.headline())\nprint(*report.table().rows, sep='\\n')\n"
                ),
            )
        )
    if entry.folder is not None:
        folder = entry.folder.resolve()
        found += [
            Snippet(
                title="The dictionary itself",
                language="python",
                text=f"from lmscope import Dictionary\n\nDictionary.load({str(folder)!r})\n",
            ),
            Snippet(
                title="Measure it again",
                language="shell",
                text=f"lmscope evaluate {shlex.quote(str(_target(entry, folder)))}",
            ),
        ]
    if entry.atlases:
        path = str(entry.atlases[0].path.resolve())
        found.append(
            Snippet(
                title="Its features, those with the best labels first",
                language="python",
                text=(
                    "from lmscope import Atlas\n\n"
                    f"with Atlas.open({path!r}) as atlas:\n"
                    "    print(atlas.filter(order='-detection', limit=20).to_mappings())\n"
                ),
            )
        )
    return found


def _target(entry: DictionaryEntry, folder: Path) -> Path:
    """The run, from which an evaluation takes text and amounts; the folder alone says less."""
    return folder.parents[2] if entry.run is not None else folder
