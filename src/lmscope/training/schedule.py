"""The learning rate of each step, as a pure function: nothing to save, nothing to drift."""

import math

from lmscope.core.errors import RecipeError
from lmscope.training.config import ScheduleConfig


def warmup_steps(steps: int, options: ScheduleConfig) -> int:
    """How many of `steps` warm up.

    Raises:
        RecipeError: More steps warm up than there are.
    """
    if options.warmup < 1:
        return round(options.warmup * steps)
    if options.warmup > steps:
        raise RecipeError(
            f"A warm-up of {int(options.warmup)} steps does not fit into {steps} steps: "
            "set training.schedule.warmup to a fraction below 1 or to fewer steps."
        )
    return int(options.warmup)


def lr_factor(step: int, steps: int, options: ScheduleConfig) -> float:
    """The learning rate at `step`, as a fraction of its peak.

    Step s of W warm-up steps has (s + 1) / W, so that no step is wasted at 0; over the D steps of the
    fall the factor goes from 1 towards `end_factor`, which step `steps` would have. The fall
    begins after the warm-up at the earliest.

    Args:
        step: Counted from 0.
        steps: Steps in all.
        options: The shape.
    """
    warmup = warmup_steps(steps, options)
    if step < warmup:
        return (step + 1) / warmup
    start = max(steps - round(options.decay_fraction * steps), warmup)
    if options.decay == "constant" or step < start:
        return 1.0
    progress = min((step - start) / (steps - start), 1.0) if steps > start else 1.0
    height = 1 - progress if options.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return options.end_factor + (1 - options.end_factor) * height
