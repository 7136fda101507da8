"""Saved views of a graph: what a person pinned, grouped and moved."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from lmscope.core.errors import ArtifactError, did_you_mean
from lmscope.server.context import Context
from lmscope.server.failures import NotFound, ReadOnly, WrongInput
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.schemas.graph import GraphView, GraphViews
from lmscope.server.views.graph import found_graph
from lmscope.server.views.graph_tests import check_node


def all_views(context: Context, run: str, name: str) -> GraphViews:
    """All saved views.

    Raises:
        NotFound: There is no such graph.
        ArtifactError: Their file is damaged.
    """
    return _answer(context, _entry(context, run, name))


def one_view(context: Context, run: str, name: str, view: str) -> GraphView:
    """A saved view.

    Raises:
        NotFound: There is no such graph or view.
        ArtifactError: Their file is damaged.
    """
    kept = context.graph_notes.views(_entry(context, run, name))
    if view not in kept:
        raise _missing(view, kept)
    return _as_view(kept[view])


def save_view(context: Context, run: str, name: str, view: str, body: GraphView) -> GraphView:
    """Keep a view, in the place of one of its name.

    Raises:
        ReadOnly: This server changes nothing.
        NotFound: There is no such graph.
        WrongInput: The name is none, or a node is not there.
        ArtifactError: It cannot be written.
    """
    _check_write(context)
    if not view.isprintable() or view != view.strip():
        raise WrongInput("The name of a view is a line of text without spaces at its ends.")
    entry, found = found_graph(context, run, name)
    for id_ in _ids(body):
        check_node(found, id_)
    names = [group.name for group in body.supernodes]
    if len(set(names)) < len(names):
        raise WrongInput("Two groups have one name. Give each its own.")
    context.graph_notes.save_view(entry, view, body.model_dump(mode="json"))
    return body


def delete_view(context: Context, run: str, name: str, view: str) -> GraphViews:
    """Forget a view.

    Raises:
        ReadOnly: This server changes nothing.
        NotFound: There is no such graph or view.
        ArtifactError: Their file is damaged or cannot be written.
    """
    _check_write(context)
    entry = _entry(context, run, name)
    if not context.graph_notes.delete_view(entry, view):
        raise _missing(view, context.graph_notes.views(entry))
    return _answer(context, entry)


def _entry(context: Context, run: str, name: str) -> GraphEntry:
    return context.graphs.entry(context.library.run(run), name)


def _answer(context: Context, entry: GraphEntry) -> GraphViews:
    kept = context.graph_notes.views(entry)
    return GraphViews(views={name: _as_view(kept[name]) for name in sorted(kept)})


def _as_view(values: Any) -> GraphView:
    try:
        return GraphView.model_validate(values)
    except ValidationError as error:
        raise ArtifactError(
            f"A view that is kept beside a graph is damaged: {error.errors()[0]['msg']}. Move its file away."
        ) from None


def _ids(body: GraphView) -> Iterator[str]:
    yield from body.pinned
    yield from body.moved
    for group in body.supernodes:
        yield from group.ids
    if body.focus is not None:
        yield body.focus


def _check_write(context: Context) -> None:
    if context.settings.read_only:
        raise ReadOnly(
            "This server changes nothing, so views are not kept. Start it without --read-only."
        )


def _missing(view: str, kept: Mapping[str, Any]) -> NotFound:
    return NotFound(f"The graph has no view '{view[:80]}'.{did_you_mean(view[:80], kept)}")
