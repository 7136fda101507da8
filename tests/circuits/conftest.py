"""Random causal models of every family with random dictionaries at a mix of sites."""

import pytest
import torch

from lmscope.circuits.config import ReplacementOptions
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.dictionaries.config import DictionaryConfig, JumpReLU, ReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.miniature import miniature

CAUSAL = ("gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "gemma2", "gemma3")
N_LATENTS = 48


def random_dictionary(reads, writes, *, sparsity=None, skip=False, seed=0, width=32, n=N_LATENTS):
    draw = torch.Generator().manual_seed(seed)
    config = DictionaryConfig(
        reads=(reads,),
        writes=(writes,),
        d_read=width,
        d_write=width,
        n_latents=n,
        sparsity=sparsity or ReLU(),
        skip=skip,
        normalisation="none",
    )
    dictionary = Dictionary(config)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            size = 0.3 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * size)
        if dictionary.threshold is not None:
            dictionary.threshold.fill_(0.2)
    return dictionary.requires_grad_(False)


def mixed(*, stream=True):
    """Dictionaries of every kind over three layers; layer 1 keeps its attention, layer 2 its gates."""
    found = [
        random_dictionary("attn_out@0", "attn_out@0", seed=1),
        random_dictionary("mlp_norm@0", "mlp_out@0", skip=True, seed=2),
        random_dictionary("mlp_out@1", "mlp_out@1", sparsity=TopK(k=8), seed=3),
        random_dictionary("attn_out@2", "attn_out@2", sparsity=JumpReLU(), seed=4),
    ]
    if stream:
        found.append(random_dictionary("resid_post@1", "resid_post@1", seed=5))
    return found


@pytest.fixture(scope="session", params=CAUSAL)
def family(request):
    return request.param


@pytest.fixture(scope="session")
def model(family):
    return miniature(family)


@pytest.fixture(scope="session")
def tokens():
    return [1, *torch.randint(6, 90, (8,), generator=torch.Generator().manual_seed(7)).tolist()]


@pytest.fixture(scope="session", params=["gates", "half_rule", "leaf"])
def frozen(request, model, tokens):
    options = ReplacementOptions(mlp=request.param, dtype="float64")
    return freeze(Replacement(model, mixed(), options), tokens)
