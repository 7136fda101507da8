"""Memory: keys and values of tokens that many passes continue from, none of which adds to it."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache as HfCache
from transformers.cache_utils import CacheLayerMixin

from lmscope.models.batch import Cache


@dataclass(frozen=True)
class Memory:
    """What attention keeps of the tokens of some rows, for passes that share it.

    Attributes:
        keys, values: Of each layer; None of those that the pass that filled it did not run.
        mask: True where a row held text.
        next_position: Absolute position of each row's next token.
    """

    keys: tuple[Float[Tensor, "row head seen head_dim"] | None, ...]
    values: tuple[Float[Tensor, "row head seen head_dim"] | None, ...]
    mask: Bool[Tensor, "row seen"]
    next_position: Int[Tensor, "row"]

    def cache(self, rows: Int[Tensor, "batch"]) -> Cache:
        """A cache from which a batch goes on, its i-th row from this memory's row `rows[i]`.

        It is never spent: a pass reads it and leaves it as it was. Where rows differ in length and layers
        attend through a window, everything must fit in the window, as padding stands between.
        """
        n_seen = self.mask.shape[1]
        layers = [
            _HeldLayer(key, value, rows, n_seen)
            for key, value in zip(self.keys, self.values, strict=True)
        ]
        return Cache(HeldCache(layers=list(layers)), self.mask[rows], self.next_position[rows], 0)


class HeldCache(HfCache):
    """A Hugging Face cache that passes read and do not change, so it needs no copy."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> "HeldCache":
        return self


class _HeldLayer(CacheLayerMixin):
    is_sliding = False

    def __init__(
        self, keys: Tensor | None, values: Tensor | None, rows: Tensor, n_seen: int
    ) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.is_initialized = True
        self._rows, self._n_seen = rows, n_seen

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: what is held stands from the beginning."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any
    ) -> tuple[Tensor, Tensor]:
        """What is held, followed by what is new."""
        assert self.keys is not None
        assert self.values is not None
        held = self.keys.index_select(0, self._rows), self.values.index_select(0, self._rows)
        return torch.cat([held[0], key_states], -2), torch.cat([held[1], value_states], -2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys there are with so many new ones, and the first one's number."""
        return self._n_seen + query_length, 0

    def get_seq_length(self) -> int:
        """How many tokens are held."""
        return self._n_seen

    def get_max_length(self) -> int:
        """There is no most."""
        return -1


def empty_cache() -> DynamicCache:
    """A Hugging Face cache that keeps every layer's keys and values whole, sliding ones too."""
    return DynamicCache()


def memory_of(
    filled: DynamicCache,
    n_layers: int,
    mask: Bool[Tensor, "row seen"],
    positions: Int[Tensor, "row seen"],
) -> Memory:
    """What a pass left in a cache of `empty_cache`."""
    layers = [*filled.layers, *[None] * n_layers][:n_layers]
    keys, values = (tuple(_held(layer, name) for layer in layers) for name in ("keys", "values"))
    return Memory(keys, values, mask, positions.masked_fill(~mask, -1).amax(-1) + 1)


def _held(layer: Any, name: str) -> Tensor | None:
    value = getattr(layer, name, None)
    return value if isinstance(value, torch.Tensor) and value.numel() else None
