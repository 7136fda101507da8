"""An atlas back from an export: from Parquet exactly, from Neuronpedia's files to four decimals."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.exchange.content import Entry
from lmscope.atlas.exchange.described import Described
from lmscope.atlas.exchange.neuronpedia_reading import (
    find_neuronpedia,
    read_neuronpedia,
    read_neuronpedia_meta,
)
from lmscope.atlas.exchange.parquet import read_parquet, read_parquet_meta
from lmscope.atlas.explain.protocols import Label, Score
from lmscope.atlas.labels import LABELS_FILE, LABELS_FORMAT, LABELS_KIND, LabelsMeta, LabelWriter
from lmscope.atlas.store import (
    ATLAS_FORMAT,
    ATLAS_KIND,
    CENSUS_FILE,
    VECTORS_FILE,
    CensusWriter,
    write_vectors,
)
from lmscope.core.errors import ArtifactError
from lmscope.core.files import atomic_folder
from lmscope.core.protocols import Listener
from lmscope.runs.artifact import read_manifest, write_artifact

_BLOCK: Final = 256


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
        path: The folder of the atlas.
        format: `parquet` or `neuronpedia`.
        meta: What the atlas says of itself.
        n_labels: Labels that came along.
        has_vectors: Whether decoder rows came along.
        has_corpus: Whether the corpus lies beside it now.
    """

    path: Path
    format: str
    meta: AtlasMeta
    n_labels: int
    has_vectors: bool
    has_corpus: bool


def import_atlas(
    source: Path, target: Path, listener: Listener, *, corpus: Path | None = None
) -> Imported:
    """Make an atlas of an export.

    Args:
        source: A Parquet file, or the folder of a Neuronpedia export; lmscope wrote it.
        target: The folder to make; `Atlas.open` takes it.
        listener: Hears of progress, in latents.
        corpus: The frozen corpus of the atlas, or a run that has it, to be copied beside the atlas.

    Raises:
        ArtifactError: The source is missing, damaged, or holds only some latents; the corpus is another
            one; something is at `target`, or the disk is full.
    """
    if target.exists():
        raise ArtifactError(f"'{target}' exists already: remove it or choose another name.")
    if not source.exists():
        raise ArtifactError(f"There is nothing at '{source}' to import: check the path.")
    if source.is_dir():
        place = find_neuronpedia(source)
        kind, described, rows = "neuronpedia", read_neuronpedia_meta(place), read_neuronpedia(place)
    else:
        kind, described, rows = "parquet", read_parquet_meta(source), read_parquet(source)
    text = None if corpus is None else _corpus(corpus, described.meta.corpus_digest)
    name = described.meta.dictionary
    with atomic_folder(target) as temporary:
        artifacts = temporary / "artifacts"
        work = _Import(source, described, artifacts / "atlas" / name, listener)
        work.read(rows, temporary / "census.part")
        n_labels = work.write_labels(artifacts / "labels" / name, temporary / "labels.part")
        if text is not None:
            shutil.copytree(text.path, artifacts / "corpus" / text.digest)
    path = target / "artifacts" / "atlas" / name
    return Imported(path, kind, described.meta, n_labels, work.has_vectors, text is not None)


class _Import:
    """One import at work: records and vectors as they come, labels when all are there."""

    def __init__(self, source: Path, described: Described, place: Path, listener: Listener) -> None:
        self._source, self._place, self._listener = source, place, listener
        self._meta, self._labels_meta = described
        self._labels: list[tuple[Label, tuple[Score, ...]]] = []
        self._vectors: np.ndarray | None = None
        self._n_vectors = 0

    @property
    def has_vectors(self) -> bool:
        return self._vectors is not None

    def read(self, rows: Iterator[tuple[Entry, np.ndarray | None]], working: Path) -> None:
        """Write the atlas."""
        n = self._meta.n_latents
        with CensusWriter(working, self._meta) as writer:
            while block := list(islice(rows, _BLOCK)):
                writer.append([entry.record for entry, _ in block])
                for entry, vector in block:
                    self._take(entry, vector)
                self._listener.on_progress("import", block[-1][0].record.latent + 1, n, {})
            self._check_whole(writer.n_written)
            with write_artifact(self._place, ATLAS_KIND, ATLAS_FORMAT) as folder:
                writer.seal(folder / CENSUS_FILE)
                if self._vectors is not None:
                    write_vectors(folder / VECTORS_FILE, self._vectors)
            writer.remove()

    def write_labels(self, place: Path, working: Path) -> int:
        """Write the labels, if some came along; their number."""
        if self._labels_meta is None or not self._labels:
            return 0
        digest = read_manifest(self._place, ATLAS_KIND, (ATLAS_FORMAT,)).content_digest
        values = self._labels_meta.to_mapping() | {"atlas_digest": digest}
        with LabelWriter(working, LabelsMeta.from_mapping(values)) as writer:
            writer.append(self._labels)
            with write_artifact(place, LABELS_KIND, LABELS_FORMAT) as folder:
                writer.seal(folder / LABELS_FILE)
            writer.remove()
        return len(self._labels)

    def _take(self, entry: Entry, vector: np.ndarray | None) -> None:
        if entry.label is not None:
            self._labels.append((entry.label, entry.scores))
        if vector is None:
            return
        if self._vectors is None:
            self._vectors = np.zeros((self._meta.n_latents, len(vector)), dtype=np.float32)
        self._vectors[entry.record.latent] = vector
        self._n_vectors += 1

    def _check_whole(self, n_records: int) -> None:
        n = self._meta.n_latents
        if n_records != n:
            raise ArtifactError(
                f"'{self._source}' holds {n_records} of {n} latents: only a whole atlas can be imported, so "
                "export it without --latents and --known."
            )
        if self._n_vectors not in (0, n):
            raise ArtifactError(
                f"'{self._source}' holds the decoder rows of {self._n_vectors} of {n} latents: export the "
                "atlas again."
            )


def _corpus(path: Path, digest: str) -> FrozenCorpus:
    """The corpus of that digest, at a path or in the run that lies there."""
    within = path / "artifacts" / "corpus" / digest
    corpus = FrozenCorpus.load(within if within.is_dir() else path)
    if corpus.digest != digest:
        raise ArtifactError(
            f"'{path}' is corpus {corpus.digest[:12]}, the atlas was made from {digest[:12]}: give that one."
        )
    return corpus
