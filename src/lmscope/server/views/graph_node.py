"""One node of a graph: what it means, what it comes from and goes to, and whether it was tried."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from lmscope.circuits.graph import GraphNode
from lmscope.core.errors import LmscopeError
from lmscope.server.context import Context
from lmscope.server.library.graph_columns import GraphColumns, Links
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.library.library import Library
from lmscope.server.schemas.graph import GraphToken, NodeEnd, NodeFeature, NodePage
from lmscope.server.views.feature import label_sources
from lmscope.server.views.graph import found_graph
from lmscope.server.views.graph_labels import GraphLabels, labels_of
from lmscope.server.views.graph_tests import as_test
from lmscope.server.views.tokens import passage, weighted_tokens

_ENDS: Final = 50
_WORDS: Final = 10
_PASSAGES: Final = 3


def node_links(context: Context, run: str, name: str, place: int, share: float) -> dict[str, Any]:
    """All links of a node among those that are shown, as plain values: those of `NodeLinks`.

    Raises:
        NotFound: There is no such graph or node.
    """
    _, found = found_graph(context, run, name)
    found.node(place)
    links = found.links_of(place, found.shown(share))
    return {"node": place, "source": links.source, "goal": links.goal, "flow": links.flow}


def node_page(context: Context, run: str, name: str, place: int, share: float) -> NodePage:
    """A node.

    Raises:
        NotFound: There is no such graph or node.
        ArtifactError: The graph cannot be read.
    """
    entry, found = found_graph(context, run, name)
    node = found.node(place)
    labels = labels_of(context, entry, found)
    links = found.links_of(place, found.shown(share))
    incoming, outgoing = links.goal == place, links.source == place
    dictionary = labels.dictionary[place]
    return NodePage(
        place=place,
        id=node.id,
        kind=node.kind,
        site=node.site,
        layer=node.layer,
        latent=node.latent,
        position=node.position,
        token=_token(found, node),
        attribution=node.attribution,
        activation=node.activation,
        influence=float(found.cumulative[place]),
        label=labels.label[place],
        label_known=bool(labels.known[place]),
        dictionary=dictionary,
        feature=_feature(context.library, dictionary, node.latent),
        incoming=_ends(found, labels, links, incoming, links.source),
        outgoing=_ends(found, labels, links, outgoing, links.goal),
        n_incoming=int(incoming.sum()),
        n_outgoing=int(outgoing.sum()),
        tests=[as_test(one) for one in _tests_of(context, entry, node.id)],
    )


def _token(found: GraphColumns, node: GraphNode) -> GraphToken | None:
    meta = found.graph.meta
    if node.token is None:
        return None
    if node.kind == "token" and node.position is not None:
        return GraphToken(id=node.token, text=meta.texts[node.position])
    known = dict(zip(meta.tokens, meta.texts, strict=True))
    return GraphToken(id=node.token, text=known.get(node.token, ""))


def _feature(library: Library, dictionary: str | None, latent: int | None) -> NodeFeature | None:
    """What the newest atlas knows; None where there is none, or it cannot be read."""
    if dictionary is None or latent is None:
        return None
    try:
        with library.atlas(dictionary) as atlas:
            record = atlas.feature(latent).record
            examples = record.groups[0].examples if record.groups else ()
            return NodeFeature(
                dictionary=dictionary,
                latent=latent,
                density=record.density,
                max=record.max,
                sources=label_sources(atlas, latent),
                top_logits=weighted_tokens(atlas, record.top_logits[:_WORDS]),
                bottom_logits=weighted_tokens(atlas, record.bottom_logits[:_WORDS]),
                peak_tokens=weighted_tokens(atlas, record.peak_tokens[:_WORDS]),
                passages=[passage(atlas.corpus, one) for one in examples[:_PASSAGES]],
            )
    except LmscopeError:  # its own page says why
        return None


def _ends(
    found: GraphColumns,
    labels: GraphLabels,
    links: Links,
    chosen: np.ndarray,
    others: np.ndarray,
) -> list[NodeEnd]:
    """The other ends of some links, strongest first."""
    ends = []
    for place, flow in zip(
        others[chosen][:_ENDS].tolist(), links.flow[chosen].tolist(), strict=False
    ):
        node = found.graph.nodes[place]
        label, known = labels.at(place)
        ends.append(
            NodeEnd(
                place=place,
                id=node.id,
                kind=node.kind,
                label=label,
                label_known=known,
                flow=flow,
            )
        )
    return ends


def _tests_of(context: Context, entry: GraphEntry, id_: str) -> Sequence[Mapping[str, Any]]:
    tests = context.graph_notes.tests(entry)
    return [one for one in reversed(tests) if id_ in (*one["nodes"], *(one["edge"] or ()))]
