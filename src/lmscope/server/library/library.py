"""Library: runs, dictionaries and atlases under the served folders, as they are now on disk."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.finding import ATLASES
from lmscope.core.errors import ArtifactError, did_you_mean
from lmscope.runs.record import RECORD_FILE
from lmscope.server.failures import Busy, Damaged, NotFound
from lmscope.server.library.catalogue import Catalogue, CatalogueMaker
from lmscope.server.library.entries import (
    AtlasEntry,
    DictionaryEntry,
    ModelEntry,
    RunEntry,
    Signature,
)
from lmscope.server.library.journals import Journals
from lmscope.server.library.leases import OpenAtlases
from lmscope.server.library.scan import (
    FoundAtlas,
    RunContents,
    Shelf,
    Trouble,
    read_packed,
    read_run,
    signature_of,
)
from lmscope.server.schemas.common import Problem

PACKED: Final = ".atlas"
"""Ending of packed atlases."""
T = TypeVar("T", RunEntry, DictionaryEntry, ModelEntry)


class Library:
    """What lies under folders; entries are plain values that stay as they are, however the disk changes.

    Ids are looked up in tables and never made into paths. All methods may be called by several threads.

    Args:
        folders: Runs, folders of runs, and packed atlases.

    Attributes:
        folders: As they were given.
        journals: Metrics and events of runs.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self.journals = Journals()
        self._shelf = Shelf()
        self._maker = CatalogueMaker()
        self._opened = OpenAtlases()
        self._refreshing = threading.Lock()
        self._catalogue: Catalogue | None = None
        self._removed: dict[str, str] = {}
        self._damaged: dict[tuple[Path, Signature], Trouble] = {}
        self._roots: tuple[Trouble, ...] = ()
        self._seen: set[Path] = set()

    def refresh(self) -> None:
        """Notice what changed on disk: a look at each file's time and size, and what is new is read."""
        with self._refreshing:
            self._shelf.begin()
            contents, packed, troubles = self._look()
            self._shelf.end()
            if self._catalogue is not None and not self._shelf.changed and troubles == self._roots:
                return
            before = self._catalogue or Catalogue()
            found = self._maker.make(contents, packed)
            self._remember_removed(before, found)
            self._catalogue, self._roots = found, troubles
            atlases = [one for entry in found.dictionaries.values() for one in entry.atlases]
            here = {(one.path, one.signature) for one in atlases}
            self._damaged = {key: value for key, value in self._damaged.items() if key in here}
            self._opened.keep(atlases)

    @property
    def catalogue(self) -> Catalogue:
        """All tables at once, of one moment."""
        if self._catalogue is None:
            self.refresh()
        assert self._catalogue is not None
        return self._catalogue

    def runs(self) -> tuple[RunEntry, ...]:
        """Runs, oldest first."""
        return tuple(self.catalogue.runs.values())

    def run(self, run_id: str) -> RunEntry:
        """The run of an id.

        Raises:
            NotFound: There is none.
        """
        return self._found("run", run_id, self.catalogue.runs)

    def dictionaries(self) -> tuple[DictionaryEntry, ...]:
        """Dictionaries, by model and then in the order of a forward pass."""
        return tuple(self.catalogue.dictionaries.values())

    def dictionary(self, dictionary_id: str) -> DictionaryEntry:
        """The dictionary of an id.

        Raises:
            NotFound: There is none.
        """
        return self._found("dictionary", dictionary_id, self.catalogue.dictionaries)

    def models(self) -> tuple[ModelEntry, ...]:
        """Models that were studied, by name."""
        return tuple(self.catalogue.models.values())

    def model(self, model_id: str) -> ModelEntry:
        """The model of an id.

        Raises:
            NotFound: There is none.
        """
        return self._found("model", model_id, self.catalogue.models)

    def problems(self) -> tuple[Problem, ...]:
        """What cannot be shown, and why; all else is."""
        found = (*self._roots, *self.catalogue.troubles, *self._damaged.values())
        return tuple(Problem(where=self.where(one.path), message=one.message) for one in found)

    def atlas_entry(self, dictionary_id: str, atlas_id: str | None = None) -> AtlasEntry:
        """An atlas of a dictionary: the newest, or the one whose digest begins with `atlas_id`.

        Raises:
            NotFound: There is no such dictionary, it has no atlas, or none of this id.
            Damaged: Its atlas is there but cannot be read.
        """
        entry = self.dictionary(dictionary_id)
        if not entry.atlases:
            for trouble in self.catalogue.troubles:
                if trouble.path.parent.name == ATLASES.name and trouble.path.name == entry.name:
                    raise Damaged(trouble.message)
            raise NotFound(
                f"'{entry.name}' has no atlas. Make one with `lmscope atlas build`, or from its page."
            )
        if atlas_id is None:
            return entry.atlases[0]
        for one in entry.atlases:
            if atlas_id and one.digest.startswith(atlas_id):
                return one
        known = ", ".join(one.id for one in entry.atlases)
        raise NotFound(f"'{entry.name}' has no atlas '{atlas_id[:80]}'. It has {known}.")

    @contextmanager
    def atlas(self, dictionary_id: str, atlas_id: str | None = None) -> Iterator[Atlas]:
        """An open atlas, for this thread alone within the block; others wait, so leave it soon.

        A thread that needs two leases the second one after it left the first.

        Raises:
            NotFound: As of `atlas_entry`; or it was removed a moment ago.
            Busy: It is being replaced on the disk right now.
            ArtifactError: It is damaged; `problems` lists it from then on.
        """
        with ExitStack() as stack:
            entry, opened = self._open(stack, dictionary_id, atlas_id)
            try:
                yield opened
            except ArtifactError as error:
                self._blame(entry, error)
                raise

    def _open(
        self, stack: ExitStack, dictionary_id: str, atlas_id: str | None
    ) -> tuple[AtlasEntry, Atlas]:
        """The atlas, once more where its files were replaced just now."""
        entry = self.atlas_entry(dictionary_id, atlas_id)
        while True:
            try:
                return entry, stack.enter_context(self._opened.lease(entry))
            except ArtifactError as error:
                self.refresh()
                before, entry = entry, self.atlas_entry(dictionary_id, atlas_id)
                if entry.signature == before.signature:
                    self._blame(entry, error)
                    raise

    def _blame(self, entry: AtlasEntry, error: ArtifactError) -> None:
        """List an atlas as damaged, unless it fails because its files went or are others by now.

        Raises:
            NotFound: They went.
            Busy: They are others.
        """
        if not entry.path.exists():
            self.refresh()
            raise NotFound(
                f"The atlas '{entry.where}' was removed from the disk. Copy it back, or build it anew."
            ) from None
        if signature_of(entry.path) != entry.signature[0]:
            raise Busy(
                f"The atlas '{entry.where}' is being replaced on the disk. Ask again."
            ) from None
        if "damaged" in str(error):
            self._damaged[(entry.path, entry.signature)] = Trouble(entry.path, str(error))

    def where(self, path: Path) -> str:
        """A path as seen from the served folder that it lies under, that folder's name first."""
        for root in self.folders:
            if path.is_relative_to(root):
                return str(Path(root.resolve().name) / path.relative_to(root))
        return path.name

    def close(self) -> None:
        """Close every atlas."""
        self._opened.close()

    def _look(
        self,
    ) -> tuple[list[RunContents], list[tuple[Path, FoundAtlas]], tuple[Trouble, ...]]:
        runs: dict[Path, RunContents] = {}
        packed: dict[Path, tuple[Path, FoundAtlas]] = {}
        troubles: list[Trouble] = []
        for root in self.folders:
            try:
                folders, files = _listed(root)
                self._seen.add(root)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and root not in self._seen:
                    continue  # the first run will make it
                reason = error.strerror or str(error)
                troubles.append(Trouble(root, f"'{root}' cannot be shown: {reason}."))
                continue
            for path in folders:
                runs.setdefault(path.resolve(), read_run(path, root, self._shelf))
            for path in files:
                found = read_packed(path, self._shelf)
                if isinstance(found, Trouble):
                    troubles.append(found)
                else:
                    packed.setdefault(path.resolve(), (root, found))
        return list(runs.values()), list(packed.values()), tuple(troubles)

    def _remember_removed(self, before: Catalogue, now: Catalogue) -> None:
        for kind, old, new in (
            ("run", before.runs, now.runs),
            ("dictionary", before.dictionaries, now.dictionaries),
        ):
            self._removed |= dict.fromkeys(old.keys() - new.keys(), kind)
            for one in new:
                self._removed.pop(one, None)

    def _found(self, kind: str, wanted: str, table: Mapping[str, T]) -> T:
        if wanted in table:
            return table[wanted]
        if self._removed.get(wanted) == kind:
            raise NotFound(
                f"The {kind} '{wanted}' was removed from the disk, or cannot be read any more. "
                "The first page lists what is there."
            )
        if not table:
            raise NotFound(f"There is no {kind} '{wanted[:200]}': none is served.")
        raise NotFound(f"There is no {kind} '{wanted[:200]}'.{did_you_mean(wanted[:200], table)}")


def _listed(root: Path) -> tuple[list[Path], list[Path]]:
    """Runs and packed atlases that a served path means."""
    if root.is_file():
        return [], [root]
    if (root / RECORD_FILE).is_file():
        return [root], []
    folders: list[Path] = []
    files: list[Path] = []
    with os.scandir(root) as found:
        for one in found:
            if one.name.startswith("."):
                continue
            path = root / one.name
            if one.is_dir():
                if (path / RECORD_FILE).is_file():
                    folders.append(path)
            elif one.name.endswith(PACKED):
                files.append(path)
    return sorted(folders), sorted(files)
