"""Graphs: circuits of prompts, what people make of them, and what the model says when they are tried."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from lmscope.server.context import Context, context_of
from lmscope.server.responses import sealed
from lmscope.server.schemas.graph import (
    ClaimRequest,
    ClaimTest,
    ClaimTests,
    GraphPage,
    Graphs,
    GraphsCompared,
    GraphView,
    GraphViews,
    NodeGroups,
    NodeLinks,
    NodePage,
)
from lmscope.server.schemas.graph_live import ScorePanel, ScoreRequest, TraceAnswer, TraceRequest
from lmscope.server.views import (
    graph,
    graph_comparison,
    graph_export,
    graph_groups,
    graph_live,
    graph_node,
    graph_tests,
    graph_views,
)

router = APIRouter(prefix="/graphs", tags=["graphs"])
Served = Annotated[Context, Depends(context_of)]
_MOST = 2**31 - 1
Share = Annotated[
    float, Query(ge=0, le=1, description="Nodes that carry this share of all influence.")
]
Node = Annotated[int, Query(ge=0, le=_MOST, description="Place in the whole graph.")]
ViewName = Annotated[str, Path(min_length=1, max_length=80)]
Named = Annotated[str, Query(max_length=400, description="RUN/NAME.")]


@router.get("", response_model=Graphs)
def graphs(request: Request, context: Served) -> Response:
    """All graphs."""
    return sealed(request, graph.graphs(context))


@router.get("/compare", response_model=GraphsCompared)
def compare(
    request: Request,
    context: Served,
    a: Named,
    b: Named,
    share: Share = 1.0,
    match: Literal["latent", "position", "from_end"] = "latent",
    links: Annotated[int, Query(ge=0, le=20_000)] = 1_000,
) -> Response:
    """Two graphs side by side: what both hold, and what only one does."""
    found = graph_comparison.graphs_compared(context, a, b, share, match, links)
    return sealed(request, found)


@router.post("/trace", status_code=201)
async def trace(context: Served, request: TraceRequest) -> TraceAnswer:
    """Trace a prompt; its run lies below the first served folder."""
    return await graph_live.trace(context, request)


@router.get("/{run}/{name}", response_model=GraphPage)
def graph_page(
    request: Request,
    context: Served,
    run: str,
    name: str,
    share: Share = 1.0,
    links: Annotated[int, Query(ge=0, le=200_000, description="Strongest links.")] = 3_000,
) -> Response:
    """A graph, or the part that carries a share of all influence."""
    return sealed(request, graph.graph_page(context, run, name, share, links))


@router.get("/{run}/{name}/links", response_model=NodeLinks)
def node_links(
    request: Request, context: Served, run: str, name: str, node: Node, share: Share = 1.0
) -> Response:
    """All links of one node, in and out, among the nodes that are shown."""
    return sealed(request, graph_node.node_links(context, run, name, node, share))


@router.get("/{run}/{name}/node", response_model=NodePage)
def node_page(
    request: Request, context: Served, run: str, name: str, node: Node, share: Share = 1.0
) -> Response:
    """A node: what it means, what it comes from and goes to, and whether it was tried."""
    return sealed(request, graph_node.node_page(context, run, name, node, share))


@router.get("/{run}/{name}/supernodes", response_model=NodeGroups)
def supernodes(
    request: Request,
    context: Served,
    run: str,
    name: str,
    by: Literal["decoder", "label", "activation"] = "decoder",
    share: Share = 0.8,
    least: Annotated[
        float, Query(ge=-1, le=1, description="Mean similarity of what is put together.")
    ] = 0.7,
) -> Response:
    """Features of the part that is shown, put together where they are alike."""
    found = graph_groups.node_groups(context, run, name, by, share, least)
    return sealed(request, found)


@router.get("/{run}/{name}/views")
def views(context: Served, run: str, name: str) -> GraphViews:
    """All saved views."""
    return graph_views.all_views(context, run, name)


@router.get("/{run}/{name}/views/{view}")
def view(context: Served, run: str, name: str, view: ViewName) -> GraphView:
    """A saved view."""
    return graph_views.one_view(context, run, name, view)


@router.put("/{run}/{name}/views/{view}")
def save_view(context: Served, run: str, name: str, view: ViewName, body: GraphView) -> GraphView:
    """Save a view, in the place of one of its name."""
    return graph_views.save_view(context, run, name, view, body)


@router.delete("/{run}/{name}/views/{view}")
def delete_view(context: Served, run: str, name: str, view: ViewName) -> GraphViews:
    """Forget a view; the others are answered."""
    return graph_views.delete_view(context, run, name, view)


@router.get("/{run}/{name}/tests")
def tests(context: Served, run: str, name: str) -> ClaimTests:
    """All tests of the graph's claims."""
    return graph_tests.all_tests(context, run, name)


@router.post("/{run}/{name}/tests", status_code=201)
async def test(context: Served, run: str, name: str, request: ClaimRequest) -> ClaimTest:
    """Change features in the model and keep what became of the target beside the claim."""
    return await graph_tests.try_claim(context, run, name, request)


@router.post("/{run}/{name}/scores")
async def scores(context: Served, run: str, name: str, request: ScoreRequest) -> ScorePanel:
    """An attention score as a sum over pairs of what stands at the query and at the key."""
    return await graph_live.scores(context, run, name, request)


@router.get(
    "/{run}/{name}/export",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file, to be saved."}
    },
)
def export(
    context: Served,
    run: str,
    name: str,
    form: Annotated[Literal["neuronpedia", "graphml", "graph"], Query(alias="as")] = "neuronpedia",
) -> Response:
    """The graph in the form of other tools, as a download."""
    return graph_export.export(context, run, name, form)
