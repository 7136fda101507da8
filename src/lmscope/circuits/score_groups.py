"""Score groups: the pairs of all attention scores of a query, summed by kind of what meets (he2024othello).

`scores.score_pairs` lists every pair of one score. Here writers of a kind are put together first, so that the
scores of a query to all keys cost as much as a few, and how they differ can be told by kinds.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.frozen import Branch, Frozen
from lmscope.circuits.ledger import ROUNDINGS, LedgerError
from lmscope.circuits.scores import frozen_scores, projection
from lmscope.circuits.targets import position_of
from lmscope.core.site import Site

KINDS: Final = ("token", "position", "feature", "other", "constant")
"""What writes. `other`: what dictionaries leave over and their constants, and outputs without one. `constant`: what
does not depend on the stream."""


@dataclass(frozen=True, eq=False)
class ScoreGroups:
    """The scores that a query gives to itself and all before it, by kinds of writers.

    Attributes:
        scores: Before any softcap; of each key.
        pairs: What they are the sum of, by `KINDS` at the query and at the key.
    """

    scores: Float[Tensor, "key"]
    pairs: Float[Tensor, "query_kind key_kind key"]

    def of(self, query: str, key: str) -> Float[Tensor, "key"]:
        """The pairs of one kind at the query with one at the key."""
        return self.pairs[KINDS.index(query), KINDS.index(key)]


@torch.no_grad()
def score_groups(
    frozen: Frozen, layer: int, head: int, query: int, written: "Written | None" = None
) -> ScoreGroups:
    """Take all scores of a query apart by kinds.

    Args:
        frozen: The run.
        layer: Of the head.
        head: Its number.
        query: Position that attends; negative ones count from the end.
        written: `written_by_kind(frozen, layer)`, to make it once for all heads of a layer; absent: it is made.

    Raises:
        DataError: There is no such position.
        LedgerError: The pairs do not sum to the scores.
    """
    place = position_of(frozen, query)
    vectors = written_by_kind(frozen, layer) if written is None else written
    rows = _projected(frozen, layer, head, place, vectors)
    columns = torch.stack(
        [_projected(frozen, layer, head, key, vectors, is_key=True) for key in range(place + 1)]
    )
    scale = frozen.replacement.model.weights.attention(layer).scale
    pairs = torch.einsum("qd,jkd->qkj", rows, columns) * scale
    scores = frozen_scores(frozen, layer, head, place)
    lengths = torch.linalg.vector_norm(columns, dim=-1).sum(1)
    _check(pairs, scores, torch.linalg.vector_norm(rows, dim=-1).sum() * lengths * scale)
    return ScoreGroups(scores, pairs)


Written = Float[Tensor, "kind pos model"]


@torch.no_grad()
def written_by_kind(frozen: Frozen, layer: int) -> Written:
    """What each kind but the constant wrote to the stream that a layer's attention reads."""
    stage, _ = frozen.branch(Site("attn_out", layer))
    none = torch.zeros_like(frozen.embed)
    token, feature, other = frozen.embed, none, none
    position = none if frozen.pos_embed is None else frozen.pos_embed
    for below, branches in enumerate(frozen.stages[:stage]):
        if branches[0].is_stream:  # it stands for all that was there
            token = position = feature = other = none
        for branch in branches:
            named, rest = _of(branch, frozen.streams[below])
            feature, other = feature + named, other + rest
    return torch.stack([token, position, feature, other])


def _of(branch: Branch, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a branch's features write, and what else it does."""
    features = branch.features
    if features is None:
        if branch.leaf is not None:
            return torch.zeros_like(x), branch.leaf
        assert branch.linear is not None
        return torch.zeros_like(x), branch.linear(x)
    rest = features.error + features.stands[:, None] * features.decoder_bias
    if features.skip is not None:
        rest = rest + features.stands[:, None] * (branch.read_value(x) @ features.skip.T)
    return features.write(features.value), rest


def _projected(
    frozen: Frozen, layer: int, head: int, place: int, vectors: Tensor, *, is_key: bool = False
) -> Float[Tensor, "kind head_dim"]:
    one = projection(frozen, layer, head, place, "key" if is_key else "query")
    return torch.cat([one.linear(vectors[:, place]), one.constant()])


def _check(pairs: Tensor, scores: Tensor, sizes: Tensor) -> None:
    """Refuse pairs that miss scores by more than rounding; `sizes` are of what products are sums of."""
    missed = (pairs.double().sum((0, 1)) - scores.double()).abs()
    if not bool((missed <= ROUNDINGS * torch.finfo(pairs.dtype).eps * sizes.abs()).all()):
        raise LedgerError(
            f"Pairs by kind miss scores by up to {float(missed.max()):.6g}: they were not taken apart. Please report "
            "the model."
        )
