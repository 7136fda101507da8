"""Generation: a causal model goes on with prompts, token by token, under edits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import DataError, ModelError
from lmscope.core.known_words import known_words
from lmscope.core.rng import generator
from lmscope.models.batch import Batch, Cache
from lmscope.models.edit import Edits
from lmscope.models.language_model import LanguageModel

EditsOf = Callable[[Batch], Edits]
"""The edits of one pass, made from what it reads: its new tokens, their mask, the cache."""

_NO_EDITS: Final[Edits] = {}


class GenerationOptions(Config):
    """How far a model goes on, and how it chooses."""

    n_tokens: Annotated[int, Field(ge=1)] = 64
    """New tokens, at most."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the most probable token; above it tokens are drawn from softmax(logits / temperature)."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Draw from so many of the most probable tokens only."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw from the fewest most probable tokens that hold this share of the probability."""
    seed: int = 0
    stop_at_end: bool = True
    """Whether a row ends with the model's end-of-text token."""


@dataclass(frozen=True, eq=False)
class NewTokens:
    """What one pass adds.

    Attributes:
        step: 0 for the first new token.
        tokens: One for each row; a row that has ended holds padding.
        log_probs: Log-probability of each token under the edited model, at temperature 1; nats.
        written: False in rows that had ended before.
    """

    step: int
    tokens: Int[Tensor, "batch"]
    log_probs: Float[Tensor, "batch"]
    written: Bool[Tensor, "batch"]


@dataclass(frozen=True)
class Generated:
    """How one prompt went on.

    Attributes:
        prompt: Its tokens, with what the model reads before the text.
        tokens: New tokens; the end-of-text token, if it came, is the last one.
        text: The new tokens as text, without special tokens.
        log_probs: Log-probability of each new token under the edited model; nats.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str
    log_probs: tuple[float, ...]


def prompt_batch(
    model: LanguageModel, prompts: Sequence[str] | str, *, chat: bool = False
) -> Batch:
    """Prompts as a batch that generation can go on from: BOS before each, padded on the left.

    Args:
        model: Whose tokens.
        prompts: One or several.
        chat: Whether each is a user's message, to be put through the model's chat template.

    Raises:
        DataError: There is no prompt, or one without a token.
        ModelError: The model has no chat template.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts or not all(texts):
        raise DataError(
            "There is nothing to go on from: give at least one prompt that is not empty."
        )
    return token_batch(model, [_chat(model, t) if chat else _plain(model, t) for t in texts])


def token_batch(model: LanguageModel, rows: Sequence[Sequence[int]]) -> Batch:
    """Rows of token ids as a batch that generation can go on from, padded on the left.

    Raises:
        DataError: There is no row, or one without a token.
    """
    if not rows or not all(len(row) for row in rows):
        raise DataError("There is nothing to go on from: each row needs at least one token.")
    length = max(len(row) for row in rows)
    padding = _padding(model)
    tokens = [[*[padding] * (length - len(row)), *row] for row in rows]
    mask = [[i >= length - len(row) for i in range(length)] for row in rows]
    return Batch(tokens=torch.tensor(tokens), mask=torch.tensor(mask)).to(model.device)


def generate(
    model: LanguageModel,
    batch: Batch,
    options: GenerationOptions = GenerationOptions(),  # noqa: B008 (a frozen value)
    edits: Edits | EditsOf = _NO_EDITS,
) -> tuple[Generated, ...]:
    """How a model goes on with prompts; arguments and errors as of `stream_tokens`.

    Returns:
        One for each row of the batch.
    """
    steps = list(stream_tokens(model, batch, options, edits))
    found = []
    for row, prompt in enumerate(_texts(batch)):
        mine = [step for step in steps if bool(step.written[row])]
        tokens = tuple(int(step.tokens[row]) for step in mine)
        found.append(
            Generated(
                prompt=prompt,
                tokens=tokens,
                text=str(model.tokenizer.decode(list(tokens), skip_special_tokens=True)),
                log_probs=tuple(float(step.log_probs[row]) for step in mine),
            )
        )
    return tuple(found)


def stream_tokens(
    model: LanguageModel,
    batch: Batch,
    options: GenerationOptions = GenerationOptions(),  # noqa: B008 (a frozen value)
    edits: Edits | EditsOf = _NO_EDITS,
) -> Iterator[NewTokens]:
    """New tokens as they come, one pass with the cache for each.

    Edits are in force during the passes only, so whoever takes the tokens may use the model in
    between. Each row draws from a stream of its own, named by the seed and the row's number, so that
    the same row under other edits, or beside other rows, uses the same random numbers.

    Args:
        model: A causal model with a language-model head.
        batch: Prompts, padded on the left (`prompt_batch`).
        options: How far, and how tokens are chosen.
        edits: What stands at which sites, or a function that says so for each pass.

    Raises:
        ModelError: The model is not causal, has no logits, or no positions for so many tokens.
        DataError: A row is padded on the right, or the batch has no tokens.
    """
    _check(model, batch, options)
    ends = _end_tokens(model) if options.stop_at_end else frozenset[int]()
    draws = [generator(options.seed, "generate", int(row)) for row in batch.row_ids()]
    running = torch.ones(batch.shape[0], dtype=torch.bool, device=model.device)
    now = batch.to(model.device)
    for step in range(options.n_tokens):
        logits, cache = _pass(model, now, edits)
        tokens = _choose(logits, options, draws)
        tokens = tokens.masked_fill(~running, _padding(model))
        log_probs = logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
        yield NewTokens(step, tokens, log_probs, running)
        running = running & ~torch.isin(tokens, torch.tensor(sorted(ends), device=tokens.device))
        if not bool(running.any()):
            return
        now = Batch(
            tokens=tokens[:, None], mask=running[:, None], cache=cache, rows=batch.row_ids()
        )


@torch.no_grad()
def _pass(
    model: LanguageModel, batch: Batch, edits: Edits | EditsOf
) -> tuple[Float[Tensor, "batch vocab"], Cache]:
    with model.edit(edits(batch) if callable(edits) else edits):
        output = model(batch, cache=True)
    assert output.cache is not None
    return output.logits[:, -1].float(), output.cache


def _choose(
    logits: Float[Tensor, "batch vocab"],
    options: GenerationOptions,
    draws: Sequence[torch.Generator],
) -> Int[Tensor, "batch"]:
    if options.temperature == 0:
        return logits.argmax(-1)
    chances = (logits.double() / options.temperature).softmax(-1)
    chances, order = chances.sort(dim=-1, descending=True, stable=True)
    before = chances.cumsum(-1) - chances
    if options.top_k is not None:
        chances[:, options.top_k :] = 0
    if options.top_p is not None:
        chances = chances.masked_fill(before >= options.top_p, 0)
    # One uniform number a row and the inverse of the distribution: a small change of the logits
    # changes few of the draws, which makes two runs with one seed comparable.
    uniform = torch.cat([torch.rand(1, dtype=torch.float64, generator=draw) for draw in draws])
    reached = chances.cumsum(-1)
    wanted = uniform.to(logits.device)[:, None] * reached[:, -1:]
    place = torch.searchsorted(reached, wanted, right=True)
    last = (chances > 0).sum(-1, keepdim=True) - 1  # rounding must not lead past what may be drawn
    return order.gather(-1, torch.minimum(place, last))[:, 0]


def _check(model: LanguageModel, batch: Batch, options: GenerationOptions) -> None:
    if not model.is_causal:
        raise ModelError(f"{model.name} reads whole contexts and cannot go on with a text.")
    if batch.tokens is None:
        raise DataError("Generation goes on from tokens; this batch has embeds.")
    mask = batch.text_mask()
    if not bool(mask[:, -1].all()):
        raise DataError(
            "Generation goes on from the last position, and a row has padding there: pad on the left, "
            "as prompt_batch does."
        )
    longest = int(batch.absolute_positions().max()) + 1
    limit = model.max_positions
    if limit is not None and longest + options.n_tokens > limit:
        raise ModelError(
            f"{model.name} has positions for {limit} tokens; a prompt of {longest} and {options.n_tokens} "
            "new ones were asked for: shorten one of them."
        )


def _padding(model: LanguageModel) -> int:
    padding = model.tokenizer.pad_token_id
    return padding if isinstance(padding, int) else 0


def _end_tokens(model: LanguageModel) -> frozenset[int]:
    """End-of-text tokens of the tokenizer and of the model's own generation settings."""
    settings = getattr(model.hf, "generation_config", None)
    found: set[int] = set()
    for ends in (model.tokenizer.eos_token_id, getattr(settings, "eos_token_id", None)):
        if isinstance(ends, int):
            found.add(ends)
        elif isinstance(ends, list | tuple):
            found.update(int(end) for end in ends)
    return frozenset(found)


def _plain(model: LanguageModel, text: str) -> list[int]:
    with known_words(model.tokenizer, [text]):
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids if model.bos_id is None else [model.bos_id, *ids]


def _chat(model: LanguageModel, text: str) -> list[int]:
    tokenizer: Any = model.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"{model.name} has no chat template: give the prompt as plain text, or take an "
            "instruction-tuned model."
        )
    shown = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(shown, add_special_tokens=False)["input_ids"]


def _texts(batch: Batch) -> list[tuple[int, ...]]:
    assert batch.tokens is not None
    rows = zip(batch.tokens, batch.text_mask(), strict=True)
    return [tuple(tokens[mask].tolist()) for tokens, mask in rows]
