"""Graphs in the forms of other tools, with what their features mean."""

from pathlib import Path

from lmscope.circuits.graph import SUFFIX, Graph
from lmscope.core.errors import RecipeError
from lmscope.jobs.trace_labels import Labels


def export_graph(graph: Graph, path: Path, labels: Labels) -> None:
    """Write a graph in the form that a file's ending names.

    Args:
        graph: The graph.
        path: Ends in .graph.
        labels: What its features mean.

    Raises:
        RecipeError: It ends otherwise.
        ArtifactError: It cannot be written.
    """
    if path.suffix == SUFFIX:
        graph.save(path)
        return
    raise RecipeError(f"Graphs are not written as '{path.suffix}': take .graph.")
