"""An attention score as a sum over pairs, cut down to what a page shows."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.circuits.scores import CONSTANT, frozen_scores, head_pattern, score_pairs
from lmscope.circuits.writers import Writer
from lmscope.server.live.circuits import Circuits

MAX_SIDE: Final = 40
MAX_PAIRS: Final = 100
_KINDS: Final = {"bias": "constant", "output": "leaf"}


def score_answer(circuits: Circuits, payload: Mapping[str, Any]) -> dict[str, Any]:
    """A score, or a contrast of scores, by pairs.

    Args:
        circuits: The model and the dictionaries.
        payload: As of `Circuits.open`, with `layer`, `head`, `query`, `key` and `against`.

    Raises:
        LmscopeError: There is no such head, the key lies after the query, or no contrast can be had.
    """
    began = time.perf_counter()
    opened = circuits.open(payload)
    frozen = opened.frozen
    layer, head, query = payload["layer"], payload["head"], payload["query"]
    with torch.no_grad():
        found = score_pairs(frozen, layer, head, query, payload["key"], payload["against"])
        pairs = found.pairs.double()
        scores = frozen_scores(frozen, layer, head, query)
        pattern = head_pattern(frozen, layer, head)[query, : query + 1]
    queries = [_side(one, query, "query") for one in found.queries]
    keys = [_side(one, at, "key") for one, at in zip(found.keys, found.places, strict=True)]
    rows = _chosen(pairs.sum(1), found.queries)
    columns = _chosen(pairs.sum(0), found.keys)
    shown = pairs[rows][:, columns]
    model = frozen.replacement.model
    return {
        "value": found.value,
        "log_ratio": found.log_ratio,
        "queries": _totalled(queries, rows, pairs.sum(1)),
        "keys": _totalled(keys, columns, pairs.sum(0)),
        "matrix": _with_rest(pairs, rows, columns).tolist(),
        "pairs": _strongest(shown),
        "n_queries": len(queries),
        "n_keys": len(keys),
        "residual": found.value - float(pairs.sum()),
        "attention": pattern.tolist(),
        "scores": scores.tolist(),
        "n_heads": model.n_heads,
        "n_layers": model.n_layers,
        "elapsed_s": time.perf_counter() - began,
    }


def _chosen(totals: Float[Tensor, "writer"], names: Sequence[Writer]) -> Int[Tensor, "chosen"]:
    """The largest, with the constants that do not depend on the stream, largest first."""
    wanted = totals.abs().clone()
    wanted[[one == CONSTANT for one in names]] = torch.inf
    order = wanted.argsort(descending=True, stable=True)[:MAX_SIDE]
    return order[totals.abs()[order].argsort(descending=True, stable=True)]


def _with_rest(
    pairs: Float[Tensor, "query key"], rows: Int[Tensor, "row"], columns: Int[Tensor, "column"]
) -> Float[Tensor, "row+1 column+1"]:
    """The chosen ones, and the sums of all others behind them."""
    part = torch.cat([pairs[rows], (pairs.sum(0) - pairs[rows].sum(0))[None]])
    return torch.cat([part[:, columns], (part.sum(1) - part[:, columns].sum(1))[:, None]], 1)


def _strongest(shown: Float[Tensor, "row column"]) -> list[dict[str, Any]]:
    flat, width = shown.flatten(), shown.shape[1]
    order = flat.abs().argsort(descending=True, stable=True)[:MAX_PAIRS].tolist()
    return [{"query": i // width, "key": i % width, "value": float(flat[i])} for i in order]


def _totalled(
    sides: Sequence[Mapping[str, Any]],
    order: Int[Tensor, "chosen"],
    totals: Float[Tensor, "writer"],
) -> list[dict[str, Any]]:
    return [{**sides[i], "total": float(totals[i])} for i in order.tolist()]


def _side(writer: Writer, position: int, side: str) -> dict[str, Any]:
    """A writer as a node of the graph is called."""
    site = None if writer.site is None else str(writer.site)
    kind = _KINDS.get(writer.kind, writer.kind)
    if writer == CONSTANT:
        id_ = f"constant:{side}@{position}"
    elif writer.kind == "feature":
        id_ = f"{site}/{writer.latent}@{position}"
    else:
        id_ = f"{kind}@{position}" if site is None else f"{kind}:{site}@{position}"
    return {"id": id_, "kind": kind, "site": site, "latent": writer.latent, "position": position}
