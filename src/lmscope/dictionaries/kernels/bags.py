"""Weighted bags and pair products: what Triton computes of the k-sparse training step.

| product of the step | function | a bag is |
|---|---|---|
| reconstruction, gradient of the input | `weighted_bags` | the rows of a token's latents |
| gradient of `W_dec`, `W_enc`, `b_enc` | `weighted_bags` | the rows of a latent's tokens |
| gradient of the kept values | `pair_products` | |

Sums are taken in float32 and rounded once to the dtype of the rows. There are no atomic additions:
equal inputs give equal bits. On a CPU the kernels run in Triton's interpreter only.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.core.errors import RecipeError
from lmscope.dictionaries.kernels.choice import VARIABLE, require_triton

_GROUP = 16
"""Pairs a program holds at a time."""

_BLOCK = 256
"""Columns a program holds at most."""

# Each launch says whether products and sums may fuse: Triton's default is about to change.


def weighted_bags(
    index: Int[Tensor, "pair"],
    rows: Float[Tensor, "row width"],
    first: Int[Tensor, "bag"],
    weights: Float[Tensor, "pair"],
    chunk: int = 128,
) -> Float[Tensor, "bag width"]:
    """Sums of `rows[index] * weights`, one for each stretch of pairs that begins in `first`.

    Bags are uneven by nature: a few latents fire on every token and most on a handful. So a bag is
    cut into chunks that programs add up side by side, and a second pass adds a cut bag's parts in
    their order. Besides the result this takes at most `8 * n_pairs / chunk` bytes a column, for the
    parts, and about 100 bytes a bag; nothing waits for the device.

    Args:
        index: Row of each pair; every one of them in range (it is not checked).
        rows: What is summed.
        first: Where each bag begins, ascending, the first at 0; the last ends with the pairs, and
            bags may be empty.
        weights: Factor of each pair.
        chunk: Pairs that one program adds up at most.

    Raises:
        RecipeError: triton is not installed, or the rows are float64.
    """
    n_bags, n_pairs, width = len(first), len(index), rows.shape[1]
    if not (n_bags and n_pairs and width):
        return rows.new_zeros(n_bags, width)
    programs = _programs()
    rows = _row_major(_narrow(rows))
    plan = _plan(first, n_pairs, chunk)
    output = rows.new_empty(n_bags, width)
    partial = rows.new_empty(len(plan.slot_bag), width, dtype=torch.float32)
    block = _block(width)
    n_blocks = -(-width // block)
    with torch.cuda.device_of(rows):  # Triton would launch on the current device
        programs.add_chunks[len(plan.bag), n_blocks](
            *(index.contiguous(), weights.contiguous(), rows),
            *(plan.begin, plan.end, plan.bag, plan.slot),
            *(output, partial, n_bags, width, rows.stride(0)),
            GROUP=_GROUP,
            BLOCK=block,
            enable_fp_fusion=True,
        )
        if len(partial):
            programs.add_slots[len(partial), n_blocks](
                *(partial, plan.slot_bag, plan.slot_first, plan.slot_stop),
                *(output, n_bags, width),
                BLOCK=block,
                enable_fp_fusion=True,
            )
    return output


def pair_products(
    gradient: Float[Tensor, "token width"],
    rows: Float[Tensor, "latent width"],
    token: Int[Tensor, "pair"],
    latent: Int[Tensor, "pair"],
) -> Float[Tensor, "pair"]:
    """The dot product of `gradient[token]` and `rows[latent]` of every pair, in gradient's dtype.

    Args:
        gradient: Left rows.
        rows: Right rows.
        token: Left row of each pair; in range (it is not checked).
        latent: Right row of each pair; in range.

    Raises:
        RecipeError: triton is not installed, or the rows are float64.
    """
    n_pairs, width = len(token), rows.shape[1]
    if not (n_pairs and width):
        return gradient.new_zeros(n_pairs)
    programs = _programs()
    gradient, rows = _row_major(_narrow(gradient)), _row_major(_narrow(rows))
    output = gradient.new_empty(n_pairs)
    with torch.cuda.device_of(rows):  # Triton would launch on the current device
        programs.multiply_pairs[(-(-n_pairs // _GROUP),)](
            *(gradient, rows, token.contiguous(), latent.contiguous(), output),
            *(n_pairs, width, gradient.stride(0), rows.stride(0)),
            GROUP=_GROUP,
            BLOCK=_block(width),
            enable_fp_fusion=True,
        )
    return output


def _programs() -> Any:
    """The module of the kernels, imported when one is first needed."""
    require_triton()
    from lmscope.dictionaries.kernels import programs

    return programs


class _Plan(NamedTuple):
    """Chunks of pairs, and the slots that parts of divided bags wait in.

    Both lists are as long as they can get, which the host knows without asking the device; entries
    past the last have `bag` (or `slot_bag`) equal to the number of bags.

    Attributes:
        begin, end: Pairs of each chunk.
        bag: Its bag.
        slot: Where its sum waits; -1 when the chunk is the whole bag.
        slot_bag: The bag of each slot.
        slot_first, slot_stop: Each bag's slots.
    """

    begin: Tensor
    end: Tensor
    bag: Tensor
    slot: Tensor
    slot_bag: Tensor
    slot_first: Tensor
    slot_stop: Tensor


def _plan(first: Tensor, n_pairs: int, chunk: int) -> _Plan:
    n_bags = len(first)
    ends = torch.cat([first[1:], first.new_full((1,), n_pairs)])
    n_chunks = ((ends - first + chunk - 1) // chunk).clamp(min=1)
    chunk_stop = n_chunks.cumsum(0)
    # ceil(length / chunk) is at most 1 + length / chunk, and below 2 * length / chunk when above 1.
    chunks = torch.arange(n_bags + n_pairs // chunk, device=first.device)
    slots = torch.arange(2 * n_pairs // chunk, device=first.device)
    n_slots = torch.where(n_chunks > 1, n_chunks, 0)
    slot_stop = n_slots.cumsum(0)
    slot_first = slot_stop - n_slots
    bag = torch.searchsorted(chunk_stop, chunks, right=True)
    known = bag.clamp(max=n_bags - 1)
    part = chunks - (chunk_stop - n_chunks)[known]
    begin = first[known] + part * chunk
    return _Plan(
        begin=begin,
        end=torch.minimum(begin + chunk, ends[known]),
        bag=bag,
        slot=torch.where(n_chunks[known] > 1, slot_first[known] + part, -1),
        slot_bag=torch.searchsorted(slot_stop, slots, right=True),
        slot_first=slot_first,
        slot_stop=slot_stop,
    )


def _narrow(x: Tensor) -> Tensor:
    if x.dtype == torch.float64:
        raise RecipeError(
            "The Triton kernels add in float32 and were given float64: convert the tensors, or unset "
            f"{VARIABLE} to compute with torch's own operations."
        )
    return x


def _row_major(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous()


def _block(width: int) -> int:
    """The power of two, at least 16, that holds the width, up to the largest block."""
    return min(_BLOCK, max(16, 1 << (width - 1).bit_length()))
