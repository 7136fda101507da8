"""Claims of a graph tried in the model, and kept beside it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from lmscope.core.errors import ArtifactError, did_you_mean
from lmscope.runs.record import now
from lmscope.server.context import Context
from lmscope.server.failures import ReadOnly, WrongInput
from lmscope.server.library.graph_columns import GraphColumns
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.schemas.graph import ClaimRequest, ClaimTest, ClaimTests
from lmscope.server.views.graph import found_graph
from lmscope.server.views.graph_live import graph_payload


def all_tests(context: Context, run: str, name: str) -> ClaimTests:
    """All tests of a graph, newest first.

    Raises:
        NotFound: There is no such graph.
        ArtifactError: Their file is damaged.
    """
    entry = context.graphs.entry(context.library.run(run), name)
    kept = context.graph_notes.tests(entry)
    return ClaimTests(tests=[as_test(one) for one in reversed(kept)])


def as_test(values: Mapping[str, Any]) -> ClaimTest:
    """A test as it was kept.

    Raises:
        ArtifactError: It is none.
    """
    try:
        return ClaimTest.model_validate(values)
    except ValidationError as error:
        raise ArtifactError(
            f"A test that is kept beside a graph is damaged: {error.errors()[0]['msg']}. Move its file away."
        ) from None


async def try_claim(context: Context, run: str, name: str, request: ClaimRequest) -> ClaimTest:
    """Change features in the model, and keep what became of the target beside the claim.

    Raises:
        ReadOnly: This server changes nothing.
        NotFound: There is no such graph.
        WrongInput: A node or link is not there, or parts of the request contradict each other.
        LmscopeError: The process with the model says why not.
    """
    if context.settings.read_only:
        raise ReadOnly(
            "This server changes nothing, so tests are not kept. Start it without --read-only."
        )
    entry, found = await asyncio.to_thread(found_graph, context, run, name)
    _check(found, request)
    context.graph_notes.check_room(context.graph_notes.tests(entry))
    payload = {
        **graph_payload(context, entry, found),
        "nodes": request.nodes,
        "edge": request.edge,
        "how": request.how,
        "value": request.value,
    }
    answer = await context.live.ask("claim", payload)
    return await asyncio.to_thread(_keep, context, entry, request, answer)


def _keep(
    context: Context, entry: GraphEntry, request: ClaimRequest, answer: Mapping[str, Any]
) -> ClaimTest:
    def make(number: str) -> dict[str, Any]:
        test = ClaimTest(
            id=number,
            nodes=request.nodes if request.edge is None else [request.edge[0]],
            edge=request.edge,
            how=request.how,
            value=request.value,
            created=now().isoformat(),
            **answer,
        )
        return test.model_dump(mode="json")

    return as_test(context.graph_notes.add_test(entry, make))


def _check(found: GraphColumns, request: ClaimRequest) -> None:
    if bool(request.nodes) == (request.edge is not None):
        raise WrongInput("A test is of some features or of one link. Give `nodes` or `edge`.")
    if (request.value is None) != (request.how == "ablate"):
        raise WrongInput("`scale` and `set` take a value, `ablate` takes none.")
    ids: Sequence[str] = request.nodes if request.edge is None else request.edge
    for one in ids:
        check_node(found, one)
    if len(set(ids)) < len(ids):
        raise WrongInput("A node is named twice. Name each once.")
    for one in ids if request.edge is None else ids[:1]:
        node = found.graph.nodes[found.places[one]]
        if node.kind != "feature":
            raise WrongInput(
                f"'{one}' is no feature, and only features are changed in the model. Choose features."
            )
    if request.edge is not None:
        _check_edge(found, *request.edge)


def check_node(found: GraphColumns, id_: str) -> None:
    """Refuse an id that no node has.

    Raises:
        WrongInput: There is none.
    """
    if id_ not in found.places:
        raise WrongInput(f"The graph has no node '{id_}'.{did_you_mean(id_, found.places)}")


def _check_edge(found: GraphColumns, source: str, goal: str) -> None:
    graph = found.graph
    ends = found.places[source], found.places[goal]
    if graph.nodes[ends[1]].kind not in ("feature", "target"):
        raise WrongInput(f"'{goal}' takes nothing in. Choose a feature or the target as upper end.")
    if not ((graph.source == ends[0]) & (graph.goal == ends[1])).any():
        raise WrongInput(f"No link leads from '{source}' to '{goal}'. Choose one that is drawn.")
