"""Which latents of two dictionaries point the same way, and how much of that is chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lmscope.core.rng import generator
from lmscope.dictionaries.geometry.config import NULL_KINDS, GeometryOptions, NullKind
from lmscope.dictionaries.geometry.cosines import (
    BLOCK_ROWS,
    Best,
    best_in,
    best_partners,
    cosine_blocks,
)
from lmscope.dictionaries.geometry.nulls import null_rows


class OneToOne(NamedTuple):
    """Pairs in which every latent stands at most once.

    Attributes:
        method: `exact`: the sum of cosines is the largest possible. `greedy`: the nearest pair
            first, then the nearest of the remaining latents, and so on.
        a: Latents of the first dictionary.
        b: Their partners in the second.
        cosine: Of each pair.
    """

    method: Literal["exact", "greedy"]
    a: Int64[Tensor, "pair"]
    b: Int64[Tensor, "pair"]
    cosine: Float32[Tensor, "pair"]


@dataclass(frozen=True)
class Matching:
    """Two dictionaries, each latent with its nearest one on the other side.

    Attributes:
        of_a: The best partner in `b` of each latent of `a`.
        of_b: The best partner in `a` of each latent of `b`.
        null_a: By kind of null, the best cosine in `b` of each random row in the place of `a`'s.
        null_b: The same the other way round.
        one_to_one: The largest set of pairs without repetition.
    """

    of_a: Best
    of_b: Best
    null_a: Mapping[NullKind, Float32[Tensor, "null"]]
    null_b: Mapping[NullKind, Float32[Tensor, "null"]]
    one_to_one: OneToOne


def match(
    a: Float[Tensor, "latent_a width"],
    b: Float[Tensor, "latent_b width"],
    options: GeometryOptions,
    seed: int,
) -> Matching:
    """Match two dictionaries by the cosines of their rows (sharkey2022superposition; paulo2025seeds).

    Memory: as `geometry.cosines`, and for an exact one-to-one matching the whole matrix twice, at
    most `12 * exact_assignment^2` bytes.

    Args:
        a: Rows of the first dictionary.
        b: Rows of the second, of the same width.
        options: Amounts.
        seed: Of the nulls.

    Raises:
        DataError: The widths differ, a side has no rows, or a row holds NaN or infinity.
    """
    of_a, of_b = best_partners(a, b, options.block_rows)
    return Matching(
        of_a,
        of_b,
        null_best(a, b, options, seed, "a"),
        null_best(b, a, options, seed, "b"),
        one_to_one(a, b, options),
    )


def null_best(
    replaced: Float[Tensor, "latent_a width"],
    candidates: Float[Tensor, "latent_b width"],
    options: GeometryOptions,
    seed: int,
    *name: str,
) -> dict[NullKind, Float32[Tensor, "null"]]:
    """By kind of null, the best cosine that random rows in the place of a dictionary's find.

    Args:
        replaced: The dictionary whose rows are replaced.
        candidates: The true rows among which the random ones seek.
        options: How many.
        seed: The recipe's.
        name: What the draw is for; equal names give equal rows.

    Raises:
        DataError: As `match`.
    """
    found: dict[NullKind, Tensor] = {}
    for kind in NULL_KINDS:
        stream = generator(seed, "geometry", kind, *name)
        seekers = null_rows(replaced, kind, options.null_rows, stream)
        found[kind] = best_in(seekers, candidates, options.block_rows).cosine
    return found


def one_to_one(
    a: Float[Tensor, "latent_a width"],
    b: Float[Tensor, "latent_b width"],
    options: GeometryOptions,
) -> OneToOne:
    """Pair latents so that each stands in one pair at most; as many pairs as the smaller side has latents.

    Raises:
        DataError: As `match`.
    """
    if max(len(a), len(b)) <= options.exact_assignment:
        return _exact(a, b, options.block_rows)
    return greedy(a, b, options.block_rows)


def _exact(a: Tensor, b: Tensor, block_rows: int) -> OneToOne:
    whole = torch.empty(len(a), len(b))
    for first_a, first_b, cosine in cosine_blocks(a, b, block_rows):
        height, width = cosine.shape
        whole[first_a : first_a + height, first_b : first_b + width] = cosine
    rows, columns = (
        torch.from_numpy(i) for i in linear_sum_assignment(whole.numpy(), maximize=True)
    )
    return OneToOne("exact", rows, columns, whole[rows, columns])


def greedy(
    a: Float[Tensor, "latent_a width"],
    b: Float[Tensor, "latent_b width"],
    block_rows: int = BLOCK_ROWS,
) -> OneToOne:
    """The greedy one-to-one matching, without holding the matrix of cosines.

    Pairs that are each other's best among the remaining latents are exactly those that taking the
    nearest pair again and again would form; each round forms all of them and drops their latents. At
    least the nearest pair of all is such a pair, so it ends; in practice a round takes a large share.

    Raises:
        DataError: As `match`.
    """
    left_a = torch.arange(len(a), device=a.device)
    left_b = torch.arange(len(b), device=b.device)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    while len(left_a) and len(left_b):
        of_a, of_b = best_partners(a[left_a], b[left_b], block_rows)
        mine = torch.arange(len(left_a), device=a.device)
        mutual = of_b.partner[of_a.partner] == mine
        mutual[of_a.cosine.argmax()] |= not bool(mutual.any())  # in case that ties hide the nearest
        partners = of_a.partner[mutual]
        pairs.append((left_a[mutual], left_b[partners], of_a.cosine[mutual]))
        kept_b = torch.ones(len(left_b), dtype=torch.bool, device=b.device)
        kept_b[partners] = False
        left_a, left_b = left_a[~mutual], left_b[kept_b]
    rows, columns, cosine = (torch.cat(parts).cpu() for parts in zip(*pairs, strict=True))
    order = rows.argsort()
    return OneToOne("greedy", rows[order], columns[order], cosine[order])
