"""Graphs: the circuits of prompts, their parts and figures, and what people make of them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from lmscope.server.schemas.common import Answer, Problem, Provenance
from lmscope.server.schemas.feature import LabelSource, Passage, WeightedToken

MAX_GROUPS = 200
MAX_MEMBERS = 5_000
Kind = Literal["target", "feature", "token", "position", "error", "leaf", "bias"]
NodeId = Annotated[str, Field(min_length=1, max_length=120)]
"""As the graph file has it: `token@3`, `mlp_out@2/17@3` (site, latent, position), `error:mlp_out@2@3`."""
Place = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""Of a node in the whole graph: it stays the same whatever share is shown."""


class GraphLine(Answer):
    """A graph in a line."""

    run: str
    """Id of the run that traced it."""
    name: str
    """Of its file; run and name stand in addresses."""
    prompt: str
    target: str
    """For people."""
    model: str | None
    value: float
    """Of the target in the linear model."""
    recovered: float | None
    """Share of the target that kept paths bring from tokens and positions."""
    n_nodes: int
    n_edges: int
    n_tokens: int
    created: str
    """When its run was made: ISO 8601, UTC."""


class Graphs(Answer):
    """All graphs, those of the newest run first."""

    graphs: list[GraphLine]
    problems: list[Problem]


class GraphToken(Answer):
    """A token of the prompt, BOS included."""

    id: int
    text: str
    """Joined they are the prompt with its BOS."""


class GraphDictionaryLine(Answer):
    """A dictionary that features are of."""

    site: str
    """What it writes."""
    reads: str
    name: str | None
    n_latents: int
    id: str | None
    """Of its page; null where it is not served."""


class GraphMeta(Answer):
    """What a graph says of itself."""

    run: str
    name: str
    prompt: str
    tokens: list[GraphToken]
    model: str
    weights_hash: str
    n_layers: int
    n_rows: int
    """Rows of the drawing: 0 for tokens, two for each layer (attention, feed-forward), one for logits."""
    target: str
    target_place: int
    """Of the target's node in the whole graph."""
    value: float
    options: dict[str, Any]
    """`mlp`, `dtype`, `threshold`, `relative`, `rule`."""
    dictionaries: list[GraphDictionaryLine]
    created: str


class PredictedToken(Answer):
    """A token that the model itself holds probable after the target's position."""

    token: int
    text: str
    probability: float
    logit: float


class SweepLine(Answer):
    """What is left of the circuit at a threshold."""

    threshold: float
    n_features: int
    recovered: float | None
    cut: float
    errors: float
    residual: float


class FaithfulnessLine(Answer):
    """What is left of the target when features outside the circuit are silenced."""

    where: Literal["linear", "real"]
    """In the linear model, or in the model itself."""
    errors: Literal["kept", "removed"]
    baseline: str
    """What silenced features become: `zero`, `mean`, `counterfactual`."""
    full: float
    empty: float
    kept: float
    faithfulness: float | None
    completeness: float | None


class GraphRecord(Answer):
    """What was found beside the graph."""

    model_value: float | None
    """Of the target in the model itself."""
    probability: float | None
    """Of the target's token."""
    predictions: list[PredictedToken]
    position: int
    """Where the target stands; predictions are of the token after it."""
    recovered: float | None
    n_features: int
    """Kept."""
    n_reached: int
    """That add something, kept or not."""
    why_not: dict[str, Any] | None
    """Of a feature that does not fire, as target: what keeps it below its threshold."""
    sweep: list[SweepLine]
    faithfulness: list[FaithfulnessLine]


class LedgerPart(Answer):
    """What one kind of thing adds to the target."""

    name: Literal["tokens", "positions", "errors", "leaves", "biases", "cut"]
    meaning: str
    """In one sentence."""
    value: float
    inner: list[tuple[str, float]]
    """What it is made of, by site or constant, largest first; empty where nothing is known of it."""


class GraphLedger(Answer):
    """What the target is the sum of: the parts in the order of drawing, and what rounding left."""

    target: float
    parts: list[LedgerPart]
    residual: float
    tolerance: float
    """The most that rounding may leave."""


class NodeColumns(Answer):
    """Nodes, the target first: columns of equal length. Constants are in the ledger only."""

    place: list[int]
    """In the whole graph."""
    id: list[str]
    kind: list[Kind]
    row: list[int]
    """Half layer: 0 tokens and positions, 2l+1 attention of layer l, 2l+2 its feed-forward layer, the last one logits."""
    position: list[int | None]
    latent: list[int | None]
    site: list[str | None]
    attribution: list[float]
    """What it adds to the target; of the target its value."""
    activation: list[float | None]
    influence: list[float]
    """Share of all influence that lies in it and in all nodes above it, 0 to 1: small ones matter most."""
    label: list[str | None]
    label_known: list[bool]
    """Whether the label reached its threshold; others are guesses."""
    dictionary: list[str | None]
    """Id for the address of the feature's page."""
    tests: list[int]
    """How many tests are kept of it."""


class LinkColumns(Answer):
    """Links, strongest first: columns of equal length."""

    source: list[int]
    """Lower end: index into `nodes` of the same answer."""
    goal: list[int]
    """Upper end, likewise."""
    flow: list[float]
    """In the target's units."""


class ShareSteps(Answer):
    """What the slider shows at some places: columns of equal length."""

    share: list[float]
    n_nodes: list[int]


class GraphPage(Answer):
    """A graph, or the part that carries a share of all influence."""

    meta: GraphMeta
    record: GraphRecord
    ledger: GraphLedger
    nodes: NodeColumns
    links: LinkColumns
    n_nodes_all: int
    """In the whole graph, constants left out."""
    n_links_all: int
    n_links_shown: int
    """Between the nodes that are shown, sent or not."""
    share: float
    shares: ShareSteps
    n_tests: int
    """Kept of all nodes and links."""
    views: list[str]
    """Names of the saved views."""
    read_only: bool
    """Whether views, tests and traces are refused."""
    live: bool
    """Whether its dictionaries are here, so that tests and scores can be asked for."""
    player: str | None = None
    """Run of the player of Othello whose game the prompt is; its board can be looked at there."""
    provenance: Provenance


class NodeLinks(Answer):
    """All links of one node among the nodes that are shown, strongest first."""

    node: int
    source: list[int]
    """Lower end: place in the whole graph (unlike in the page)."""
    goal: list[int]
    flow: list[float]


class NodeEnd(Answer):
    """The other end of a link."""

    place: int
    id: str
    kind: Kind
    label: str | None
    label_known: bool
    flow: float


class NodeFeature(Answer):
    """What the atlas of a feature's dictionary knows."""

    dictionary: str
    latent: int
    density: float
    max: float
    sources: list[LabelSource]
    """Labels with their evidence, newest first; the first one decides."""
    top_logits: list[WeightedToken]
    """Tokens that it raises most."""
    bottom_logits: list[WeightedToken]
    peak_tokens: list[WeightedToken]
    passages: list[Passage]
    """A few of its strongest examples."""


class ClaimTest(Answer):
    """A claim of the graph, and what became of the target when it was tried."""

    id: str
    nodes: list[str]
    """What was changed."""
    edge: tuple[str, str] | None
    """The link that was tried; its lower end was changed, along this link alone."""
    how: Literal["ablate", "scale", "set"]
    value: float | None
    claimed: float
    """What the graph says that they add: the sum of attributions, or the link's flow."""
    expected: float
    """By how much the target should change then."""
    linear: float
    """By how much it changes in the linear model, through all that lies between."""
    real: float
    """By how much it changes in the model itself; errors kept."""
    before: float
    """What was read in the model: the target, or the link's upper end in its own units."""
    after: float
    reads: str
    """What was read, for people."""
    share: float | None
    """`real` of `expected`: 1 where the model does what the graph says; null where nothing was expected."""
    elapsed_s: float
    created: str


class ClaimTests(Answer):
    """All tests of a graph, newest first."""

    tests: list[ClaimTest]


class ClaimRequest(Answer):
    """What to try: some features, or one link."""

    nodes: Annotated[list[NodeId], Field(max_length=64)] = []
    """Ids of features."""
    edge: tuple[NodeId, NodeId] | None = None
    """Ids of a feature and of a feature or the target above it."""
    how: Literal["ablate", "scale", "set"] = "ablate"
    value: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    """For `scale` and `set`."""


class NodePage(Answer):
    """A node."""

    place: int
    id: str
    kind: Kind
    site: str | None
    layer: int | None
    latent: int | None
    position: int | None
    token: GraphToken | None
    """Of a token, and of a target that is a logit."""
    attribution: float
    activation: float | None
    influence: float
    label: str | None
    label_known: bool
    dictionary: str | None
    """Id for the address of the feature's page."""
    feature: NodeFeature | None
    """Null for all but features with an atlas."""
    incoming: list[NodeEnd]
    """Strongest first, 50 at most."""
    outgoing: list[NodeEnd]
    n_incoming: int
    n_outgoing: int
    tests: list[ClaimTest]
    """Of it or a link that ends at it; a claim without one is untested."""


class NodeGroup(Answer):
    """Features that go together."""

    name: str
    places: list[int]
    ids: list[str]
    attribution: float
    """Of all together; a member that works through another counts in both."""
    similarity: float
    """Mean over pairs; 1 where they share a label."""


class NodeGroups(Answer):
    """Automatic groups, those that add most first."""

    by: Literal["decoder", "label", "activation"]
    meaning: str
    """How they were found, in one sentence."""
    groups: list[NodeGroup]
    n_left_out: int
    """Features of which nothing was known to compare."""


class ComparedColumns(Answer):
    """Nodes of either graph, largest difference first: columns of equal length."""

    key: list[str]
    kind: list[Kind]
    site: list[str | None]
    latent: list[int | None]
    label: list[str | None]
    dictionary: list[str | None]
    a: list[float | None]
    """What it adds to the target of the first; null where it is not there."""
    b: list[float | None]
    ids_a: list[list[str]]
    """Ids of the nodes that it stands for in the first graph."""
    ids_b: list[list[str]]


class ComparedLinks(Answer):
    """Links of either graph, largest difference first: columns of equal length."""

    source: list[int]
    """Index into `nodes`; -1 for the target."""
    goal: list[int]
    a: list[float | None]
    b: list[float | None]


class GraphsCompared(Answer):
    """Two graphs side by side."""

    a: GraphLine
    b: GraphLine
    match: Literal["latent", "position", "from_end"]
    n_shared: int
    n_only_a: int
    n_only_b: int
    feature_overlap: float | None
    """Features of both among features of either."""
    weighted_overlap: float | None
    """The same by attribution."""
    nodes: ComparedColumns
    links: ComparedLinks
    n_links_all: int
    provenance: Provenance


class SavedGroup(Answer):
    """A group that a person made."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    ids: Annotated[list[NodeId], Field(max_length=MAX_MEMBERS)]


class GraphView(Answer):
    """How a person arranged a graph."""

    pinned: Annotated[list[NodeId], Field(max_length=MAX_MEMBERS)] = []
    supernodes: Annotated[list[SavedGroup], Field(max_length=MAX_GROUPS)] = []
    share: Annotated[float, Field(ge=0, le=1)] = 0.8
    focus: NodeId | None = None
    moved: Annotated[
        dict[
            NodeId,
            tuple[
                Annotated[float, Field(ge=-1e6, le=1e6)], Annotated[float, Field(ge=-1e6, le=1e6)]
            ],
        ],
        Field(max_length=MAX_MEMBERS),
    ] = {}
    """Where nodes were put, by id: x and y as the page counts them."""


class GraphViews(Answer):
    """Saved views by name."""

    views: dict[str, GraphView]
