"""From the pairs of a score to plain values."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.frozen import Frozen
from lmscope.circuits.head_scores import HeadScore
from lmscope.circuits.scores import CONSTANT, Against, head_pattern, score_pairs
from lmscope.circuits.targets import position_of
from lmscope.circuits.writers import Writer


def head_score(
    frozen: Frozen,
    layer: int,
    head: int,
    query: int,
    key: int,
    n_top: int = 20,
    *,
    against: Against = None,
) -> HeadScore:
    """Take a score apart and keep what is largest (he2024othello, QK circuit).

    Args:
        frozen: The run.
        layer: Of the head.
        head: Its number.
        query: Position that attends; negative ones count from the end.
        key: Position attended to.
        n_top: Pairs, and writers of each side, that are kept.
        against: As of `score_pairs`; writers that stand at a key and in what is taken away are one.

    Raises:
        DataError: There is no such head or position, the key lies after the query, or a contrast is asked
            of a model that bends its scores (softcap).
    """
    found = score_pairs(frozen, layer, head, query, key, against)
    i, j = position_of(frozen, query), position_of(frozen, key)
    queries = [_name(one, i, "query") for one in found.queries]
    keys, pairs = _merged(
        [_name(one, place, "key") for one, place in zip(found.keys, found.places, strict=True)],
        found.pairs,
    )
    flat, width = pairs.flatten(), len(keys)
    return HeadScore(
        layer=layer,
        head=head,
        query=i,
        key=j,
        against=position_of(frozen, against) if isinstance(against, int) else against,
        attention=float(head_pattern(frozen, layer, head)[i, j]),
        value=found.value,
        n_pairs=len(flat),
        pairs=tuple(
            (queries[place // width], keys[place % width], float(flat[place]))
            for place in _largest(flat, n_top)
        ),
        query_totals=_totals(queries, found.query_totals(), n_top),
        key_totals=_totals(keys, pairs.sum(0), n_top),
    )


def _merged(
    names: list[str], pairs: Float[Tensor, "query_writer key_writer"]
) -> tuple[list[str], Float[Tensor, "query_writer name"]]:
    """Columns of one name put together, as they come."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    if len(places) == len(names):
        return names, pairs
    index = torch.tensor([places[name] for name in names], device=pairs.device)
    return list(places), pairs.new_zeros(len(pairs), len(places)).index_add_(1, index, pairs)


def _totals(
    names: list[str], values: Float[Tensor, "writer"], n: int
) -> tuple[tuple[str, float], ...]:
    return tuple((names[place], float(values[place])) for place in _largest(values, n))


def _largest(values: Float[Tensor, "item"], n: int) -> list[int]:
    return values.abs().argsort(descending=True, stable=True)[:n].tolist()


def _name(writer: Writer, position: int, side: Literal["query", "key"]) -> str:
    if writer == CONSTANT:
        return f"constant:{side}@{position}"
    if writer.kind == "feature":
        return f"{writer.site}/{writer.latent}@{position}"
    if writer.site is None:
        return f"{writer.kind}@{position}"
    kind = {"bias": "constant", "output": "leaf"}.get(writer.kind, writer.kind)
    return f"{kind}:{writer.site}@{position}"
