"""What the features of a graph mean, and where their pages are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmscope.circuits.graph import GraphDictionary
from lmscope.core.errors import LmscopeError
from lmscope.core.feature import FeatureId
from lmscope.jobs.trace_label_file import LABELS_FILE, Labels, read_labels
from lmscope.runs.run import Run
from lmscope.server.context import Context
from lmscope.server.library.entries import DictionaryEntry
from lmscope.server.library.graph_columns import GraphColumns
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.library.library import Library
from lmscope.server.library.othello_labels import LabelFile
from lmscope.server.library.players import related_player
from lmscope.server.library.scan import signature_of
from lmscope.server.schemas.othello import Said
from lmscope.server.views.features import is_known
from lmscope.server.views.latents import summaries


@dataclass(frozen=True)
class GraphLabels:
    """Columns beside those of a graph's nodes.

    Attributes:
        label: What each node is called; None where nobody knows.
        known: Whether it is.
        dictionary: Id of the page of its dictionary; None where that is not served.
    """

    label: np.ndarray
    known: np.ndarray
    dictionary: np.ndarray

    def at(self, place: int) -> tuple[str | None, bool]:
        """The label of a node, and whether it is known."""
        return self.label[place], bool(self.known[place])


def served_dictionaries(library: Library, graph: GraphColumns) -> dict[str, DictionaryEntry]:
    """The dictionaries of a graph that are served, by the site that they write."""
    by_digest = {one.digest: one for one in library.dictionaries()}
    return {
        one.site: by_digest[one.content_digest]
        for one in graph.graph.meta.dictionaries
        if one.content_digest in by_digest
    }


def labels_of(context: Context, entry: GraphEntry, graph: GraphColumns) -> GraphLabels:
    """What is known of each node, from the newest atlases, from the rules of a game, and from what the run kept.

    It is remembered for as long as none of these changes.
    """
    served = served_dictionaries(context.library, graph)
    kept = entry.run.path / "artifacts" / LABELS_FILE
    player = related_player(context.library, entry.run)
    files = [] if player is None else context.othello_labels.found(context.library, player)[0]
    state = (
        signature_of(kept),
        *(one.signature for one in files),
        *((site, one.id, _state(one)) for site, one in sorted(served.items())),
    )
    known = graph.labels.get("all")
    if known is None or known[0] != state:
        known = (state, _read(context.library, entry.run.path, graph, served, files))
        graph.labels["all"] = known
    return known[1]


def _state(entry: DictionaryEntry) -> object:
    return entry.atlases[0].signature if entry.atlases else None


def _read(
    library: Library,
    run: Path,
    graph: GraphColumns,
    served: Mapping[str, DictionaryEntry],
    files: Sequence[LabelFile],
) -> GraphLabels:
    n = graph.n_nodes
    label, known = np.full(n, None, dtype=object), np.zeros(n, dtype=bool)
    dictionary = np.full(n, None, dtype=object)
    kept = _kept(run)
    for one in graph.graph.meta.dictionaries:
        places = [
            place
            for place, node in enumerate(graph.graph.nodes)
            if node.kind == "feature" and node.site == one.site
        ]
        entry = served.get(one.site)
        if entry is not None:
            dictionary[places] = entry.id
        latents = [graph.graph.nodes[place].latent or 0 for place in places]
        ruled, said = _by_rules(entry, files), _said(library, entry, latents)
        for place, latent in zip(places, latents, strict=True):
            here = _spoken(ruled.get(latent, ()), graph.graph.nodes[place].activation)
            text = said.get(latent) or here or _of_run(kept, one, latent)
            if text is not None:
                label[place], known[place] = text, True
    return GraphLabels(label, known, dictionary)


def _by_rules(
    entry: DictionaryEntry | None, files: Sequence[LabelFile]
) -> Mapping[int, tuple[Said, ...]]:
    """What each latent of a player's dictionary says, from the newest file that has something."""
    if entry is None:
        return {}
    return next((one for file in files if (one := file.of(entry))), {})


def _spoken(says: Sequence[Said], activation: float | None) -> str | None:
    """What a feature says where it is so active; else its best label, but none that it says seldom."""
    if activation is not None:
        for said in says:
            if activation > said.threshold:
                return said.label
    return says[0].label if says and says[0].f1 is not None else None


def _said(library: Library, entry: DictionaryEntry | None, latents: list[int]) -> dict[int, str]:
    if entry is None or not entry.atlases:
        return {}
    inside = [latent for latent in latents if latent < entry.n_latents]
    try:
        rows = summaries(library, entry.id, inside)
    except (
        LmscopeError
    ):  # a damaged atlas is told of on the first page; the graph stands without it
        return {}
    return {latent: row.label for latent, row in rows.items() if is_known(row.label)}


def _kept(run: Path) -> Labels:
    try:
        return read_labels(Run.open(run))
    except LmscopeError:
        return {}


def _of_run(kept: Labels, dictionary: GraphDictionary, latent: int) -> str | None:
    if dictionary.name is None:
        return None
    return kept.get(FeatureId(dictionary.name, latent))
