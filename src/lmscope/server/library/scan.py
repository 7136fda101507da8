"""What a run folder holds, read once and again only where its files changed."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.finding import ATLASES, LABELS, open_labels
from lmscope.atlas.labels import LabelReader, LabelsMeta
from lmscope.atlas.packed import has_labels, read_pack_meta
from lmscope.atlas.store import ATLAS_FORMAT, ATLAS_KIND, CENSUS_FILE, CensusReader
from lmscope.core.config import read_toml
from lmscope.core.errors import ArtifactError, LmscopeError, RecipeError, RunError
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.runs.artifact import read_manifest
from lmscope.runs.record import RECORD_FILE, RunRecord, read_record
from lmscope.runs.run import RECIPE_FILE
from lmscope.server.library.entries import Figures, Signature, SuiteEntry

# The modules that write these files import torch, which this process must not.
DICTIONARY_KIND: Final = "dictionary"
DICTIONARY_FORMATS: Final = (1,)
DICTIONARY_CONFIG: Final = "config.json"
HEALTH_KIND: Final = "health"
HEALTH_FORMATS: Final = (1,)
HEALTH_FILE: Final = "report.json"
SUITE_FILE: Final = "suite.json"
SUITE_FORMAT: Final = 1
DICTIONARIES: Final = Path("artifacts") / "dictionaries"
HEALTH: Final = Path("artifacts") / HEALTH_KIND


class Trouble(NamedTuple):
    """A path that cannot be shown, and why."""

    path: Path
    message: str


@dataclass(frozen=True)
class FoundDictionary:
    """A dictionary's folder."""

    folder: Path
    digest: str
    config: DictionaryConfig

    @property
    def name(self) -> str:
        """Its name."""
        return self.folder.name


@dataclass(frozen=True)
class FoundLabels:
    """Labels, in a folder or within a packed atlas."""

    path: Path
    meta: LabelsMeta
    n_labels: int
    n_known: int
    signature: Signature


@dataclass(frozen=True)
class FoundAtlas:
    """An atlas, in a folder or packed."""

    path: Path
    digest: str
    meta: AtlasMeta
    signature: Signature
    own_labels: FoundLabels | None = None


@dataclass(frozen=True)
class FoundReport:
    """A health report."""

    folder: Path
    subject: Mapping[str, Any]
    figures: Figures

    @property
    def name(self) -> str:
        """Name of the dictionary."""
        return self.folder.name


@dataclass(frozen=True)
class RunContents:
    """A run's folder as it was last read; `record` is None where run.json cannot be read."""

    path: Path
    root: Path
    record: RunRecord | None
    written: float
    recipe: Mapping[str, Any]
    suite: tuple[SuiteEntry, ...]
    dictionaries: tuple[FoundDictionary, ...]
    atlases: tuple[FoundAtlas, ...]
    labels: tuple[FoundLabels, ...]
    reports: tuple[FoundReport, ...]
    troubles: tuple[Trouble, ...]


class Shelf:
    """Remembers what was read from each path for as long as its files stay as they are."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Path], tuple[Signature, Any]] = {}
        self._touched: set[tuple[str, Path]] = set()
        self.changed = False

    def begin(self) -> None:
        """Start to look at everything once."""
        self._touched = set()
        self.changed = False

    def end(self) -> None:
        """Forget what is not there any more."""
        gone = self._known.keys() - self._touched
        for key in gone:
            del self._known[key]
        self.changed = self.changed or bool(gone)

    def read(self, what: str, path: Path, signature: Signature, reader: Callable[[], Any]) -> Any:
        """What `reader` gives, from memory where the signature is as before; its failure as a Trouble."""
        key = (what, path)
        self._touched.add(key)
        known = self._known.get(key)
        if known is not None and known[0] == signature:
            return known[1]
        self.changed = True
        try:
            found = reader()
        except LmscopeError as error:
            found = Trouble(path, str(error))
        except OSError as error:
            found = Trouble(path, f"'{path}' cannot be read: {error.strerror or error}.")
        self._known[key] = (signature, found)
        return found


def signature_of(path: Path) -> Signature:
    """Of a file, or of all files right in a folder; changes when one is replaced, grows or goes."""
    try:
        if not path.is_dir():
            return _stat(path.stat())
        with os.scandir(path) as found:
            return tuple(sorted((one.name, *_stat(one.stat())) for one in found))
    except OSError:
        return ()


def read_run(path: Path, root: Path, shelf: Shelf) -> RunContents:
    """What a run's folder holds."""
    state = signature_of(path / RECORD_FILE)
    record = shelf.read("run", path, state, lambda: read_record(path))
    asked = signature_of(path / RECIPE_FILE)
    recipe = shelf.read("recipe", path, asked, lambda: _read_recipe(path))
    table = path / "artifacts" / SUITE_FILE
    suite = ()
    if state_of_suite := signature_of(table):
        suite = shelf.read("suite", table, state_of_suite, lambda: _read_suite(table))
    found = {
        folder: tuple(_read_all(path / folder, shelf, reader))
        for folder, reader in (
            (DICTIONARIES, _read_dictionary),
            (ATLASES, _read_atlas),
            (LABELS, _read_labels),
            (HEALTH, _read_report),
        )
    }
    everything = (record, recipe, suite, *(one for ones in found.values() for one in ones))
    return RunContents(
        path=path,
        root=root,
        record=record if isinstance(record, RunRecord) else None,
        written=state[0] / 1e9 if state else 0.0,
        recipe=recipe if isinstance(recipe, dict) else {},
        suite=() if isinstance(suite, Trouble) else suite,
        dictionaries=tuple(one for one in found[DICTIONARIES] if isinstance(one, FoundDictionary)),
        atlases=tuple(one for one in found[ATLASES] if isinstance(one, FoundAtlas)),
        labels=tuple(one for one in found[LABELS] if isinstance(one, FoundLabels)),
        reports=tuple(one for one in found[HEALTH] if isinstance(one, FoundReport)),
        troubles=tuple(one for one in everything if isinstance(one, Trouble)),
    )


def read_packed(path: Path, shelf: Shelf) -> FoundAtlas | Trouble:
    """A packed atlas."""
    signature = signature_of(path)
    return shelf.read("packed", path, signature, lambda: _read_packed(path, signature))


def _stat(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read_all(
    folder: Path, shelf: Shelf, reader: Callable[[Path, Signature], Any]
) -> Iterator[Any]:
    try:
        with os.scandir(folder) as found:
            names = sorted(one.name for one in found if one.name[0] != "." and one.is_dir())
    except OSError:  # a run that made none of these
        return
    for name in names:
        path = folder / name
        signature = signature_of(path)
        yield shelf.read(folder.name, path, signature, lambda p=path, s=signature: reader(p, s))


def _read_dictionary(path: Path, signature: Signature) -> FoundDictionary:
    manifest = read_manifest(path, DICTIONARY_KIND, DICTIONARY_FORMATS)
    values = _read_json(path / DICTIONARY_CONFIG)
    config = DictionaryConfig.from_mapping(values, f"'{path / DICTIONARY_CONFIG}'")
    return FoundDictionary(path, manifest.content_digest, config)


def _read_atlas(path: Path, signature: Signature) -> FoundAtlas:
    manifest = read_manifest(path, ATLAS_KIND, (ATLAS_FORMAT,))
    with CensusReader(path / CENSUS_FILE) as census:
        return FoundAtlas(path, manifest.content_digest, census.meta, signature)


def _read_packed(path: Path, signature: Signature) -> FoundAtlas:
    with CensusReader(path) as census:
        digest = read_pack_meta(census.connection, path).atlas_digest
        labels = None
        if has_labels(census.connection, path):
            with LabelReader(path) as reader:
                labels = _described(path, reader, signature)
        return FoundAtlas(path, digest, census.meta, signature, labels)


def _read_labels(path: Path, signature: Signature) -> FoundLabels:
    with closing(open_labels(path)) as reader:
        return _described(path, reader, signature)


def _described(path: Path, reader: LabelReader, signature: Signature) -> FoundLabels:
    return FoundLabels(path, reader.meta, len(reader), len(reader.known()), signature)


def _read_report(path: Path, signature: Signature) -> FoundReport:
    read_manifest(path, HEALTH_KIND, HEALTH_FORMATS)
    report = _read_json(path / HEALTH_FILE)
    return FoundReport(path, dict(report.get("subject", {})), _headline(report))


def _headline(report: Mapping[str, Any]) -> Figures:
    def value(part: str, name: str) -> float | None:
        estimate = (report.get(part) or {}).get(name)
        return estimate.get("value") if isinstance(estimate, Mapping) else estimate

    return Figures(
        value("sparsity", "l0"),
        value("reconstruction", "explained_variance_centred"),
        value("loss", "ce_recovered_zero"),
        value("sparsity", "dead_fraction"),
    )


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path / RECIPE_FILE)
    except RecipeError as error:
        raise RunError(f"What the run '{path.name}' was asked cannot be shown. {error}") from None


def _read_suite(path: Path) -> tuple[SuiteEntry, ...]:
    values = _read_json(path)
    if values.get("format") != SUITE_FORMAT:
        raise ArtifactError(
            f"'{path}' has format {values.get('format')}, this lmscope reads {SUITE_FORMAT}: upgrade lmscope."
        )
    names = tuple(Figures.__dataclass_fields__)
    try:
        return tuple(
            SuiteEntry(
                name=row["name"],
                reads=row["reads"],
                writes=row["writes"],
                n_latents=int(row["n_latents"]),
                status=row["status"],
                figures=Figures(**{name: row.get(name) for name in names}),
                problem=row.get("problem"),
            )
            for row in values["dictionaries"]
        )
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(
            f"'{path}' is damaged: delete it; the reports beside it hold the same figures."
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"'{path}' is damaged: {error}.") from None
    if not isinstance(values, dict):
        raise ArtifactError(f"'{path}' is damaged: it holds no table.")
    return values
