"""Layouts: where a family keeps its weights, as paths below one block."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Separate:
    """One matrix each for queries, keys and values, its outputs ordered (head, head_dim)."""

    query: str = "q_proj"
    key: str = "k_proj"
    value: str = "v_proj"


@dataclass(frozen=True, slots=True)
class Fused:
    """One matrix for all three.

    Attributes:
        path: Where it lies below the attention module.
        kind_first: Outputs ordered (query|key|value, head, head_dim); otherwise
            (head, query|key|value, head_dim).
    """

    path: str
    kind_first: bool


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """A block's attention.

    Attributes:
        path: The attention module, as transformers passes it to the attention function.
        inputs: Its input matrices, below `path`.
        output: Its output matrix, below the block.
        head_norms: Norms over head_dim of queries and keys, below `path`; none in most families.
    """

    path: str
    inputs: Separate | Fused
    output: str
    head_norms: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class MlpLayout:
    """A block's feed-forward layer: `out(act(gate(x)) * into(x))`, or `out(act(into(x)))`."""

    into: str
    out: str
    gate: str | None = None
