"""Whether an atlas and what belongs to it are whole, as findings for `lmscope doctor`."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.database import open_for_reading, reported
from lmscope.atlas.finding import ATLASES, atlas_names, locate
from lmscope.atlas.labels import LABELS_FORMAT, LABELS_KIND
from lmscope.atlas.store import ATLAS_FORMAT, ATLAS_KIND
from lmscope.core.errors import ArtifactError, LmscopeError
from lmscope.runs.artifact import read_manifest

_RECORDS_READ: Final = 1000
_ANEW: Final = "copy it again, or build it anew"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        broken: Whether it has to be mended.
        found: What is there, or what is wrong.
        advice: What to do; empty where nothing is, or where `found` says it.
    """

    name: str
    broken: bool
    found: str
    advice: str = ""


def check_atlases(path: Path | str) -> Iterator[Finding]:
    """Look at every byte of the atlases of a run, of one atlas, or of a packed one, and of what belongs to them.

    Hashes of atlas, corpus and labels; SQLite's own check; records that can be read; vectors that are
    numbers; and that corpus and labels are those of the atlas.

    Raises:
        ArtifactError: There is no atlas at the path.
    """
    path = Path(path)
    names = atlas_names(path) if path.is_dir() else []
    for place in [path / ATLASES / name for name in names] or [locate(path).path]:
        yield from _check_atlas(place)
    notes = locate(path, names[0] if names else None).notes
    if notes is not None and notes.exists():
        yield _database("notes", notes)


def _check_atlas(path: Path) -> Iterator[Finding]:
    what = f"atlas {path.name}"
    try:
        if path.is_dir():
            read_manifest(path, ATLAS_KIND, (ATLAS_FORMAT,), verify=True)
        with Atlas.open(path, labels=None) as atlas:
            yield Finding(what, False, f"{len(atlas)} latents, {atlas.digest[:12]}")
            yield _database(f"{what}: census", atlas.census.place)
            yield _records(f"{what}: records", atlas)
            yield _vectors(f"{what}: vectors", atlas)
            yield _corpus(f"{what}: corpus", atlas)
            yield from _labels(f"{what}: labels", atlas)
    except LmscopeError as error:
        yield Finding(what, True, str(error))


def _database(name: str, path: Path) -> Finding:
    try:
        with closing(open_for_reading(path)) as connection, reported(path):
            rows = connection.execute("PRAGMA integrity_check(3)").fetchall()
    except ArtifactError as error:
        return Finding(name, True, str(error))
    except sqlite3.IntegrityError as error:
        return Finding(name, True, f"'{path}' is damaged ({error})", _ANEW)
    problems = ", ".join(row[0] for row in rows)
    if problems != "ok":
        return Finding(name, True, f"'{path}' is damaged ({problems})", _ANEW)
    return Finding(name, False, "SQLite finds it whole")


def _records(name: str, atlas: Atlas) -> Finding:
    (n_rows,) = atlas.sql("SELECT count(*) FROM latent").rows[0]
    if n_rows != len(atlas):
        return Finding(name, True, f"{n_rows} records of {len(atlas)} latents", _ANEW)
    chosen = np.unique(np.linspace(0, len(atlas) - 1, _RECORDS_READ).astype(int)).tolist()
    try:
        for record in atlas.records(chosen):
            for group in record.groups:
                for example in group.examples[:1]:
                    atlas.corpus.tokens(example.start, example.length)
    except LmscopeError as error:
        return Finding(name, True, str(error))
    return Finding(name, False, f"{n_rows}, of which {len(chosen)} were read with their text")


def _vectors(name: str, atlas: Atlas) -> Finding:
    try:
        vectors = atlas.vectors
    except LmscopeError as error:
        return Finding(name, True, str(error))
    if vectors is None:
        return Finding(name, False, "none: search by vector is not possible")
    if len(vectors) != len(atlas) or not np.isfinite(vectors).all():
        return Finding(
            name, True, f"{len(vectors)} rows of {len(atlas)} latents, or no numbers", _ANEW
        )
    return Finding(name, False, f"{vectors.shape[0]} of width {vectors.shape[1]}")


def _corpus(name: str, atlas: Atlas) -> Finding:
    corpus = atlas.corpus
    if not isinstance(corpus, FrozenCorpus):
        return Finding(name, False, "packed with the atlas")
    try:
        FrozenCorpus.load(corpus.path, verify=True)
    except LmscopeError as error:
        return Finding(name, True, str(error))
    if corpus.n_contexts != atlas.meta.n_contexts:
        return Finding(
            name,
            True,
            f"{corpus.n_contexts} contexts, the atlas says {atlas.meta.n_contexts}",
            _ANEW,
        )
    return Finding(name, False, f"{corpus.n_contexts} contexts, {corpus.digest[:12]}")


def _labels(name: str, atlas: Atlas) -> Iterator[Finding]:
    for problem in atlas.problems:
        yield Finding(name, True, problem)
    for reader in atlas.labels:
        try:
            if reader.path != atlas.path:
                read_manifest(reader.path.parent, LABELS_KIND, (LABELS_FORMAT,), verify=True)
        except LmscopeError as error:
            yield Finding(name, True, str(error))
            continue
        found = _database(name, reader.path)
        if not found.broken:
            known = len(reader.known())
            found = Finding(name, False, f"{len(reader)} by {reader.meta.explainer}, {known} known")
        yield found
