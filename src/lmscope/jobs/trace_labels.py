"""What features of circuits mean, from atlases, as plain values."""

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.finding import atlas_names
from lmscope.circuits.graph import Graph
from lmscope.core.errors import ArtifactError
from lmscope.core.feature import FeatureId
from lmscope.core.files import write_text
from lmscope.jobs.trace_dictionaries import FoundDictionary
from lmscope.runs.run import Run

LABELS_FILE: Final = "labels.json"
"""Below a run's `artifacts`: label by feature."""
Labels = dict[FeatureId, str]


class CircuitAtlases:
    """The atlases of a circuit's dictionaries, for reading; close it, or use it in a `with` block.

    Args:
        paths: Runs, folders of an atlas, or packed files.
        dictionaries: Of the circuit.

    Raises:
        ArtifactError: One cannot be read, or is of none of the dictionaries.
    """

    def __init__(self, paths: Sequence[str], dictionaries: Iterable[FoundDictionary]) -> None:
        digests = {one.content_digest: one.name for one in dictionaries if one.content_digest}
        self._atlases: dict[str, Atlas] = {}
        with ExitStack() as opened:
            for path in paths:
                found = [opened.enter_context(Atlas.open(path, name=n)) for n in _names(path)]
                own = {digests.get(one.meta.dictionary_digest): one for one in found}
                if not own.keys() - {None}:
                    raise ArtifactError(
                        f"'{path}' is the atlas of dictionary {found[0].meta.dictionary_digest[:12]}, which is not in "
                        "this circuit: give an atlas that was built from one of its dictionaries."
                    )
                self._atlases |= {name: one for name, one in own.items() if name is not None}
            self._opened = opened.pop_all()

    def __enter__(self) -> "CircuitAtlases":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all."""
        self._opened.close()

    def labels(self, features: Iterable[FeatureId]) -> Labels:
        """What is known of features; those whose label does not reach its threshold are left out."""
        found: Labels = {}
        for feature in sorted(set(features)):
            atlas = self._atlases.get(feature.dictionary)
            said = None if atlas is None else next((s for _, s in atlas.said(feature.latent)), None)
            if said is not None and said.known:
                found[feature] = said.shown
        return found


def features_of(graph: Graph) -> dict[str, FeatureId]:
    """The features of a graph by their nodes' ids; those of dictionaries without a name are left out."""
    names = {one.site: one.name for one in graph.meta.dictionaries if one.name is not None}
    return {
        node.id: FeatureId(names[node.site], node.latent)
        for node in graph.nodes
        if node.site in names and node.latent is not None
    }


def write_labels(run: Run, labels: Labels) -> None:
    """Keep labels beside the graphs of a run."""
    values = {str(feature): text for feature, text in labels.items()}
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False)
    write_text(run.artifacts / LABELS_FILE, text + "\n")


def read_labels(run: Run) -> Labels:
    """The labels that a run kept; none where no atlas was given.

    Raises:
        ArtifactError: They are damaged.
    """
    path = run.artifacts / LABELS_FILE
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {FeatureId.parse(key): str(text) for key, text in values.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise ArtifactError(f"'{path}' is damaged: {error}. Trace it again.") from None


def _names(path: str) -> list[str | None]:
    """Every atlas of a run; of anything else the one that it is."""
    return [*atlas_names(Path(path))] or [None]
