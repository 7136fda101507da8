"""TrainingConfig: how objectives are trained; no field is about what they are."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from lmscope.core.config import Config

Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamConfig(Config):
    """Adam's constants (kingma2015adam)."""

    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the first and of the second moment."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""


class ScheduleConfig(Config):
    """How the learning rate moves: up in a line, level, then down.

    The defaults are a 5 % warm-up and a linear fall to 0 over the last 20 % (he2024llamascope, sec. 3).
    """

    decay: Literal["linear", "cosine", "constant"] = "linear"
    """Shape of the way down; `constant` stays level."""
    warmup: NonNegativeFloat = 0.05
    """Below 1 a fraction of all steps, from 1 a number of steps."""
    decay_fraction: Fraction = 0.2
    """The last fraction of all steps, over which the rate falls; 1 with `cosine` for a full cosine."""
    end_factor: Fraction = 0.0
    """Times the peak rate, where the fall ends: one step after the last."""

    @model_validator(mode="after")
    def _warmup_is_whole(self) -> "ScheduleConfig":
        if self.warmup > 1 and self.warmup != int(self.warmup):
            raise ValueError(
                f"a warm-up of {self.warmup} is neither a fraction below 1 nor a number of steps"
            )
        return self


class CheckpointConfig(Config):
    """When the state of a run is written, beside its end and its interruption."""

    every_steps: PositiveInt | None = None
    """After each so many steps."""
    every_minutes: NonNegativeFloat = 5.0
    """When so much time has passed since the last one; 0: never for that reason."""
    keep: PositiveInt = 2
    """So many stay on disk."""


class TrainingConfig(Config):
    """One optimiser's options; every objective of a run has its own optimiser with these."""

    steps: PositiveInt | None = None
    """Optimiser steps; absent: as many as the stream has batches for."""
    lr: PositiveFloat = 8e-4
    """Peak learning rate."""
    accumulate: PositiveInt = 1
    """Micro-batches of one step. Exact: gradients of sums, divided by the summed weights."""
    gradient_clip: NonNegativeFloat = 1.0
    """Largest global norm of one objective's gradient; 0: no clip."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: losses run under bfloat16 autocast; weights, gradients and moments stay as they are."""
    log_every: PositiveInt = 10
    """Steps from one line of metrics to the next; the first and the last step have one too."""
    adam: AdamConfig = AdamConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
