"""Labels of a circuit's features as a trace keeps them; imports no torch."""

import json
from typing import Final

from lmscope.circuits.graph import Graph
from lmscope.core.errors import ArtifactError
from lmscope.core.feature import FeatureId
from lmscope.core.files import write_text
from lmscope.runs.run import Run

LABELS_FILE: Final = "labels.json"
"""Below a run's `artifacts`: label by feature."""
Labels = dict[FeatureId, str]


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
