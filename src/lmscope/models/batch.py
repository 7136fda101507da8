"""What goes into a language model and what comes out of it."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmscope.core.errors import ModelError


@dataclass
class Cache:
    """What a causal model remembers of the tokens it has seen, so that they need not run again.

    A pass that continues a cache changes the memory in place: the Cache it was given is then
    spent, and the one in its Output goes on.

    Attributes:
        past: The Hugging Face model's own memory.
        mask: True where a position seen so far held text.
        next_position: Absolute position of each row's next token.
        step: Passes that have filled it.
        spent: True once a pass has continued it.
    """

    past: Any
    mask: Bool[Tensor, "batch seen"]
    next_position: Int[Tensor, "batch"]
    step: int
    spent: bool = False


@dataclass(frozen=True)
class Batch:
    """One forward pass's input: token ids or rows that stand in for their embeddings.

    Attributes:
        tokens: Vocabulary ids.
        embeds: Values of the site `embed`, in place of tokens; exactly one of the two is given.
        mask: True where a position holds text; all of them when absent.
        positions: Absolute positions; counted over the text of each row when absent, so that
            padding on the left and on the right give the same.
        cache: What earlier tokens left behind; mask and positions then speak of the new ones.
        rows: A number for each row that edits can tell it by; 0, 1, ... when absent.
    """

    tokens: Int[Tensor, "batch pos"] | None = None
    embeds: Float[Tensor, "batch pos model"] | None = None
    mask: Bool[Tensor, "batch pos"] | None = None
    positions: Int[Tensor, "batch pos"] | None = None
    cache: Cache | None = None
    rows: Int[Tensor, "batch"] | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.embeds is None):
            raise ModelError("A batch holds either tokens or embeds: give exactly one of the two.")
        for name, value in (("mask", self.mask), ("positions", self.positions)):
            if value is not None and tuple(value.shape) != self.shape:
                raise ModelError(
                    f"A batch of shape {self.shape} was given {name} of shape {tuple(value.shape)}."
                )
        if self.cache is not None and self.cache.mask.shape[0] != self.shape[0]:
            raise ModelError(
                f"A batch of {self.shape[0]} rows cannot continue a cache of "
                f"{self.cache.mask.shape[0]} rows."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and positions."""
        held = self.tokens if self.tokens is not None else self.embeds
        assert held is not None
        return held.shape[0], held.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the input lies."""
        held = self.tokens if self.tokens is not None else self.embeds
        assert held is not None
        return held.device

    @property
    def n_tokens(self) -> int:
        """Positions that hold text."""
        rows, length = self.shape
        return rows * length if self.mask is None else int(self.mask.sum())

    def text_mask(self) -> Bool[Tensor, "batch pos"]:
        """The mask, all True when none was given."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.shape, dtype=torch.bool, device=self.device)

    def absolute_positions(self) -> Int[Tensor, "batch pos"]:
        """Where each position stands in its row's text; 0 at padding before the text."""
        if self.positions is not None:
            return self.positions
        counted = self.text_mask().long().cumsum(-1) - 1
        if self.cache is not None:
            counted = counted + self.cache.next_position[:, None]
        return counted.clamp(min=0)

    def row_ids(self) -> Int[Tensor, "batch"]:
        """The rows' numbers."""
        if self.rows is not None:
            return self.rows
        return torch.arange(self.shape[0], device=self.device)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device; a cache stays where its model left it."""
        moved = {
            name: value.to(device)
            for name in ("tokens", "embeds", "mask", "positions", "rows")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Output:
    """What a full forward pass gives.

    Attributes:
        logits: Scores of the vocabulary before the softmax, at every position.
        cache: The memory to continue from, when it was asked for.
    """

    logits: Float[Tensor, "batch pos vocab"]
    cache: Cache | None = None
