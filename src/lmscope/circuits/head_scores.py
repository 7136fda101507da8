"""An attention score taken apart, as plain values: its largest pairs, and what each side adds."""

from typing import Any, Literal

from lmscope.core.config import Config

PairValue = tuple[str, str, float]
Total = tuple[str, float]


class HeadScore(Config):
    """What one attention score is the sum of.

    Writers are named as nodes of graphs are: `token@3`, `position@3`, `mlp_out@2/17@3`, `error:mlp_out@2@3`;
    and beyond these `leaf:attn_out@1@3` (the whole output of a layer without a dictionary),
    `constant:mlp_out@2@3` (what a dictionary writes everywhere), `skip:mlp_out@2@3` (its linear path) and
    `constant:query@3`, `constant:key@2` (biases of the head).
    """

    layer: int
    head: int
    query: int
    """Position that attends."""
    key: int
    """Position attended to."""
    against: int | Literal["mean"] | None = None
    """Another position, or the mean over all, whose score is taken away."""
    value: float
    """Of the score or difference, before any softcap; all pairs sum to it."""
    attention: float | None = None
    """What the head pays to the key in the model, from 0 to 1; absent where nobody looked."""
    n_pairs: int
    """How many there are, shown or not."""
    pairs: tuple[PairValue, ...]
    """Writer at the query, writer at the key, and what they add; largest first, raising or lowering."""
    query_totals: tuple[Total, ...]
    """What writers at the query add with all keys; largest first."""
    key_totals: tuple[Total, ...]
    """What writers at the key add with all queries; largest first."""

    @property
    def rest(self) -> float:
        """What the pairs that are not shown add."""
        return self.value - sum(value for _, _, value in self.pairs)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, with the rest."""
        return {**super().to_mapping(), "rest": self.rest}
