"""What training dictionaries takes of one device's memory, in bytes, before anything exists."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Final

import torch

from lmscope.activations.config import StreamConfig
from lmscope.activations.memory import memory_bytes
from lmscope.core.mesh import SINGLE, Mesh
from lmscope.core.site import Site
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, TopK
from lmscope.dictionaries.products import step_buffer_bytes
from lmscope.jobs.choices import EvaluationChoice
from lmscope.models.language_model import LanguageModel
from lmscope.models.skeleton import block_weights, weight_bytes

GIB: Final = 2**30
FLOAT: Final = 4
"""Bytes of a weight, a gradient or a moment of a dictionary: float32 at every `training.precision`."""
RUNTIME: Final = 600 * 2**20
"""Python, torch and what the device itself keeps."""
FREE_FRACTION: Final = {"cuda": 0.92, "cpu": 0.75, "mps": 0.6}
"""How much of what there is a training takes when nothing is said."""
_CGROUPS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Memory:
    """Bytes on one device; the sum of all but `evaluation` while it trains.

    Attributes:
        runtime: Python, torch, the device's own.
        model: Weights of the studied model.
        forward: What one forward pass holds at a time.
        stream: Blocks, batches and stores of activations.
        parameters: Of the dictionaries.
        gradients: As much again, where all are held at once.
        moments: Adam's two.
        step: Buffers of one dictionary's step, the largest one's; dictionaries step in turn.
        evaluation: What measuring one dictionary takes beside model and parameters, after training.
    """

    runtime: int
    model: int
    forward: int
    stream: int
    parameters: int
    gradients: int
    moments: int
    step: int
    evaluation: int

    @property
    def training(self) -> int:
        """While dictionaries are trained."""
        return sum(self.to_mapping().values()) - self.evaluation

    @property
    def peak(self) -> int:
        """The most at any time."""
        return max(self.training, self.runtime + self.model + self.parameters + self.evaluation)

    def to_mapping(self) -> dict[str, int]:
        """Bytes by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Text:
    """The size of a training text in contexts."""

    n_contexts: int
    context_length: int


@dataclass(frozen=True)
class MemoryModel:
    """Says what a group of dictionaries takes, for one model, text and way of training.

    Attributes:
        model: The studied model; a skeleton will do.
        text: How much of it.
        stream: How activations are held.
        evaluation: How much is measured at once.
        mesh: How many devices share the work; see `held_parameters`.
    """

    model: LanguageModel
    text: Text
    stream: StreamConfig
    evaluation: EvaluationChoice
    mesh: Mesh = SINGLE

    def of(self, configs: Sequence[DictionaryConfig]) -> Memory:
        """What a group takes on the device that holds most of it."""
        parameters = held_parameters(configs, self.mesh) * FLOAT
        return Memory(
            runtime=RUNTIME,
            model=self._weights,
            forward=self._forward,
            stream=self._stream(sites_of(configs)),
            parameters=parameters,
            gradients=parameters,
            moments=2 * parameters,
            step=max(step_bytes(c, self.batch_tokens, self.mesh.latent) for c in configs),
            evaluation=max(self._evaluation(config) for config in configs),
        )

    @property
    def batch_tokens(self) -> int:
        """Rows of a batch on one device."""
        return self.stream.batch_tokens // self.mesh.data

    @cached_property
    def _weights(self) -> int:
        return weight_bytes(self.model)

    @cached_property
    def _forward(self) -> int:
        """An upper bound: six values of the stream's width and three of the widest inner one."""
        n_tokens = self.stream.forward_contexts * self.text.context_length
        widest = max((max(weight.shape) for weight in block_weights(self.model)), default=0)
        return n_tokens * (6 * self.model.d_model + 3 * widest) * self.model.dtype.itemsize

    def _stream(self, sites: Sequence[Site]) -> int:
        widths = [self._width(site) for site in sites]
        alone = memory_bytes(
            self.stream,
            n_contexts=self.text.n_contexts,
            context_length=self.text.context_length,
            widths=widths,
            model_bytes=self.model.dtype.itemsize,
            n_owned_streams=-(-self.stream.n_streams // self.mesh.size),
        )
        gathered = 0 if self.mesh.size == 1 else 2 * self.batch_tokens * sum(widths) * FLOAT
        return alone + gathered

    def _width(self, site: Site) -> int:
        if site not in self._widths:
            self._widths[site] = self.model.width(site)
        return self._widths[site]

    @cached_property
    def _widths(self) -> dict[Site, int]:
        """Those asked for so far: groups are tried one dictionary after the other."""
        return {}

    def _evaluation(self, config: DictionaryConfig) -> int:
        """Two batches of vocabulary scores, dense latents, and what the forward pass holds."""
        n_tokens = self.evaluation.batch_contexts * self.text.context_length
        scores = 3 * self.model.d_vocab if self.evaluation.scored_tokens else 0
        if not self.evaluation.tokens:
            return 0
        return self._forward + n_tokens * (scores + 2 * config.n_latents) * FLOAT


def sites_of(configs: Sequence[DictionaryConfig]) -> list[Site]:
    """Every site that some dictionaries read or write, in forward order."""
    return sorted({_site(text) for c in configs for text in (*c.reads, *c.writes)})


@cache
def _site(text: str) -> Site:
    """Groups are tried one dictionary after the other, each time with all of their sites."""
    return Site.parse(text)


def n_parameters(config: DictionaryConfig, latent: int = 1) -> int:
    """Parameters of a dictionary, of one part if its latents are shared by so many processes."""
    read, write = config.d_read, config.d_write
    rows = -(-config.n_latents // latent)
    return rows * (read + write + 1) + write + (read * write if config.skip else 0)


def held_parameters(configs: Sequence[DictionaryConfig], mesh: Mesh) -> int:
    """Parameters on the device that holds most of a group.

    The data axis copies every dictionary to each of its devices. The latent axis cuts the latents of
    each one into equal parts; `b_dec` and `W_skip` stay whole. The site axis deals the dictionaries
    out in turn.
    """
    held = (configs[rank :: mesh.site] for rank in range(mesh.site))
    return max(sum(n_parameters(config, mesh.latent) for config in part) for part in held)


def step_bytes(config: DictionaryConfig, batch_tokens: int, latent: int = 1) -> int:
    """Buffers of one training step of one dictionary, at most.

    Sparse kinds hold what `products.step_buffer_bytes` says, on a device that encodes a batch at once;
    annealing starts at d_read latents a token. Dense kinds hold five arrays of [token, latent].
    """
    n_latents = -(-config.n_latents // latent)
    sparsity = config.sparsity
    if not isinstance(sparsity, TopK | BatchTopK):
        rows = 6 * batch_tokens * (config.d_read + config.d_write) * FLOAT
        return 5 * batch_tokens * n_latents * FLOAT + rows
    annealed = sparsity.annealing.style != "off" and sparsity.annealing.fraction > 0
    kept = max(sparsity.k, config.d_read) if annealed else sparsity.k
    return step_buffer_bytes(
        n_tokens=batch_tokens,
        n_latents=n_latents,
        d_read=config.d_read,
        d_write=config.d_write,
        k=min(kept, config.n_latents),
        device=torch.device("cuda"),
    )


def available_bytes(device: torch.device) -> int:
    """What a training may take of a device when nobody says: a fixed part of what there is."""
    fraction = FREE_FRACTION.get(device.type, FREE_FRACTION["cpu"])
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(fraction * (free + torch.cuda.memory_reserved(device)))
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(fraction * min([physical, *_container_limits()]))


def _container_limits() -> list[int]:
    texts = [Path(path).read_text() for path in _CGROUPS if Path(path).is_file()]
    return [int(text) for text in texts if text.strip().isdigit()]


def in_gib(parts: Mapping[str, int]) -> dict[str, float]:
    """Bytes by name as GiB, to the hundredth."""
    return {name: round(value / GIB, 2) for name, value in parts.items()}
