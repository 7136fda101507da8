"""Blocks: layers that one vector of numbers steers together, searched one block after another.

BBT is one block of the lowest layer, BBTv2 one block for each layer, and joint search one block of all
layers; so one piece of code does all three.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from lmscope.core.errors import BudgetError, RecipeError
from lmscope.prompting.layouts import Level
from lmscope.prompting.oracle import Oracle
from lmscope.prompting.projection import Projection
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import ModelScorer
from lmscope.prompting.search import Search

Method = Literal["bbt", "bbtv2", "joint"]
"""`bbt` (sun2022bbt): the input of the lowest layer. `bbtv2` (sun2022bbtv2): every layer, bottom to top, each with a search
of its own. `joint`: every layer at once, all from the same numbers."""
Keep = Literal["best", "generation_best", "mean"]
"""Of a block that was searched, what stays while others are: the `best` candidate ever by the loss that was told then (the
reference: others may have moved since), the best of the last generation, or the search's `mean`."""


def blocks_of(method: Method, n_layers: int, group: int = 1) -> tuple[tuple[int, ...], ...]:
    """The layers of each block, lowest first.

    Args:
        method: Which way.
        n_layers: Of the model.
        group: Layers of a block of `bbtv2`; above 1 it is not the paper's.

    Raises:
        RecipeError: Groups of no layer, or of layers where the method has none.
    """
    if group < 1 or (group > 1 and method != "bbtv2"):
        raise RecipeError(
            f"Groups of {group} layers cannot be searched by '{method}': only 'bbtv2' has groups, of at least 1."
        )
    if method == "bbt":
        return ((0,),)
    if method == "joint":
        return (tuple(range(n_layers)),)
    return tuple(
        tuple(range(first, min(first + group, n_layers))) for first in range(0, n_layers, group)
    )


@dataclass
class Block:
    """Layers with the numbers that steer them.

    Attributes:
        layers: Lowest first.
        projections: For each layer from numbers to rows.
        search: Proposes numbers.
        kept: The numbers that stand there while other blocks are searched; None adds nothing.
    """

    layers: tuple[int, ...]
    projections: Mapping[int, Projection]
    search: Search
    kept: Float64[np.ndarray, "subspace"] | None = None
    _standing: Prompts | None = field(default=None, repr=False)

    def keep(self, numbers: Float64[np.ndarray, "subspace"] | None) -> None:
        """Let numbers stand from now on."""
        self.kept, self._standing = numbers, None

    def standing(self) -> Prompts:
        """What stands; nothing where nothing was chosen yet."""
        if self._standing is None:
            self._standing = Prompts({}) if self.kept is None else self.prompts(self.kept[None])
        return self._standing

    def prompts(self, numbers: Float64[np.ndarray, "candidate subspace"]) -> Prompts:
        """What candidates add at the block's layers."""
        z = torch.from_numpy(numbers).float()
        return Prompts({layer: self.projections[layer].apply(z) for layer in self.layers})


class Generation(NamedTuple):
    """One generation of one block.

    Attributes:
        block: Its number.
        losses: Of its candidates.
        numbers: The candidates.
    """

    block: int
    losses: Float64[np.ndarray, "candidate"]
    numbers: Float64[np.ndarray, "candidate subspace"]


@dataclass
class BlockSearch:
    """A search over blocks in turn (sun2022bbtv2, algorithm 1); with one block it is sun2022bbt's.

    Candidates of a block begin at its lowest layer, with what the layers below have computed; that is
    exact and saves about half of all work.

    Attributes:
        blocks: Lowest first.
        keep: What stays of a block.
        resume: Begin candidates at their layer; without, every pass runs whole, with the same result.
        turn: The block that is next.
    """

    blocks: Sequence[Block]
    keep: Keep = "generation_best"
    resume: bool = True
    turn: int = 0
    _level: Level | None = field(default=None, repr=False)

    @property
    def next_calls(self) -> int:
        """Calls that the next generation takes at most."""
        return self.blocks[self.turn].search.popsize

    def step(self, oracle: Oracle) -> Generation:
        """Ask for one generation of the block whose turn it is, tell it the losses, and go on to the next.

        Raises:
            BudgetError: Too few calls are left; nothing has changed.
        """
        at, block = self.turn, self.blocks[self.turn]
        if block.search.popsize > oracle.n_left:
            raise BudgetError(
                f"A generation takes {block.search.popsize} calls and {oracle.n_left} of {oracle.n_calls} are left: "
                "raise the budget, or stop here."
            )
        numbers = block.search.ask()
        candidates = self.standing().with_layers(block.prompts(numbers).added)
        losses = oracle.losses(candidates, self._begin(oracle))
        block.search.tell(numbers, losses)
        block.keep(self._choose(block.search))
        self.turn = (at + 1) % len(self.blocks)
        return Generation(at, losses, numbers)

    def standing(self) -> Prompts:
        """What all blocks add now."""
        found: dict[int, Any] = {}
        for block in self.blocks:
            found |= block.standing().added
        return Prompts(found)

    def prompts_of(self, numbers: Sequence[Float64[np.ndarray, "subspace"] | None]) -> Prompts:
        """What the numbers of each block add; nothing where there are none."""
        found: dict[int, Any] = {}
        for block, own in zip(self.blocks, numbers, strict=True):
            found |= {} if own is None else block.prompts(own[None]).added
        return Prompts(found)

    def numbers(
        self, which: Literal["standing", "means"]
    ) -> list[Float64[np.ndarray, "subspace"] | None]:
        """The numbers behind `standing` or `means`, block by block."""
        if which == "standing":
            return [block.kept for block in self.blocks]
        return [block.search.mean if block.search.n_told else None for block in self.blocks]

    def state(self) -> dict[str, Any]:
        """What a search goes on from."""
        return {
            "turn": self.turn,
            "kept": {str(i): b.kept for i, b in enumerate(self.blocks) if b.kept is not None},
            "searches": [block.search.state() for block in self.blocks],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on."""
        self.turn, self._level = int(state["turn"]), None
        for i, (block, held) in enumerate(zip(self.blocks, state["searches"], strict=True)):
            kept = state["kept"].get(str(i))
            block.keep(kept)
            block.search.load_state(held)

    def _begin(self, oracle: Oracle) -> Level | None:
        """What enters the lowest layer of the block whose turn it is, under the blocks below."""
        lowest = self.blocks[self.turn].layers[0]
        if not self.resume or lowest == 0 or not isinstance(oracle.train, ModelScorer):
            self._level = None
            return None
        known = self._level if self._level is not None and self._level.layer < lowest else None
        self._level = oracle.train.level(lowest, self.standing(), known)
        return self._level

    def _choose(self, search: Search) -> Float64[np.ndarray, "subspace"]:
        if self.keep == "mean":
            return search.mean
        return (search.best if self.keep == "best" else search.latest_best).z
