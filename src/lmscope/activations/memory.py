"""What an ActivationStream holds in memory, in bytes, before it exists."""

from collections.abc import Sequence

from lmscope.activations.config import StreamConfig
from lmscope.activations.layout import Layout

PLACE_BYTES = 16
"""Context and position of a token, 8 bytes each."""
BYTES = {"float32": 4, "bfloat16": 2}


def memory_bytes(
    options: StreamConfig,
    *,
    n_contexts: int,
    context_length: int,
    widths: Sequence[int],
    model_bytes: int,
    n_owned_streams: int | None = None,
) -> int:
    """An upper bound on the bytes of a stream's tensors, the model's own left out.

    With W the summed widths, D the tokens of the largest block (contexts times context length), C the
    calibration tokens, b the bytes of a held value, m of a model's value and o of a batch's, it is the
    larger one of

        ((owned streams + 1) * D + max(0, C + D - n_streams * D / 2)) * (W * b + 16)
            blocks, one of them being permuted, and what calibration read beyond the first blocks
        + 3 (4 with prefetch) * batch_tokens * (W * o + 16)
            the batch, the one before, which its user may still hold, and the next one

    and, before the first batch,

        (C + D) * (W * b + 16) + min(C, D) * max(width) * 8 + C * 16

    and in both cases

        + 3 * forward tokens * W * m    what one forward pass gives, and its kept rows
        + 12 bytes a context            order and kept tokens
        + the memory store, at most store_bytes

    Args:
        options: The stream's.
        n_contexts: Contexts of the corpus.
        context_length: Positions of each.
        widths: Of each site.
        model_bytes: Bytes of one value as the model gives it.
        n_owned_streams: Virtual streams of this process; all of them when absent.
    """
    layout = Layout(n_contexts, options, seed=0)
    owned = options.n_streams if n_owned_streams is None else n_owned_streams
    width = sum(widths)
    held = model_bytes if options.block_dtype == "model" else BYTES[options.block_dtype]
    row = width * held + PLACE_BYTES
    block = layout.block_contexts * context_length
    calibration = min(options.calibration_tokens, n_contexts * context_length)
    overhang = max(0, calibration + block - options.n_streams * block // 2)
    batch = options.batch_tokens // options.n_streams * owned
    batch_row = width * BYTES[options.batch_dtype] + PLACE_BYTES
    n_batches = 3 if options.prefetch is False else 4
    running = ((owned + 1) * block + overhang) * row + n_batches * batch * batch_row
    calibrating = (calibration + block) * row + calibration * 16
    calibrating += min(calibration, block) * max(widths) * 8
    store = min(options.store_bytes, n_contexts * context_length * width * held)
    return (
        max(running, calibrating)
        + 3 * layout.group_contexts * context_length * width * model_bytes
        + 12 * n_contexts
        + (store if options.store == "memory" else 0)
    )
