"""Values that change over training: k, and the coefficients of penalties."""

from math import ceil

from lmscope.dictionaries.config import KAnnealing


def annealed_k(
    step: int, n_steps: int, k: int, *, d_read: int, n_latents: int, annealing: KAnnealing
) -> int:
    """Latents to keep at a step (he2024llamascope, section 3).

    `paper`: falls linearly from d_read to k. `script`: `ceil(max(1, r + (1 - r) / W * step) * k)` with
    `r = d_read / (2 k)`, so from d_read / 2.

    Differs: never above `n_latents` nor below k; the script lets k grow without end when
    d_read / 2 < k.

    Args:
        step: Optimiser step, from 0.
        n_steps: Optimiser steps in all.
        k: Final value.
        d_read: Width of what is read.
        n_latents: Latents that there are.
        annealing: Style, and the fraction of the steps that it takes.
    """
    n_annealed = round(annealing.fraction * n_steps)
    if annealing.style == "off" or step >= n_annealed:
        return k
    start = d_read if annealing.style == "paper" else d_read / 2
    value = ceil(start + (k - start) * step / n_annealed)
    return min(max(value, k), n_latents)


def warmed_up(step: int, n_steps: int, fraction: float) -> float:
    """A factor that rises linearly from 0 to 1 over a fraction of the steps."""
    n_warm = round(fraction * n_steps)
    return 1.0 if step >= n_warm else step / n_warm
