"""Methods of tuning a soft prompt without gradients, by name, and the search that each of them is."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, model_validator

from lmscope.core.config import Config
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.blocks import Block, BlockSearch, Keep, Method, blocks_of
from lmscope.prompting.config import EvolutionConfig, ProjectionConfig, SearchConfig
from lmscope.prompting.layouts import lay_out
from lmscope.prompting.moments import Moments, clipped_moments, embedding_moments
from lmscope.prompting.projection import Projection
from lmscope.prompting.prompts import Prompts, prompt_site
from lmscope.prompting.search_building import build_search
from lmscope.prompting.tuning import ChoiceOptions
from lmscope.text.tasks.choices.rendering import PromptRows

_FAITHFUL = ("keep", "choice")


class MethodConfig(Config):
    """How a soft prompt is searched."""

    kind: Method = "bbt"
    group: Annotated[int, Field(ge=1)] = 1
    """Layers of a block of `bbtv2`; above 1 it is not the paper's, and a round takes fewer calls."""
    keep: Keep = "generation_best"
    choice: ChoiceOptions = ChoiceOptions()
    paper_faithful: bool = False
    """Do as the papers' code does also where it is at fault: keep the best candidate ever though other layers have moved,
    choose by the candidate that happens to be the call's, and count padding and prompt when values are measured."""

    @model_validator(mode="after")
    def _one_way(self) -> "MethodConfig":
        given = [name for name in _FAITHFUL if name in self.model_fields_set]
        if self.paper_faithful and given:
            raise ValueError(f"paper_faithful says what '{given[0]}' is: leave one of them out")
        if self.group > 1 and self.kind != "bbtv2":
            raise ValueError(f"'{self.kind}' has no groups of layers: leave 'group' out")
        return self

    @property
    def kept(self) -> Keep:
        """What stays of a block."""
        return "best" if self.paper_faithful else self.keep

    @property
    def chosen(self) -> ChoiceOptions:
        """How the result is chosen."""
        by = "candidate" if self.paper_faithful else self.choice.by
        return ChoiceOptions(by=by, every_calls=self.choice.every_calls)


def layer_moments(
    model: LanguageModel,
    rows: PromptRows,
    layers: Sequence[int],
    *,
    paper_faithful: bool = False,
) -> dict[int, Moments]:
    """Mean and spread of what enters layers under the manual prompt (sun2022bbtv2, section 3.2).

    The lowest layer's are those of the token embeddings. Differs: the authors measure under a first random
    candidate; `paper_faithful` counts the positions that they count.

    Args:
        model: Which.
        rows: The training examples.
        layers: Numbers; 0 is the embeddings.
        paper_faithful: As of `clipped_moments`.
    """
    found: dict[int, Moments] = {}
    if 0 in layers:
        embeddings = model.weights.W_E.float() * model.weights.embed_scale
        found[0] = embedding_moments(embeddings)
    layout, upper = lay_out(model, rows, kind="whole"), [layer for layer in layers if layer > 0]
    level = None
    for layer in upper:
        level = layout.level(layer, Prompts({}), level)
        values, masks = [], []
        for part, value in zip(layout.parts, level.values, strict=True):
            mask = part.mask.clone()
            assert part.prompt_at is not None
            for row, at in enumerate(part.prompt_at.tolist()):
                mask[row, at : at + layout.n_prompt] = False
            values.append(value.flatten(0, 1).float())
            masks.append(mask.flatten())
        joined_values, joined_masks = torch.cat(values), torch.cat(masks)
        found[layer] = clipped_moments(
            joined_values[None], joined_masks[None], paper_faithful=paper_faithful
        )
    return found


class Subspaces(Config):
    """All that turns numbers into rows, besides the numbers: as plain values."""

    blocks: tuple[tuple[int, ...], ...]
    """The layers that each block steers."""
    n_prompt: int
    d_model: int
    projection: ProjectionConfig
    sigma: float
    """The search's first step size."""
    seed: int
    moments: dict[str, tuple[float, float]]
    """Mean and standard deviation of what enters each layer."""

    def projections(self) -> list[dict[int, Projection]]:
        """For each block and layer its projection."""
        return [{layer: self._projection(layer) for layer in block} for block in self.blocks]

    def _projection(self, layer: int) -> Projection:
        return Projection(
            self.projection,
            self.n_prompt,
            self.d_model,
            Moments(*self.moments[str(layer)]),
            sigma=self.sigma,
            seed=self.seed,
            name=str(prompt_site(layer)),
            n_beside=sum(len(block) for block in self.blocks),
        )


def subspaces(
    model: LanguageModel,
    rows: PromptRows,
    method: MethodConfig,
    projection: ProjectionConfig,
    search: SearchConfig,
    seed: int,
) -> Subspaces:
    """What a method's numbers mean for a model and its training examples.

    Raises:
        DataError: A layer's values cannot be measured.
    """
    blocks = blocks_of(method.kind, model.n_layers, method.group)
    layers = sorted({layer for block in blocks for layer in block})
    moments = layer_moments(model, rows, layers, paper_faithful=method.paper_faithful)
    return Subspaces(
        blocks=blocks,
        n_prompt=len(rows.prompt),
        d_model=model.d_model,
        projection=projection,
        sigma=first_step(search),
        seed=seed,
        moments={str(layer): (m.mean, m.std) for layer, m in moments.items()},
    )


def first_step(search: SearchConfig) -> float:
    """The size of a search's first steps, by which projections are scaled down again."""
    return 1.0 if search.kind == "bayes" else search.sigma


def build_blocks(spaces: Subspaces, method: MethodConfig, search: SearchConfig) -> BlockSearch:
    """The search at its beginning.

    Args:
        spaces: What the numbers mean.
        method: How it is done.
        search: How candidates are proposed.

    Raises:
        RecipeError: The search cannot be built.
    """
    found = []
    for layers, projections in zip(spaces.blocks, spaces.projections(), strict=True):
        name = str(prompt_site(layers[0]))
        made = build_search(search, spaces.projection.d_subspace, spaces.seed, name)
        found.append(Block(layers, projections, made))
    return BlockSearch(found, keep=method.kept)


DEFAULT_SEARCH = EvolutionConfig()
"""The papers' evolution strategy."""
