"""Graph: the circuit of one prompt as plain values, with a ledger that sums to its target."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import zstandard
from jaxtyping import Float32, Int32

from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.files import atomic_path

SUFFIX: Final = ".graph"
FORMAT_VERSION: Final = 1
_LARGEST: Final = 1 << 30
_NO_GRAPH: Final = (KeyError, TypeError, ValueError, IndexError, OverflowError, RecipeError)
"""What reading values raises that are none."""
NodeKind = Literal["target", "feature", "token", "position", "error", "leaf", "bias"]


class GraphNode(Config):
    """One node.

    Ids are unique in a graph and stable over prompts of equal tokens: `target`, `token@3`, `position@3`,
    `mlp_out@2/17@3` (site, latent, position), `error:mlp_out@2@3`, `leaf:attn_out@1@3`, `bias:b_O@1`.
    """

    id: str
    kind: NodeKind
    attribution: float
    """What it adds to the target, in the target's units; of the target its value."""
    site: str | None = None
    """What it writes to; of the target where it is read. Absent for logits, tokens, positions and biases."""
    layer: int | None = None
    position: int | None = None
    latent: int | None = None
    activation: float | None = None
    """Of a feature, in its dictionary's units."""
    token: int | None = None
    """Vocabulary id, of a token and of a logit."""
    against: int | None = None
    """Of the logit that is taken away from the target's."""


class GraphDictionary(Config):
    """A dictionary that a graph's features are of."""

    site: str
    """What it writes."""
    reads: str
    name: str | None = None
    content_digest: str | None = None
    """Of its folder, where it has one."""
    n_latents: int


class GraphMeta(Config):
    """What a graph says of itself; no time and no path."""

    format_version: int = FORMAT_VERSION
    prompt: str
    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    """What each token shows as; joined they are the prompt with its BOS."""
    model: str
    weights_hash: str
    n_layers: int
    dictionaries: tuple[GraphDictionary, ...]
    target: str
    """For people."""
    value: float
    """Of the target in the linear model."""
    options: dict[str, Any]
    """`ReplacementOptions` and `TraceOptions`."""
    ledger: dict[str, Any]
    """`Ledger.to_mapping()`."""
    n_reached: int
    """Features that add something, kept or not."""


class Graph:
    """Nodes and flows of one prompt.

    Attributes:
        meta: Of what it is.
        nodes: The target first, then features in forward order, tokens, positions, errors, leaves, biases.
        source, goal: Places in `nodes` of each edge's lower and upper end.
        flow: Along each edge, in the target's units; flows into a kept feature sum to its attribution,
            up to what was cut below it.
    """

    def __init__(
        self,
        meta: GraphMeta,
        nodes: tuple[GraphNode, ...],
        source: Int32[np.ndarray, "edge"],
        goal: Int32[np.ndarray, "edge"],
        flow: Float32[np.ndarray, "edge"],
    ) -> None:
        self.meta, self.nodes = meta, nodes
        self.source, self.goal, self.flow = source, goal, flow

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return f"Graph({self.meta.target} of {self.meta.prompt[:40]!r}, {len(self)} nodes, {len(self.flow)} edges)"

    @property
    def ledger(self) -> Mapping[str, Any]:
        """What the target is the sum of."""
        return self.meta.ledger

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON; edges as `[source, goal, flow]`, by place in `nodes`."""
        columns = (self.source.tolist(), self.goal.tolist(), self.flow.tolist())
        return {
            **self.meta.to_mapping(),
            "nodes": [node.to_mapping() for node in self.nodes],
            "edges": [list(edge) for edge in zip(*columns, strict=True)],
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str = "the graph") -> "Graph":
        """The graph of such values.

        Raises:
            ArtifactError: They are none, or of a newer format.
        """
        try:
            if values["format_version"] > FORMAT_VERSION:
                raise ArtifactError(
                    f"{source} has format {values['format_version']}, this lmscope reads up to {FORMAT_VERSION}: "
                    "upgrade lmscope."
                )
            own = {key: values[key] for key in values if key not in ("nodes", "edges")}
            meta = GraphMeta.from_mapping(own, source)
            nodes = tuple(GraphNode.from_mapping(node, source) for node in values["nodes"])
            ends, flow = _edge_columns(values["edges"], len(nodes))
        except _NO_GRAPH as error:
            raise ArtifactError(f"{source} is no whole graph: {error}. Trace it again.") from None
        return cls(meta, nodes, ends[0], ends[1], flow)

    def save(self, path: Path | str) -> Path:
        """Write one file: compressed JSON, its edges as three columns; equal graphs have equal bytes.

        A column is base64 of little-endian numbers of 32 bits, places as integers and flows as floats: read
        ten times faster than numbers in text.

        Raises:
            ArtifactError: It cannot be written.
        """
        path = Path(path)
        columns = {"source": self.source, "goal": self.goal, "flow": self.flow}
        values = {
            **self.meta.to_mapping(),
            "nodes": [node.to_mapping() for node in self.nodes],
            "edges": {name: _encoded(column) for name, column in columns.items()},
        }
        text = json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)
        with atomic_path(path) as part:
            part.write_bytes(zstandard.ZstdCompressor(level=9).compress(text.encode()))
        return path

    @classmethod
    def load(cls, path: Path | str) -> "Graph":
        """Read what `save` wrote.

        Raises:
            ArtifactError: It is missing, damaged, or of a newer format.
        """
        path = Path(path)
        try:
            data = zstandard.ZstdDecompressor().decompress(
                path.read_bytes(), max_output_size=_LARGEST
            )
            values = json.loads(data)
        except FileNotFoundError:
            raise ArtifactError(f"There is no graph at '{path}'.") from None
        except (OSError, ValueError, zstandard.ZstdError) as error:
            raise ArtifactError(f"'{path}' is no whole graph: {error}. Trace it again.") from None
        if not isinstance(values, dict):
            raise ArtifactError(f"'{path}' is no whole graph: it holds no table. Trace it again.")
        return cls.from_mapping(values, f"'{path}'")


def _edge_columns(
    edges: Any, n_nodes: int
) -> tuple[Int32[np.ndarray, "2 edge"], Float32[np.ndarray, "edge"]]:
    if isinstance(edges, Mapping):
        source, goal, flow = (
            np.frombuffer(base64.b64decode(edges[name], validate=True), dtype)
            for name, dtype in (("source", "<i4"), ("goal", "<i4"), ("flow", "<f4"))
        )
        if not len(source) == len(goal) == len(flow):
            raise ValueError("its columns of edges differ in length")
        ends = np.stack([source, goal])
    else:
        # One array, since lists of three are slow to walk; float64 holds every place exactly.
        table = np.array(edges, dtype=np.float64) if edges else np.empty((0, 3))
        if table.shape[1:] != (3,):
            raise ValueError("an edge is not source, goal and flow")
        ends, flow = table[:, :2].T, table[:, 2]
    if ends.size and not (ends.min() >= 0 and ends.max() < n_nodes):
        raise ValueError("an edge ends at a node that is not there")
    if not np.isfinite(flow).all():
        raise ValueError("the flow of an edge is no finite number")
    return np.ascontiguousarray(ends.astype(np.int32)), flow.astype(np.float32)


def _encoded(column: np.ndarray) -> str:
    return base64.b64encode(column.astype(column.dtype.newbyteorder("<")).tobytes()).decode()
