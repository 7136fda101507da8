"""Where an atlas lies, and what belongs to it: its corpus, its labels, people's notes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.labels import LABELS_FILE, LABELS_FORMAT, LABELS_KIND, LabelReader
from lmscope.atlas.notes import NOTES_FILE
from lmscope.atlas.store import CENSUS_FILE
from lmscope.core.errors import ArtifactError, LmscopeError, did_you_mean
from lmscope.runs.artifact import MANIFEST_FILE, read_manifest
from lmscope.runs.record import RECORD_FILE

ATLASES: Final = Path("artifacts") / "atlas"
CORPORA: Final = Path("artifacts") / "corpus"
LABELS: Final = Path("artifacts") / "labels"


class Place(NamedTuple):
    """Where an atlas lies.

    Attributes:
        path: Its folder, or its packed file.
        run: The run that it is an artifact of; None for one that lies elsewhere.
    """

    path: Path
    run: Path | None

    @property
    def root(self) -> Path | None:
        """The folder of all runs."""
        return None if self.run is None else self.run.resolve().parent

    @property
    def notes(self) -> Path | None:
        """The file of people's notes; for an atlas elsewhere there is none."""
        return None if self.root is None else self.root / NOTES_FILE


class FoundLabels(NamedTuple):
    """The labels of an atlas.

    Attributes:
        readers: Newest first.
        problems: A sentence for each folder of labels that cannot be read.
    """

    readers: tuple[LabelReader, ...]
    problems: tuple[str, ...]


def locate(path: Path | str, name: str | None = None) -> Place:
    """The atlas that a path means: a run, a folder of an atlas or its census, or a packed file.

    Args:
        path: The path.
        name: Of the atlas, for a run with several.

    Raises:
        ArtifactError: There is none, or several and no name.
    """
    path = Path(path)
    if path.is_file() and path.name == CENSUS_FILE:
        path = path.parent
    if path.is_file():
        _refuse_name(path, name)
        return Place(path, None)
    if (path / MANIFEST_FILE).is_file():
        _refuse_name(path, name)
        run = path.resolve().parents[2]
        return Place(path, run if (run / RECORD_FILE).is_file() else None)
    if not path.exists():
        raise ArtifactError(f"There is no atlas at '{path}': nothing is there. Check the path.")
    names = atlas_names(path)
    if not names:
        raise ArtifactError(f"'{path}' has no atlas: make one with `lmscope atlas build`.")
    if name is None and len(names) > 1:
        raise ArtifactError(f"'{path}' has several atlases ({', '.join(names)}): name one.")
    if name is not None and name not in names:
        raise ArtifactError(f"'{path}' has no atlas '{name}'.{did_you_mean(name, names)}")
    return Place(path / ATLASES / (name or names[0]), path)


def atlas_names(run: Path | str) -> list[str]:
    """The names of the atlases of a run."""
    found = (Path(run) / ATLASES).glob(f"[!.]*/{MANIFEST_FILE}")
    return sorted(manifest.parent.name for manifest in found)


def find_corpus(place: Place, digest: str, given: Path | str | None) -> FrozenCorpus:
    """The frozen corpus of an atlas: beside it, or the one that is given.

    Raises:
        ArtifactError: It is not there, damaged, or another one.
    """
    beside = place.path.parents[1] / CORPORA.name / digest
    path = beside if given is None else Path(given)
    if not path.exists():
        raise ArtifactError(
            f"The text of the atlas, corpus {digest[:12]}, is not at '{path}': copy the whole run, or say where "
            "it lies."
        )
    corpus = FrozenCorpus.load(path)
    if corpus.digest != digest:
        raise ArtifactError(
            f"'{path}' is corpus {corpus.digest[:12]}, the atlas was made from {digest[:12]}: give that one."
        )
    return corpus


def find_labels(place: Place, digest: str, given: Sequence[Path | str] | None) -> FoundLabels:
    """The labels of an atlas: those that are given, or those of all explain runs in the same folder.

    Raises:
        ArtifactError: Given labels are not there, damaged, or of another atlas.
    """
    if given is not None:
        return FoundLabels(tuple(_given_labels(Path(path), digest) for path in given), ())
    if place.root is None:
        return FoundLabels((), ())
    manifests = sorted(place.root.glob(f"*/{LABELS}/[!.]*/{MANIFEST_FILE}"))
    readers, problems = [], []
    # Names of runs begin with their time, so the last name is the newest.
    for manifest in reversed(manifests):
        try:
            reader = open_labels(manifest.parent)
        except LmscopeError as error:
            problems.append(str(error))
            continue
        if reader.meta.atlas_digest == digest:
            readers.append(reader)
        else:
            reader.close()
    return FoundLabels(tuple(readers), tuple(problems))


def open_labels(path: Path) -> LabelReader:
    """The labels of a folder.

    Raises:
        ArtifactError: It is missing, damaged, or holds something else.
    """
    read_manifest(path, LABELS_KIND, (LABELS_FORMAT,))
    return LabelReader(path / LABELS_FILE)


def _given_labels(path: Path, digest: str) -> LabelReader:
    if path.is_dir() and not (path / MANIFEST_FILE).is_file():
        found = sorted((path / LABELS).glob(f"[!.]*/{MANIFEST_FILE}"))
        if len(found) != 1:
            raise ArtifactError(
                f"'{path}' has {len(found)} folders of labels: name one, artifacts/labels/NAME."
            )
        path = found[0].parent
    reader = open_labels(path)
    if reader.meta.atlas_digest != digest:
        reader.close()
        raise ArtifactError(
            f"The labels of '{path}' are of atlas {reader.meta.atlas_digest[:12]}, this one is {digest[:12]}: "
            "explain this atlas, or give its labels."
        )
    return reader


def _refuse_name(path: Path, name: str | None) -> None:
    if name is not None:
        raise ArtifactError(
            f"'{path}' is one atlas, so the name '{name}' has no effect: leave it out."
        )
