"""How much there is to compute, and how long that takes: arithmetic for plans, no promise."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, NamedTuple

import torch

from lmscope.core.mesh import SINGLE, Mesh
from lmscope.core.site import Site
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, TopK
from lmscope.jobs.choices import EvaluationChoice
from lmscope.jobs.memory import sites_of
from lmscope.models.language_model import LanguageModel
from lmscope.models.skeleton import forward_flops

ASSUMED_TFLOPS: Final = 400.0
"""Of one device when none is given and the plan is for others than this machine: about half of the
dense bfloat16 peak of an H100."""
EFFICIENCY: Final = 0.4
"""Share of a device's rate that training reaches. Adam, the sparse products and the waiting of processes
for each other are in it; no figure of a plan is better than it."""
_MATMUL: Final = 1024
_REPEATS: Final = 5


class Rate(NamedTuple):
    """How fast one device multiplies matrices.

    Attributes:
        model: FLOP/s in the studied model's number format.
        dictionary: FLOP/s in float32, or whatever the dictionaries' products run in.
        source: `given`, `measured` or `assumed`.
    """

    model: float
    dictionary: float
    source: str


@dataclass(frozen=True)
class Work:
    """Floating-point operations of one group.

    Attributes:
        forward: Of the studied model, up to the deepest site.
        dictionaries: Of the dictionaries' steps.
        busiest: Of these, on the device that has most of them.
        evaluation: Of measuring them.
    """

    forward: float
    dictionaries: float
    busiest: float
    evaluation: float

    @property
    def total(self) -> float:
        """On all devices."""
        return self.forward + self.dictionaries + self.evaluation

    def hours(self, rate: Rate, n_devices: int) -> float:
        """Expected wall time if every device reaches `EFFICIENCY` of its rate.

        Every device runs the studied model on its share of the text.
        """
        shared = (self.forward + self.evaluation) / n_devices
        return (shared / rate.model + self.busiest / rate.dictionary) / EFFICIENCY / 3600


def step_flops(config: DictionaryConfig) -> int:
    """Floating-point operations of one token in one training step of a dictionary.

    Sparse kinds: the dense encode, 2 d F, and for each of the k kept latents its decode, the gradient of
    its value and of its decoder row, 2 d each, and of its encoder row. Dense kinds: the encode and
    its weights' gradient, the decode, its gradient and its weights' gradient, 2 d F each.
    """
    read, write, n = config.d_read, config.d_write, config.n_latents
    skip = 4 * read * write if config.skip else 0
    if isinstance(config.sparsity, TopK | BatchTopK):
        return 2 * read * n + config.sparsity.k * (2 * read + 6 * write) + skip
    return n * (4 * read + 6 * write) + skip


def group_work(
    model: LanguageModel,
    configs: Sequence[DictionaryConfig],
    *,
    n_tokens: int,
    n_read_tokens: int,
    context_length: int,
    evaluation: EvaluationChoice,
    mesh: Mesh = SINGLE,
) -> Work:
    """What training and measuring a group takes.

    Args:
        model: The studied model; a skeleton will do.
        configs: The dictionaries.
        n_tokens: Training tokens.
        n_read_tokens: Tokens that the model is run on; fewer where a store keeps activations.
        context_length: Tokens of one context.
        evaluation: How much is measured, for each dictionary anew.
        mesh: How devices share the dictionaries (see `jobs.memory.held_parameters`).
    """
    deepest = sites_of(configs)[-1]
    forward = forward_flops(model, deepest, context_length) * n_read_tokens
    measured = sum(_evaluation(model, c, context_length, evaluation) for c in configs)
    steps = [step_flops(config) for config in configs]
    most = max(sum(steps[rank :: mesh.site]) for rank in range(mesh.site))
    busiest = most * n_tokens / (mesh.data * mesh.latent)
    return Work(float(forward), float(sum(steps) * n_tokens), busiest, float(measured))


def _evaluation(
    model: LanguageModel, config: DictionaryConfig, context_length: int, choice: EvaluationChoice
) -> float:
    """A pass to the site over all tokens, and one to the end for each way to fill the site."""
    site = max(config.read_site, config.write_site)
    read = forward_flops(model, site, context_length) * (choice.tokens + choice.baseline_tokens)
    whole = forward_flops(model, Site("logits"), context_length)
    n_arms = 3 if not choice.baseline_tokens else 7
    return float(read + whole * n_arms * min(choice.scored_tokens, choice.tokens))


def rate_of(tflops: float | None, device: torch.device | None, dtype: torch.dtype) -> Rate:
    """The rate that is given, else this machine's, measured in a moment, else an assumed one.

    Args:
        tflops: Of one device, in 10^12 a second.
        device: Of this machine; None: the plan is for other machines.
        dtype: In which the studied model computes.
    """
    if tflops is not None:
        return Rate(tflops * 1e12, tflops * 1e12, "given")
    if device is None:
        return Rate(ASSUMED_TFLOPS * 1e12, ASSUMED_TFLOPS * 1e12, "assumed")
    return Rate(matmul_rate(device, dtype), matmul_rate(device, torch.float32), "measured")


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the best of a few products of two square matrices."""
    a, b = (torch.ones(_MATMUL, _MATMUL, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(_REPEATS + 1):  # the first one warms up
        start = perf_counter()
        product = a @ b
        product[0, 0].item()  # waits for the device
        best = min(best, perf_counter() - start)
    return 2 * _MATMUL**3 / best
