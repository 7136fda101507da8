"""StreamConfig: how activations are read, mixed and held."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from lmscope.core.config import Config


class StreamConfig(Config):
    """Options of an ActivationStream.

    With the defaults, contexts of 256 tokens and a site of width 576 in bfloat16 the stream holds
    about 215 MB; `activations.memory` says it for any options.
    """

    batch_tokens: PositiveInt = 4096
    """Tokens of one training batch, over all processes; a multiple of `n_streams`."""
    passes: PositiveInt = 1
    """How often the text is gone through."""
    block_contexts: PositiveInt = 64
    """Contexts that one virtual stream permutes together, at most; more mix better and take memory."""
    forward_contexts: PositiveInt = 16
    """Contexts of one forward pass, at most; one shape for the whole run."""
    n_streams: PositiveInt = 8
    """Virtual streams; each batch takes equally many tokens of each."""
    shuffle_window: PositiveInt = 1 << 16
    """Contexts of the corpus that are shuffled together before they are cut into blocks."""
    calibration_tokens: PositiveInt = 32_768
    """Tokens, at most, from which the norms and the mean of each site are estimated."""
    batch_dtype: Literal["float32", "bfloat16"] = "float32"
    """What the batches hold."""
    block_dtype: Literal["model", "float32", "bfloat16"] = "model"
    """What blocks and stores hold; `model` is whatever the model computes in."""
    store: Literal["none", "memory", "disk"] = "none"
    """Where activations are kept for later passes, so that the model is run once."""
    store_bytes: NonNegativeInt = Field(default=2 << 30)
    """What the memory store may hold; blocks beyond it are read from the model again."""
    prefetch: bool | None = None
    """Whether the next batch is made while one is trained on; absent: on a CUDA device only."""

    @model_validator(mode="after")
    def _streams_share_evenly(self) -> "StreamConfig":
        if self.batch_tokens % self.n_streams:
            raise ValueError(
                f"batch_tokens = {self.batch_tokens} cannot be shared by {self.n_streams} streams: "
                "use a multiple"
            )
        return self
