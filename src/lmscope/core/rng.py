"""One integer seed per recipe; every generator is a named stream of it."""

import hashlib

import numpy as np
import torch


def stream_seed(seed: int, *name: str | int) -> int:
    """A 63-bit seed for the stream `name`, independent of every other stream's.

    Args:
        seed: The recipe's seed.
        name: What the stream is for, e.g. `"order", 3, 17`. Equal names give equal streams;
            `3` and `"3"` are two names.
    """
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in name)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, *name: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator at the start of the stream `name`."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *name))


def numpy_generator(seed: int, *name: str | int) -> np.random.Generator:
    """A numpy generator at the start of the stream `name`."""
    return np.random.default_rng(stream_seed(seed, *name))
