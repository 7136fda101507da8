"""A graph as a file for other tools."""

import tempfile
from pathlib import Path
from typing import Final, Literal

from starlette.responses import Response

from lmscope.core.errors import LmscopeError
from lmscope.core.feature import FeatureId
from lmscope.server.context import Context
from lmscope.server.failures import WrongInput
from lmscope.server.library.graph_columns import GraphColumns
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.views.graph import found_graph
from lmscope.server.views.graph_labels import labels_of

Form = Literal["neuronpedia", "graphml", "graph"]
_ENDINGS: Final = {"neuronpedia": ".json", "graphml": ".graphml", "graph": ".graph"}
_TYPES: Final = {
    "neuronpedia": "application/json",
    "graphml": "application/xml",
    "graph": "application/zstd",
}


def export(context: Context, run: str, name: str, form: Form) -> Response:
    """The graph as a download.

    Raises:
        NotFound: There is no such graph.
        WrongInput: It has not got what the form needs.
        ArtifactError: It cannot be read.
    """
    from lmscope.jobs.trace_export import export_graph

    entry, found = found_graph(context, run, name)
    ending = _ENDINGS[form]
    with tempfile.TemporaryDirectory(prefix="lmscope-") as folder:
        path = Path(folder) / f"{entry.name}{ending}"
        try:
            export_graph(found.graph, entry.record, path, _labels(context, entry, found))
        except LmscopeError as error:
            raise WrongInput(f"This graph cannot be written so: {error}") from None
        body = path.read_bytes()
    headers = {"Content-Disposition": f'attachment; filename="{entry.name}{ending}"'}
    return Response(body, media_type=_TYPES[form], headers=headers)


def _labels(context: Context, entry: GraphEntry, found: GraphColumns) -> dict[FeatureId, str]:
    """Labels by dictionary and latent, as exports take them."""
    names = {one.site: one.name for one in found.graph.meta.dictionaries}
    labels = labels_of(context, entry, found)
    said: dict[FeatureId, str] = {}
    for place, node in enumerate(found.graph.nodes):
        name, label = names.get(node.site or ""), labels.label[place]
        if name is not None and node.latent is not None and label is not None:
            said[FeatureId(name, node.latent)] = label
    return said
