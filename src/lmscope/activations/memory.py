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

    With W the summed widths, D the tokens of a block (contexts times context length), b the bytes of a
    held value, m of a model's value and o of a batch's:

        (owned streams + 1) * D * (W * b + 16)      blocks, and one being permuted
        + (calibration_tokens + D) * (W * b + 16)   first blocks read to calibrate, ...
        + calibration_tokens * max(width) * 9       ... and one site's statistics
        + 3 * forward tokens * W * m                what one forward pass gives, and its kept rows
        + 3 (4 with prefetch) * batch_tokens * (W * o + 16)
        + 12 bytes a context                        order and kept tokens
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
    forward = layout.group_contexts * context_length
    calibration = min(options.calibration_tokens, n_contexts * context_length)
    batches = (3 if options.prefetch is False else 4) * options.batch_tokens * owned
    store = min(options.store_bytes, n_contexts * context_length * width * held)
    return (
        (owned + 1) * block * row
        + (calibration + block) * row
        + calibration * max(widths) * 9
        + 3 * forward * width * model_bytes
        + batches // options.n_streams * (width * BYTES[options.batch_dtype] + PLACE_BYTES)
        + 12 * n_contexts
        + (store if options.store == "memory" else 0)
    )
