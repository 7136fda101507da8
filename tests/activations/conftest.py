"""A corpus of numbered tokens and a reader whose values say which token they came from."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lmscope.core.site import Site, expand

SPECIAL = 0


@dataclass(frozen=True)
class NumberedRows:
    tokens: np.ndarray
    mask: np.ndarray


class NumberedContexts:
    """Token = 1 + 1000 * context + position; some are special, some contexts end early."""

    def __init__(self, n: int, length: int = 6, seed: int = 0, ragged: bool = True) -> None:
        self.context_length = length
        draw = np.random.default_rng(seed)
        place = 1 + 1000 * np.arange(n)[:, None] + np.arange(length)
        self.tokens = np.where(draw.random((n, length)) < 0.15 * ragged, SPECIAL, place)
        self.tokens = self.tokens.astype(np.int32)
        stops = draw.integers(2, length + 1, n) if ragged else np.full(n, length)
        self.mask = np.arange(length) < stops[:, None]
        self.fingerprint = f"numbered-{n}-{length}-{seed}-{ragged}"

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, indices) -> NumberedRows:
        return NumberedRows(self.tokens[indices], self.mask[indices])

    def kept(self) -> set[tuple[int, int]]:
        """(context, position) of every position that counts, by a naive loop."""
        found = set()
        for context, (tokens, mask) in enumerate(zip(self.tokens, self.mask, strict=True)):
            text = [p for p in range(self.context_length) if mask[p]]
            found |= {(context, p) for p in text[1:] if tokens[p] != SPECIAL}
        return found


class NumberedReader:
    """At a site of layer n a token has the values (token + n, 1, 1, ...)."""

    weights_hash = "numbered"
    special_ids = frozenset({SPECIAL})
    device = torch.device("cpu")

    def __init__(self, n_layers: int = 3, dtype: torch.dtype = torch.float32) -> None:
        self.n_layers, self.dtype = n_layers, dtype
        self.shapes: list[tuple[int, ...]] = []
        self.at_read = lambda: None

    def resolve(self, patterns):
        return expand(patterns, [Site("resid_post", i) for i in range(self.n_layers)])

    def width(self, site):
        self.resolve([site])
        return 2 + site.layer

    def read(self, batch, sites):
        self.shapes.append(tuple(batch.tokens.shape))
        values = {}
        for site in sites:
            value = torch.ones(*batch.tokens.shape, self.width(site), dtype=self.dtype)
            value[..., 0] = (batch.tokens + site.layer).to(self.dtype)
            values[site] = value
        self.at_read()
        return values


@pytest.fixture(scope="session")
def numbered_contexts() -> type[NumberedContexts]:
    return NumberedContexts


@pytest.fixture(scope="session")
def numbered_reader() -> type[NumberedReader]:
    return NumberedReader
