"""Dictionaries by layer, position and width: those of a suite, or all of a model."""

from lmscope.server.library.entries import ModelEntry, RunEntry, SuiteEntry, as_site
from lmscope.server.library.library import Library
from lmscope.server.library.names import as_id
from lmscope.server.schemas.common import Problem
from lmscope.server.schemas.home import DictionaryLine, Grid
from lmscope.server.views.lines import dictionary_line


def suite_grid(library: Library, run: RunEntry) -> Grid:
    """The dictionaries of a run: those that are there, and those that are still to come or failed."""
    entries = {one: library.catalogue.dictionaries.get(one) for one in run.dictionaries}
    trained = [dictionary_line(entry) for entry in entries.values() if entry is not None]
    names = {line.name for line in trained}
    missing = [row for row in run.suite if row.name not in names]
    problems = [
        Problem(where=row.name, message=row.problem) for row in run.suite if row.problem is not None
    ]
    return Grid(
        id=run.id,
        title=run.record.name,
        kind="suite",
        status=run.status,
        dictionaries=[*trained, *(_missing_line(run, row) for row in missing)],
        problems=problems,
    )


def model_grid(library: Library, model: ModelEntry) -> Grid:
    """All dictionaries of a model."""
    found = library.catalogue.dictionaries
    return Grid(
        id=model.id,
        title=model.name,
        kind="model",
        dictionaries=[dictionary_line(found[one]) for one in model.dictionaries if one in found],
        problems=[],
    )


def _missing_line(run: RunEntry, row: SuiteEntry) -> DictionaryLine:
    """A dictionary of which there is no folder: it waits, it failed, or it was removed since."""
    site, expected = as_site(row.writes), ("waiting", "failed")
    return DictionaryLine(
        id=as_id(f"{row.name}.{row.status}"),
        name=row.name,
        model=next(iter(run.record.weights), None),
        reads=row.reads,
        writes=row.writes,
        layer=None if site is None else site.layer,
        part="" if site is None else site.part,
        n_latents=row.n_latents,
        expansion=None,
        sparsity="",
        run=run.id,
        status=row.status if row.status in expected else "removed",
        l0=row.figures.l0,
        explained_variance_centred=row.figures.explained_variance_centred,
        ce_recovered_zero=row.figures.ce_recovered_zero,
        dead_fraction=row.figures.dead_fraction,
    )
