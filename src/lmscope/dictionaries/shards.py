"""Shards: a dictionary cut into stretches of latents, one for each process, and joined again."""

import torch
from torch import Tensor

from lmscope.core.processes import Processes
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.dictionaries.dictionary import Dictionary


def cut(dictionary: Dictionary, first: int, last: int) -> Dictionary:
    """The latents `first` to `last` (exclusive) as a dictionary of their own.

    What is not a latent's (`b_dec`, `W_skip`, scales, a scalar threshold) is copied whole.
    """
    n = dictionary.config.n_latents
    if (first, last) == (0, n):
        return dictionary
    # A copy skips the check of k, which counts latents of all processes.
    config = dictionary.config.model_copy(update={"n_latents": last - first})
    shard = Dictionary(config).to(dictionary.W_enc)
    of_latents = latent_tensors(dictionary)
    for name, tensor in dictionary.state_dict().items():
        own = tensor[first:last] if name in of_latents else tensor
        shard.state_dict()[name].copy_(own)
    return shard


def join(shard: Dictionary, whole: DictionaryConfig, processes: Processes) -> Dictionary:
    """The whole dictionary, on every process, from the shard that each one holds; frozen."""
    if processes.latent.size == 1:
        return shard
    of_latents = latent_tensors(shard)
    tensors: dict[str, Tensor] = {}
    for name, tensor in shard.state_dict().items():
        rows = processes.latent.gather(tensor) if name in of_latents else None
        tensors[name] = tensor.clone() if rows is None else torch.cat(rows)
    return Dictionary.from_tensors(whole, tensors)


def latent_tensors(dictionary: Dictionary) -> set[str]:
    """Names of the parameters and buffers that have one row or entry a latent."""
    names = {"W_enc", "b_enc", "W_dec"}
    if dictionary.threshold is not None and dictionary.threshold.ndim:
        names.add("threshold")
    return names
