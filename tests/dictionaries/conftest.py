from collections.abc import Callable
from typing import Any

import pytest
import torch

from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, JumpReLU, Sparsity
from lmscope.dictionaries.dictionary import Dictionary


@pytest.fixture
def make_config() -> Callable[..., DictionaryConfig]:
    def make(sparsity: Sparsity, *, d_read=6, d_write=None, n_latents=20, **options: Any):
        write = "resid_post@3" if d_write is None else "mlp_out@3"
        return DictionaryConfig(
            reads=("resid_post@3",),
            writes=(write,),
            d_read=d_read,
            d_write=d_write or d_read,
            n_latents=n_latents,
            sparsity=sparsity,
            **options,
        )

    return make


@pytest.fixture
def make_dictionary(make_config) -> Callable[..., Dictionary]:
    """A dictionary with random weights, scales that differ, and thresholds that bite."""

    def make(sparsity: Sparsity, *, seed=0, dtype=torch.float64, **options: Any) -> Dictionary:
        config = make_config(sparsity, **options)
        dictionary = Dictionary(config).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in dictionary.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
            dictionary.scale_in.fill_(2.5)
            dictionary.scale_out.fill_(0.4 if config.is_transcoder else 2.5)
            if isinstance(sparsity, BatchTopK):
                dictionary.threshold.fill_(0.7)
            if isinstance(sparsity, JumpReLU):
                dictionary.threshold.copy_(torch.rand(config.n_latents, generator=generator))
        return dictionary.requires_grad_(False)

    return make
