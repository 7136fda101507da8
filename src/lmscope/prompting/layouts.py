"""How examples with a soft prompt pass through a model: whole, after a shared prompt, or after a held text.

All three give the values of `final` at the answer's position. They differ in what is computed once:
where the prompt stands ahead of the text, a causal model's keys and values of the prompt are the same
for all examples; where it stands behind, those of the text are the same for all candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmscope.core.errors import ModelError
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.edit import At, EditFunction
from lmscope.models.language_model import LanguageModel
from lmscope.models.memory import Memory
from lmscope.prompting.buckets import buckets
from lmscope.prompting.prompts import Prompts, prompt_site
from lmscope.text.tasks.choices.rendering import PromptRow, PromptRows

FINAL: Final = Site("final")
LayoutKind = Literal["whole", "shared", "held"]
"""`whole`: each row runs for itself. `shared`: the prompt's keys and values serve all examples of a
candidate. `held`: those of the text before the prompt are computed once and serve all candidates."""


@dataclass(frozen=True)
class Part:
    """Examples that run together.

    Attributes:
        examples: Their numbers.
        tokens, mask: What runs for each, padded on the right.
        prompt_at: Where in it the prompt begins; absent where the prompt runs apart.
        answer_at: Where in it the answer is predicted.
        memory: What they go on from, one row an example.
    """

    examples: Int[Tensor, "example"]
    tokens: Int[Tensor, "example pos"]
    mask: Bool[Tensor, "example pos"]
    answer_at: Int[Tensor, "example"]
    prompt_at: Int[Tensor, "example"] | None = None
    memory: Memory | None = None


@dataclass(frozen=True)
class Level:
    """What enters a layer, so that candidates that differ from there on begin there.

    Attributes:
        layer: The layer.
        values: Of each part, what enters it.
        prompt: What enters it at the tokens of a shared prompt.
        below: What is added at the layers below it.
    """

    layer: int
    values: tuple[Float[Tensor, "_ _ model"], ...]
    prompt: Float[Tensor, "1 _ model"] | None
    below: Prompts

    @property
    def site(self) -> Site:
        """Where it stands."""
        return Site("resid_pre", self.layer)


@dataclass
class Layout:
    """Examples of one task, ready to run with any prompts.

    Attributes:
        model: Which runs.
        kind: How.
        parts: The examples by like length.
        prefix: Tokens of a shared prompt and of what stands before it.
        prompt_at: Where in them the prompt begins.
        n_examples, n_prompt: How many of each.
        tokens_at_once: Tokens of one forward pass; more candidates run one after another.
        flops: Floating-point operations so far: two for each weight of a layer and each token,
            and attention's.
    """

    model: LanguageModel
    kind: LayoutKind
    parts: tuple[Part, ...]
    prefix: Int[Tensor, "one pos"] | None
    prompt_at: int
    n_examples: int
    n_prompt: int
    tokens_at_once: int = 8192
    flops: float = field(default=0.0)

    def finals(
        self, prompts: Prompts, level: Level | None = None, *, grad: bool = False
    ) -> Float[Tensor, "candidate example model"]:
        """Values of `final` at each answer's position.

        Args:
            prompts: Candidates.
            level: Begin at its layer; what is added below it is the level's, so the prompts say
                only what is added there and above.
            grad: Keep the gradient with respect to what is added.

        Raises:
            ModelError: A gradient is asked of a layout that shares the prompt.
        """
        if grad and self.kind == "shared":
            raise ModelError("A prompt that is shared keeps no gradient: use the layout 'whole'.")
        found = [self._part_finals(i, prompts, level, grad) for i in range(len(self.parts))]
        order = torch.cat([part.examples for part in self.parts])
        return torch.cat(found, 1)[:, order.argsort()]

    def level(self, layer: int, prompts: Prompts, level: Level | None = None) -> Level:
        """What enters a layer above the first under one candidate, before anything is added there.

        Args:
            layer: The layer, at least 1.
            prompts: What is added below it.
            level: A lower one under the same prompts to go on from.
        """
        below = Prompts({at: v for at, v in prompts.added.items() if at < layer})
        site = Site("resid_pre", layer)
        memory = prompt = None
        if self.prefix is not None:
            memory = self._prompt_memory(below, level)
            prompt = self._read_prefix(below, level, site)
        values = tuple(
            self._read_part(i, below, level, site, memory, grad=False)
            for i in range(len(self.parts))
        )
        return Level(layer, values, prompt, below)

    def _part_finals(
        self, i: int, prompts: Prompts, level: Level | None, grad: bool
    ) -> Float[Tensor, "candidate example model"]:
        part, found = self.parts[i], []
        tokens = part.tokens.numel() + (0 if self.prefix is None else self.prefix.numel())
        step = max(1, self.tokens_at_once // tokens)
        for first in range(0, len(prompts), step):
            some = prompts.take(first, first + step)
            memory = None if self.prefix is None else self._prompt_memory(some, level)
            values = self._read_part(i, some, level, FINAL, memory, grad=grad)
            n = len(values)
            at = part.answer_at.repeat(n // len(part.examples))
            rows = torch.arange(n, device=values.device)
            found.append(values[rows, at].unflatten(0, (-1, len(part.examples))))
        return torch.cat(found)

    def _read_part(
        self,
        i: int,
        prompts: Prompts,
        level: Level | None,
        site: Site,
        memory: Memory | None,
        *,
        grad: bool,
    ) -> Float[Tensor, "row pos model"]:
        """A site's values of one part, candidate by candidate."""
        part, n = self.parts[i], len(prompts)
        n_examples, device = len(part.examples), part.tokens.device
        candidates = torch.arange(n, device=device).repeat_interleave(n_examples)
        examples = torch.arange(n_examples, device=device).repeat(n)
        cache = None
        if memory is not None:
            cache = memory.cache(candidates)
        elif part.memory is not None:
            cache = part.memory.cache(examples)
        batch = Batch(tokens=part.tokens[examples], mask=part.mask[examples], cache=cache)
        edits: dict[str | Site, EditFunction] = {}
        if part.prompt_at is not None:
            edits = _edits(prompts, candidates, part.prompt_at[examples], level, site)
        n_seen = 0 if cache is None else cache.mask.shape[1]
        self._count(batch.shape, n_seen, level, site)
        with self.model.edit(edits):
            if level is None:
                return self.model.read(batch, [site], grad=grad)[site]
            value = level.values[i].repeat(n, 1, 1)
            return self.model.resume(level.site, value, batch, [site], grad=grad)[site]

    def _prefix_batch(self, prompts: Prompts) -> tuple[Batch, Tensor, Tensor]:
        assert self.prefix is not None
        n = len(prompts)
        candidates = torch.arange(n, device=self.prefix.device)
        begins = torch.full((n,), self.prompt_at, device=self.prefix.device)
        return Batch(tokens=self.prefix.expand(n, -1)), candidates, begins

    def _prompt_memory(self, prompts: Prompts, level: Level | None) -> Memory:
        """The shared prompt's keys and values, a row for each candidate."""
        batch, candidates, begins = self._prefix_batch(prompts)
        self._count(batch.shape, 0, level, FINAL)
        with self.model.edit(_edits(prompts, candidates, begins, level, FINAL)):
            if level is None or level.prompt is None:
                return self.model.remember(batch)
            value = level.prompt.expand(len(prompts), -1, -1)
            return self.model.remember(batch, site=level.site, value=value)

    def _read_prefix(
        self, prompts: Prompts, level: Level | None, site: Site
    ) -> Float[Tensor, "one pos model"]:
        batch, candidates, begins = self._prefix_batch(prompts)
        with self.model.edit(_edits(prompts, candidates, begins, level, site)):
            if level is None or level.prompt is None:
                return self.model.read(batch, [site])[site]
            return self.model.resume(level.site, level.prompt, batch, [site])[site]

    def _count(self, shape: tuple[int, int], n_seen: int, level: Level | None, site: Site) -> None:
        rows, length = shape
        first = 0 if level is None else level.layer
        last = self.model.n_layers if site == FINAL else (site.layer or 0)
        tokens = rows * length
        attended = (n_seen + (length + 1) / 2 if self.model.is_causal else n_seen + length) * tokens
        width = self.model.n_heads * self.model.d_head
        a_layer = 2.0 * layer_weights(self.model) * tokens + 4.0 * width * attended
        self.flops += a_layer * (last - first)


def layer_weights(model: LanguageModel) -> int:
    """Weights of the matrices of one layer, on average."""
    blocks = model.hf.base_model.get_submodule(model.family.blocks)
    return sum(p.numel() for p in blocks.parameters() if p.ndim > 1) // model.n_layers


def _edits(
    prompts: Prompts, candidates: Tensor, begins: Tensor, level: Level | None, until: Site
) -> dict[str | Site, EditFunction]:
    lowest = 0 if level is None else level.layer
    above = [layer for layer in prompts.layers if layer >= lowest and prompt_site(layer) < until]
    return {prompt_site(layer): _adding(prompts.at(layer, candidates), begins) for layer in above}


def _adding(
    added: Float[Tensor, "row prompt model"], begins: Int[Tensor, "row"]
) -> Callable[[Tensor, At], Tensor]:
    """An edit that adds rows at the prompt's tokens."""
    n = added.shape[1]
    first = int(begins[0])
    together = bool((begins == first).all())
    places = (begins[:, None] + torch.arange(n, device=begins.device))[..., None]

    def add(value: Tensor, _at: At) -> Tensor:
        rows = added.to(value)
        if together:
            value[:, first : first + n] += rows
            return value
        return value.scatter_add(1, places.expand(-1, -1, value.shape[-1]), rows)

    return add


def lay_out(
    model: LanguageModel,
    rows: PromptRows,
    *,
    kind: LayoutKind | None = None,
    overhead: int = 128,
    most_rows: int | None = None,
    tokens_at_once: int = 8192,
) -> Layout:
    """Make examples ready to run.

    Args:
        model: Which is to run them.
        rows: The examples.
        kind: How; None takes the way that computes least and gives the same.
        overhead: What one more length costs, in tokens (`buckets`).
        most_rows: Examples of one part.
        tokens_at_once: Tokens of one forward pass.

    Raises:
        ModelError: The model or the examples do not allow the way that is asked for.
    """
    kind = kind or _best_kind(model, rows)
    _check_kind(model, rows, kind)
    n = len(rows.prompt)
    cut = [_cut(row, rows.prompt, kind) for row in rows.rows]
    parts = []
    for group in buckets([len(t) for t, _, _ in cut], overhead=overhead, most_rows=most_rows):
        parts.append(_part(model, rows, cut, group, kind))
    before = rows.rows[0].before
    prefix = torch.tensor([[*before, *rows.prompt]], device=model.device)
    return Layout(
        model=model,
        kind=kind,
        parts=tuple(parts),
        prefix=prefix if kind == "shared" else None,
        prompt_at=len(before),
        n_examples=len(rows.rows),
        n_prompt=n,
        tokens_at_once=tokens_at_once,
    )


def _best_kind(model: LanguageModel, rows: PromptRows) -> LayoutKind:
    if not model.is_causal or not model.n_heads or _beyond_window(model, rows):
        return "whole"
    return "shared" if len({row.before for row in rows.rows}) == 1 else "held"


def _check_kind(model: LanguageModel, rows: PromptRows, kind: LayoutKind) -> None:
    if kind == "whole":
        return
    if not model.is_causal or not model.n_heads:
        raise ModelError(
            f"{model.name} keeps no keys and values to go on from: use the layout 'whole'."
        )
    if kind == "shared" and len({row.before for row in rows.rows}) > 1:
        raise ModelError(
            "The prompt stands behind the text, so examples cannot share it: use the layout 'held' or 'whole'."
        )


def _beyond_window(model: LanguageModel, rows: PromptRows) -> bool:
    """Whether some layer attends less far back than the longest example."""
    windows = [model.weights.attention(layer).window for layer in range(model.n_layers)]
    narrow = min((w for w in windows if w is not None), default=None)
    longest = max(len(row.before) + len(rows.prompt) + len(row.after) for row in rows.rows)
    return narrow is not None and longest > narrow


_Cut = tuple[Sequence[int], int, int]
"""Tokens that run, where the prompt begins in them and where the answer is predicted."""


def _cut(row: PromptRow, prompt: Sequence[int], kind: LayoutKind) -> _Cut:
    if kind == "shared":
        gone = len(row.before) + len(prompt)
        return row.after, 0, row.answer_at - gone
    if kind == "held":
        return (*prompt, *row.after), 0, row.answer_at - len(row.before)
    return (*row.before, *prompt, *row.after), len(row.before), row.answer_at


def _part(
    model: LanguageModel,
    rows: PromptRows,
    cut: Sequence[_Cut],
    group: Sequence[int],
    kind: LayoutKind,
) -> Part:
    device = model.device
    tokens, mask = _padded([cut[i][0] for i in group], device)
    memory = None
    if kind == "held":
        text, text_mask = _padded([rows.rows[i].before for i in group], device)
        memory = model.remember(Batch(tokens=text, mask=text_mask))
    return Part(
        examples=torch.tensor(list(group), device=device),
        tokens=tokens,
        mask=mask,
        answer_at=torch.tensor([cut[i][2] for i in group], device=device),
        prompt_at=None
        if kind == "shared"
        else torch.tensor([cut[i][1] for i in group], device=device),
        memory=memory,
    )


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    length = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), length, dtype=torch.long, device=device)
    mask = torch.zeros(len(rows), length, dtype=torch.bool, device=device)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(list(row), dtype=torch.long)
        mask[i, : len(row)] = True
    return tokens, mask
