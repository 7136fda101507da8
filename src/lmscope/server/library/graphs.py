"""Graphs of trace runs: found by looking into each run, read once and again only where a file changed."""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lmscope.circuits.graph import SUFFIX, Graph
from lmscope.core.errors import LmscopeError, did_you_mean
from lmscope.jobs.trace_record import GRAPHS, TraceRecord, read_record
from lmscope.server.failures import Busy, Damaged, NotFound
from lmscope.server.library.entries import RunEntry, Signature
from lmscope.server.library.graph_columns import GraphColumns
from lmscope.server.library.scan import Trouble, signature_of

MAX_NUMBERS: Final = 4_000_000
"""Nodes and links of all graphs in memory together; the one in use may be larger."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True)
class GraphEntry:
    """A graph on disk.

    Attributes:
        run: The run that traced it.
        name: Of its files.
        record: What was found on its prompt.
        signature: Changes when one of its files does.
    """

    run: RunEntry
    name: str
    record: TraceRecord
    signature: Signature

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.run.path / "artifacts" / GRAPHS

    @property
    def path(self) -> Path:
        """The graph's own file."""
        return self.folder / f"{self.name}{SUFFIX}"

    def beside(self, ending: str) -> Path:
        """A file of its name with another ending."""
        return self.folder / f"{self.name}{ending}"


class GraphShelf:
    """Finds graphs and keeps those in memory that were asked for last; several threads may call.

    Args:
        max_numbers: Nodes and links in memory.
    """

    def __init__(self, max_numbers: int = MAX_NUMBERS) -> None:
        self._max_numbers = max_numbers
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._records: dict[Path, tuple[Signature, TraceRecord | Trouble]] = {}
        self._loaded: OrderedDict[Path, tuple[Signature, GraphColumns]] = OrderedDict()

    def entries(self, runs: Iterable[RunEntry]) -> tuple[list[GraphEntry], list[Trouble]]:
        """All graphs of runs, the newest run first, and what cannot be shown."""
        found: list[GraphEntry] = []
        troubles: list[Trouble] = []
        for run in reversed(list(runs)):
            for name in _names(run):
                one = self._entry(run, name)
                (troubles if isinstance(one, Trouble) else found).append(one)  # pyright: ignore[reportArgumentType]
        return found, troubles

    def entry(self, run: RunEntry, name: str) -> GraphEntry:
        """The graph of a name.

        Raises:
            NotFound: The run has none of it.
            Damaged: What was found beside it cannot be read.
        """
        names = _names(run)
        if name not in names:
            hint = did_you_mean(name[:200], names) or " It has no graph at all."
            raise NotFound(f"The run '{run.id}' has no graph '{name[:200]}'.{hint}")
        found = self._entry(run, name)
        if isinstance(found, Trouble):
            raise Damaged(found.message)
        return found

    def open(self, entry: GraphEntry) -> GraphColumns:
        """The graph itself.

        Raises:
            Busy: It was removed or replaced a moment ago.
            ArtifactError: It is damaged.
        """
        found = self._known(entry)
        if found is not None:
            return found
        with self._loading:  # who waits for the same graph finds it then
            found = self._known(entry)
            if found is not None:
                return found
            signature = signature_of(entry.path)
            if not signature:
                raise Busy(f"The graph '{entry.name}' is being replaced on the disk. Ask again.")
            found = GraphColumns(Graph.load(entry.path))
            self._keep(entry.path, signature, found)
        return found

    def _known(self, entry: GraphEntry) -> GraphColumns | None:
        signature = signature_of(entry.path)
        with self._lock:
            known = self._loaded.get(entry.path)
            if known is None or known[0] != signature:
                return None
            self._loaded.move_to_end(entry.path)
            return known[1]

    def _keep(self, path: Path, signature: Signature, found: GraphColumns) -> None:
        with self._lock:
            self._loaded[path] = (signature, found)
            self._loaded.move_to_end(path)
            while len(self._loaded) > 1 and self._n_numbers() > self._max_numbers:
                self._loaded.popitem(last=False)

    def _n_numbers(self) -> int:
        return sum(one.n_nodes + one.n_links for _, one in self._loaded.values())

    def _entry(self, run: RunEntry, name: str) -> GraphEntry | Trouble:
        path = run.path / "artifacts" / GRAPHS / f"{name}.json"
        signature = signature_of(path)
        with self._lock:
            known = self._records.get(path)
        if known is None or known[0] != signature:
            known = (signature, _read(path))
            with self._lock:
                self._records[path] = known
        if isinstance(known[1], Trouble):
            return known[1]
        return GraphEntry(run, name, known[1], signature)


def _read(path: Path) -> TraceRecord | Trouble:
    try:
        return read_record(path)
    except LmscopeError as error:
        return Trouble(path, str(error))


def _names(run: RunEntry) -> Mapping[str, None]:
    """Names of a run's graphs that are whole: the record is written last."""
    try:
        with os.scandir(run.path / "artifacts" / GRAPHS) as found:
            files = {one.name for one in found}
    except OSError:  # a run that traced nothing
        return {}
    names = sorted(one.removesuffix(SUFFIX) for one in files if one.endswith(SUFFIX))
    return dict.fromkeys(one for one in names if _NAME.fullmatch(one) and f"{one}.json" in files)
