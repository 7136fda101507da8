"""Attention scores as sums over pairs: what at the query meets what at the key (he2024othello, QK circuit).

A score is bilinear: `q . k * scale`, with q and k linear in the stream once norms are frozen. So it is a
sum over pairs of writers, with one more row and column for the constants. Nothing is differentiated.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.frozen import Frozen
from lmscope.circuits.frozen_norm import Biases, BiasKey, FrozenNorm
from lmscope.circuits.ledger import ROUNDINGS, LedgerError
from lmscope.circuits.targets import Start, position_of
from lmscope.circuits.writers import Writer, writers
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.models.rotation import Rotation
from lmscope.models.weights_view import AttentionWeights, NormWeights

CONSTANT: Final = Writer("constant")
"""The row of what does not depend on the stream: the norm's bias and that of queries or keys."""
Side = Literal["query", "key", "both"]
Against = int | Literal["mean"] | None
"""Another key, or the mean over keys, whose score is taken away."""
_End = Literal["query", "key"]


@dataclass(frozen=True, eq=False)
class Projection:
    """Queries, or keys, of one head at one position, as a linear map of the stream there.

    Attributes:
        norm: Before attention; at this position only.
        matrix: From the normalised stream with its gain.
        bias: Of queries or keys.
        head_norm: Scale and gain of a norm over the head's coordinates, frozen; None in most families.
        rotation: Of this position; None in models that do not turn.
    """

    norm: FrozenNorm
    matrix: Float[Tensor, "model head_dim"]
    bias: Float[Tensor, "head_dim"] | None
    head_norm: Float[Tensor, "head_dim"] | None
    rotation: Rotation | None

    def linear(self, vectors: Float[Tensor, "writer model"]) -> Float[Tensor, "writer head_dim"]:
        """What each writer adds to the query or key."""
        normalised = self.norm.normalised(vectors[:, None])[:, 0] * self.norm.gain
        return self._after(normalised @ self.matrix)

    def constant(self) -> Float[Tensor, "1 head_dim"]:
        """What is there without any writer."""
        found = self.matrix.new_zeros(1, self.matrix.shape[1])
        if self.norm.bias is not None:
            found = found + self.norm.bias @ self.matrix
        if self.bias is not None:
            found = found + self.bias
        return self._after(found)

    def back(self, read: Float[Tensor, "head_dim"]) -> Float[Tensor, "model"]:
        """A vector that reads the query or key, as one that reads the stream."""
        turned = read[None]
        if self.rotation is not None:
            turned = self.rotation.back(turned)
        if self.head_norm is not None:
            turned = turned * self.head_norm
        below = turned @ self.matrix.T * self.norm.gain
        return self.norm.back_normalised(below[None])[0, 0]

    def _after(self, x: Tensor) -> Tensor:
        if self.head_norm is not None:
            x = x * self.head_norm
        return x if self.rotation is None else self.rotation(x)


@dataclass(frozen=True, eq=False)
class ScorePairs:
    """One attention score, or a contrast of scores, by pairs.

    Attributes:
        value: What the pairs sum to: the score before any softcap, or a difference of scores.
        queries: Rows; the last one is the constant.
        keys: Columns; the last one is the constant. In a contrast, of the key and of what it is against.
        places: Position that each column stands at.
        pairs: Contribution of each.
        log_ratio: For a contrast with another key: log of the ratio of the attention paid to both.
    """

    value: float
    queries: tuple[Writer, ...]
    keys: tuple[Writer, ...]
    places: tuple[int, ...]
    pairs: Float[Tensor, "query_writer key_writer"]
    log_ratio: float | None = None

    def query_totals(self) -> Float[Tensor, "query_writer"]:
        """Of each writer at the query, with all keys; they sum to the value."""
        return self.pairs.sum(1)

    def key_totals(self) -> Float[Tensor, "key_writer"]:
        """Of each writer at the key, with all queries; they sum to the value."""
        return self.pairs.sum(0)

    def top(self, n: int = 20) -> list[tuple[Writer, Writer, float]]:
        """The pairs of largest size, raising or lowering."""
        flat = self.pairs.flatten()
        order = flat.abs().argsort(descending=True, stable=True)[:n].tolist()
        width = self.pairs.shape[1]
        return [(self.queries[i // width], self.keys[i % width], float(flat[i])) for i in order]


def score_pairs(
    frozen: Frozen,
    layer: int,
    head: int,
    query: int,
    key: int,
    against: Against = None,
) -> ScorePairs:
    """Take a score apart.

    Args:
        frozen: The run.
        layer: Of the head.
        head: Its number.
        query: Position that attends; negative ones count from the end.
        key: Position attended to.
        against: Another position: the pairs then sum to `log(A_key / A_against)`, exactly and through the
            softmax. `mean`: the score less the mean score under the pattern itself.

    Raises:
        DataError: There is no such head or position, the key lies after the query, or a contrast is asked
            of a model that bends its scores (softcap).
    """
    i, j = position_of(frozen, query), position_of(frozen, key)
    weights = _head_of(frozen, layer, head, i, j)
    q = projection(frozen, layer, head, i, "query")
    names, rows = _parts(frozen, layer, i, q)
    keys, columns = _parts(frozen, layer, j, projection(frozen, layer, head, j, "key"))
    others = _others(frozen, layer, head, i, against)
    places = [j] * len(keys)
    for place, share in others.items():
        more, vectors = _parts(frozen, layer, place, projection(frozen, layer, head, place, "key"))
        keys += more
        places += [place] * len(more)
        columns = torch.cat([columns, -share * vectors])
    pairs = rows @ columns.T * weights.scale
    scores = frozen_scores(frozen, layer, head, i)
    value = float(scores[j] - sum(share * float(scores[p]) for p, share in others.items()))
    _check(pairs, value)
    ratio = value if isinstance(against, int) else None
    return ScorePairs(value, tuple(names), tuple(keys), tuple(places), pairs, ratio)


def frozen_scores(frozen: Frozen, layer: int, head: int, query: int) -> Float[Tensor, "key"]:
    """The scores that a query gives to itself and all before it, scaled, before any softcap."""
    weights = frozen.replacement.model.weights.attention(layer)
    stage, _ = frozen.branch(Site("attn_out", layer))
    x = frozen.streams[stage]
    q = _value(projection(frozen, layer, head, query, "query"), x[query])
    keys = [
        _value(projection(frozen, layer, head, place, "key"), x[place])
        for place in range(query + 1)
    ]
    return torch.stack(keys) @ q * weights.scale


@dataclass(frozen=True)
class ScoreTarget:
    """An attention score before any softcap, as something to trace.

    Attributes:
        layer, head: Which head.
        query, key: Positions; negative ones count from the end.
        side: `query`: the key is held, so that what stands at the query is traced; `key`: the other way
            round; `both`: half of each. Each sums to the score; tracing both whole would count it twice.
        against: As of `score_pairs`: what is traced is then the score less that of another key, or less
            the mean score.
    """

    layer: int
    head: int
    query: int
    key: int
    side: Side = "both"
    against: Against = None

    def start(self, frozen: Frozen) -> Start:
        """As of `targets.Target`."""
        i, j = position_of(frozen, self.query), position_of(frozen, self.key)
        weights = _head_of(frozen, self.layer, self.head, i, j)
        stage, _ = frozen.branch(Site("attn_out", self.layer))
        x = frozen.streams[stage]
        others = _others(frozen, self.layer, self.head, i, self.against)
        if list(others) == [j]:
            raise DataError(
                "A score less itself is 0 everywhere: give another key to compare with."
            )
        ends: list[tuple[_End, int, float]] = [("query", i, 1.0), ("key", j, 1.0)]
        for place, share in others.items():
            ends.append(("key", place, -share))
        parts = [
            (side, place, weight, projection(frozen, self.layer, self.head, place, side))
            for side, place, weight in ends
        ]
        values = {side: torch.zeros_like(parts[0][3].constant()[0]) for side in ("query", "key")}
        for side, place, weight, one in parts:
            values[side] += weight * _value(one, x[place])
        read, biases = torch.zeros_like(x)[None], Biases()
        shares = {"query": 0.5, "key": 0.5} if self.side == "both" else {self.side: 1.0}
        for side, place, weight, one in parts:
            if side not in shares:
                continue
            other = values["key" if side == "query" else "query"]
            held = other * (weights.scale * shares[side] * weight)
            read[0, place] += one.back(held)
            biases.add(BiasKey(self.layer, f"b_{side[0].upper()}"), (one.constant() @ held))
        value = float(values["query"] @ values["key"] * weights.scale)
        name = (
            f"score of head {self.layer}.{self.head}, {i} to {j}{self._less(frozen)} ({self.side})"
        )
        site = Site("scores", self.layer)
        return Start(name, value, stage, read, biases, position=i, site=site)

    def _less(self, frozen: Frozen) -> str:
        match self.against:
            case None:
                return ""
            case int(place):
                return f" less to {position_of(frozen, place)}"
            case mean:
                return f" less the {mean}"


def projection(
    frozen: Frozen, layer: int, head: int, position: int, side: Literal["query", "key"]
) -> Projection:
    """How a head makes its query or key at a position."""
    weights = frozen.replacement.model.weights.attention(layer)
    stage, branch = frozen.branch(Site("attn_out", layer))
    assert branch.norm is not None
    like = frozen.embed
    norm = replace(branch.norm, scale=branch.norm.scale[position : position + 1])
    number = head if side == "query" else weights.kv_head(head)
    matrices = weights.W_Q if side == "query" else weights.W_K
    biases = weights.b_Q if side == "query" else weights.b_K
    head_norm = weights.q_norm if side == "query" else weights.k_norm
    rotation = frozen.rotations.get(layer)
    found = Projection(
        norm,
        matrices[number].detach().to(like),
        None if biases is None else biases[number].detach().to(like),
        None,
        None if rotation is None else rotation.at(position),
    )
    if head_norm is None:
        return found
    bare = replace(found, rotation=None)
    return replace(
        found, head_norm=_frozen_head_norm(head_norm, bare, frozen.streams[stage][position])
    )


def _frozen_head_norm(norm: NormWeights, bare: Projection, x: Tensor) -> Tensor:
    value = _value(bare, x)
    scale = torch.rsqrt(value.pow(2).mean() + norm.eps)
    return norm.gain.detach().to(value) * scale


def _value(one: Projection, x: Float[Tensor, "model"]) -> Float[Tensor, "head_dim"]:
    return (one.linear(x[None]) + one.constant())[0]


def _parts(
    frozen: Frozen, layer: int, position: int, one: Projection
) -> tuple[list[Writer], Tensor]:
    stage, _ = frozen.branch(Site("attn_out", layer))
    found = writers(frozen, stage, position)
    return [*found.names, CONSTANT], torch.cat([one.linear(found.vectors), one.constant()])


def _others(
    frozen: Frozen, layer: int, head: int, query: int, against: Against
) -> dict[int, float]:
    """Positions that a contrast takes away, with their shares."""
    if against is None:
        return {}
    model = frozen.replacement.model
    if model.weights.attention(layer).softcap is not None:
        raise DataError(
            f"{model.name} bends its scores with a softcap, so differences of scores are no log ratios of "
            "attention: ask for one score."
        )
    if against == "mean":
        scores = frozen_scores(frozen, layer, head, query)
        pattern = head_pattern(frozen, layer, head)[query]
        return {place: float(pattern[place]) for place in range(len(scores)) if pattern[place] > 0}
    place = position_of(frozen, against)
    if place > query:
        raise DataError(f"Position {place} lies after the query {query}, which cannot see it.")
    return {place: 1.0}


def head_pattern(frozen: Frozen, layer: int, head: int) -> Float[Tensor, "query key"]:
    """Where a head looks: shares of attention, as they were in the model itself."""
    _, branch = frozen.branch(Site("attn_out", layer))
    pattern = getattr(branch.linear, "pattern", None)
    assert isinstance(pattern, Tensor)
    return pattern[head]


def _head_of(frozen: Frozen, layer: int, head: int, query: int, key: int) -> AttentionWeights:
    model = frozen.replacement.model
    if not (0 <= layer < model.n_layers and 0 <= head < model.n_heads):
        raise DataError(
            f"There is no head {layer}.{head}: {model.name} has {model.n_layers} layers of {model.n_heads} heads, "
            "both counted from 0."
        )
    if key > query:
        raise DataError(f"Position {query} cannot attend to {key}, which lies after it.")
    return model.weights.attention(layer)


def _check(pairs: Tensor, value: float) -> None:
    missed = abs(float(pairs.double().sum()) - value)
    if not missed <= ROUNDINGS * torch.finfo(pairs.dtype).eps * (
        float(pairs.abs().sum()) + abs(value)
    ):
        raise LedgerError(
            f"The pairs of a score sum to {float(pairs.sum()):.6g} instead of {value:.6g}: it was not taken apart. "
            "Please report the model."
        )
