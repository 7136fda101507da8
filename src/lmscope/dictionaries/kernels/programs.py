"""The Triton programs themselves; importing this module needs triton.

Every sum runs in a fixed order inside one program and no program adds to what another wrote, so
equal inputs give equal bits on one device. `no_type_check` keeps checkers that wrap functions away
from what is not run as Python.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def add_chunks(  # noqa: PLR0913 (a kernel takes its pointers one by one)
    index,
    weights,
    rows,
    begins,
    ends,
    bags,
    slots,
    output,
    partial,
    n_bags,
    width,
    row_stride,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One chunk's weighted sum over one block of columns, GROUP pairs at a time.

    The sum of a whole bag goes to `output`, that of a part of a bag to its slot of `partial`.
    """
    chunk = tl.program_id(0)
    bag = tl.load(bags + chunk)
    if bag >= n_bags:
        return
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    end = tl.load(ends + chunk)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(tl.load(begins + chunk), end, GROUP):
        pairs = start + tl.arange(0, GROUP)
        there = pairs < end
        row = tl.load(index + pairs, mask=there, other=0).to(tl.int64)
        weight = tl.load(weights + pairs, mask=there, other=0.0).to(tl.float32)
        places = rows + row[:, None] * row_stride + columns[None, :]
        tile = tl.load(places, mask=there[:, None] & inside[None, :], other=0.0).to(tl.float32)
        total += tl.sum(tile * weight[:, None], axis=0)
    slot = tl.load(slots + chunk)
    if slot < 0:
        tl.store(output + bag * width + columns, total.to(output.dtype.element_ty), mask=inside)
    else:
        tl.store(partial + slot * width + columns, total, mask=inside)


@triton.jit
@no_type_check
def add_slots(
    partial,
    bags,
    slot_firsts,
    slot_stops,
    output,
    n_bags,
    width,
    BLOCK: tl.constexpr,
):
    """The sum of a divided bag's slots, in their order; the program of its first slot does it."""
    slot = tl.program_id(0)
    bag = tl.load(bags + slot)
    if bag >= n_bags:
        return
    if tl.load(slot_firsts + bag) != slot:
        return
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for part in range(tl.load(slot_firsts + bag), tl.load(slot_stops + bag)):
        total += tl.load(partial + part * width + columns, mask=inside, other=0.0)
    tl.store(output + bag * width + columns, total.to(output.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def multiply_pairs(  # noqa: PLR0913
    gradient,
    rows,
    token,
    latent,
    output,
    n_pairs,
    width,
    gradient_stride,
    row_stride,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """GROUP dot products, one block of columns at a time."""
    pairs = tl.program_id(0).to(tl.int64) * GROUP + tl.arange(0, GROUP)
    there = pairs < n_pairs
    left = tl.load(token + pairs, mask=there, other=0).to(tl.int64)
    right = tl.load(latent + pairs, mask=there, other=0).to(tl.int64)
    total = tl.zeros((GROUP,), dtype=tl.float32)
    for start in range(0, width, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        mask = there[:, None] & (columns < width)[None, :]
        a = tl.load(gradient + left[:, None] * gradient_stride + columns[None, :], mask, 0.0)
        b = tl.load(rows + right[:, None] * row_stride + columns[None, :], mask, 0.0)
        total += tl.sum(a.to(tl.float32) * b.to(tl.float32), axis=1)
    tl.store(output + pairs, total.to(output.dtype.element_ty), mask=there)
