"""LanguageModel: a plain Hugging Face model whose sites can be read and edited by name."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lmscope.core.errors import DataError, ModelError, SiteError
from lmscope.core.known_words import known_words
from lmscope.core.site import ATTENTION_PARTS, Site, expand, parse_pattern
from lmscope.models.attention import AttentionSwitch
from lmscope.models.batch import Batch, Cache, Output
from lmscope.models.edit import EditFunction
from lmscope.models.memory import HeldCache, Memory, empty_cache, memory_of
from lmscope.models.placement import DeviceMap, home
from lmscope.models.registry import find_family
from lmscope.models.rotation import Rotation, watching_rotations
from lmscope.models.taps import Body
from lmscope.models.weights_view import WeightsView
from lmscope.models.wiring import Pass, Wiring

SitePatterns = Sequence[str | Site]
"""Sites, their texts, or patterns over layers (`mlp_out@*`)."""


class LanguageModel:
    """A Hugging Face model, its tokenizer and what its Family knows of it.

    The model is taken as it is: no weight is converted, no code of it copied. It is put into
    evaluation mode and its weights need no gradient; whoever trains them turns that on again.

    Args:
        hf: The model, with or without a language-model head.
        tokenizer: Its tokenizer.
        name: What results call it.
        weights_hash: Hash of its weights, for results to name.

    Raises:
        ModelError: No family covers the model.

    Attributes:
        family: The architecture's table of parts.
        n_layers, d_model, d_vocab: Layers, width of the residual stream, vocabulary.
        n_heads, n_kv_heads, d_head: Attention heads, heads of keys and values, width of a head;
            0 in a model without attention.
        max_positions: Longest context with a position for every token; None without a limit.
        bos_id: Token that begins a context (`[CLS]` in encoders); None when there is none.
        special_ids: Tokens that are no text.
        is_causal: Whether a position sees only what stands before it.
        has_logits: Whether the model has a language-model head.
    """

    def __init__(
        self,
        hf: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        weights_hash: str,
    ) -> None:
        self.hf = hf.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.weights_hash = weights_hash
        config = hf.config
        self.family = find_family(config)
        core = hf.base_model
        blocks = core.get_submodule(self.family.blocks)
        assert isinstance(blocks, nn.ModuleList)
        self._body = Body(hf, core, blocks, self.family.norm, AttentionSwitch(hf))
        self._wiring = Wiring(self._body, self.family.tap)
        self.n_layers = len(blocks)
        self.d_model: int = config.hidden_size
        self.d_vocab: int = config.vocab_size
        heads = self.family.attention is not None
        self.n_heads: int = config.num_attention_heads if heads else 0
        self.n_kv_heads: int = getattr(config, "num_key_value_heads", None) or self.n_heads
        head_width = getattr(config, "head_dim", None) if heads else 0
        self.d_head: int = self.d_model // self.n_heads if head_width is None else head_width
        limit = getattr(config, "max_position_embeddings", None)
        self.max_positions: int | None = (
            None if limit is None else limit - self.family.first_position
        )
        self.bos_id: int | None = _begins_context(tokenizer)
        self.special_ids: frozenset[int] = _special_ids(tokenizer)
        self.is_causal = self.family.causal
        self.has_logits = hf.get_output_embeddings() is not None

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str | DeviceMap = "auto",
        dtype: torch.dtype | str | None = None,
        cache: Any = None,
    ) -> "LanguageModel":
        """Load a model by name: a local folder, run or .gguf, a catalog name, a Hugging Face id.

        Args:
            name: What to load.
            device: `auto` takes a GPU when there is one; `spread` all of them, for a model too
                large for one, and then memory and the disk; or a device for each submodule.
            dtype: None keeps the dtype that the weights are stored in.
            cache: Folder for converted models; None for the usual one.

        Raises:
            ModelError: Nothing goes by that name, or its family is not covered.
        """
        from lmscope.models.loading import load_pretrained

        loaded = load_pretrained(name, device=device, dtype=dtype, cache=cache)
        return cls(loaded.hf, loaded.tokenizer, name=loaded.name, weights_hash=loaded.weights_hash)

    def __repr__(self) -> str:
        return (
            f"LanguageModel({self.name!r}, family={self.family.name!r}, n_layers={self.n_layers}, "
            f"d_model={self.d_model}, dtype={self.dtype}, device={str(self.device)!r})"
        )

    @property
    def device(self) -> torch.device:
        """Where batches go and values come back: the device of the input embeddings."""
        return home(self.hf)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored as."""
        return self.hf.dtype

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        return self.family.sites(self.n_layers, logits=self.has_logits)

    @cached_property
    def weights(self) -> WeightsView:
        """The weights by what they do: per head, per layer, unfused."""
        return WeightsView(self._body, self.family)

    def sites(self) -> tuple[Site, ...]:
        """Every site of the model, in forward order."""
        return self._sites

    def resolve(self, patterns: SitePatterns) -> tuple[Site, ...]:
        """The sites that patterns select, in forward order, once each.

        Raises:
            SiteError: A pattern selects nothing here; the message says why when that is known.
        """
        known = set(self._sites)
        for pattern in patterns:
            if pattern in known:
                continue
            item = parse_pattern(pattern) if isinstance(pattern, str) else pattern
            if item.part == "logits" and not self.has_logits:
                raise SiteError(
                    f"{self.name} has no 'logits': it has no language-model head. Take another site, "
                    "e.g. 'final'."
                )
            if reason := self.family.why_absent(item.part):
                parts = ", ".join(dict.fromkeys(site.part for site in self._sites))
                raise SiteError(
                    f"{self.name} ({self.family.name}) has no '{item}': {reason}. It has {parts}."
                )
            if isinstance(item, Site) and (item.layer or 0) >= self.n_layers:
                raise SiteError(
                    f"{self.name} has no site '{item}': its layers are 0 to {self.n_layers - 1}."
                )
        return expand(patterns, known)

    def width(self, site: str | Site) -> int:
        """How many values a site holds at one position, its heads laid side by side.

        Raises:
            SiteError: The model has not got the site, or its width grows with the context.
        """
        (site,) = self.resolve([site])
        if site.part in ("scores", "pattern"):
            raise SiteError(
                f"'{site}' has no fixed width: it has one value for each position. Take a site of fixed "
                f"width, e.g. '{Site('z', site.layer)}'."
            )
        if site.part in ATTENTION_PARTS:
            return self.d_head * (self.n_kv_heads if site.part in "kv" else self.n_heads)
        if site.part in ("mlp_gate", "mlp_hidden"):
            return self.weights.mlp(site.layer or 0).W_in.shape[1]
        return self.d_vocab if site.part == "logits" else self.d_model

    def batch(self, texts: Sequence[str] | str) -> Batch:
        """Texts as a batch: BOS (or `[CLS]` and `[SEP]`) around each, padded on the right.

        Raises:
            DataError: There is no text, or a text has no token.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        end = None if self.is_causal else self.tokenizer.sep_token_id
        rows = [
            [t for t in (self.bos_id, *self._tokens(text), end) if t is not None] for text in texts
        ]
        if not rows or not all(rows):
            raise DataError("A batch needs at least one text, and each text at least one token.")
        length = max(len(row) for row in rows)
        padding = self.tokenizer.pad_token_id or 0
        tokens = [[*row, *[padding] * (length - len(row))] for row in rows]
        mask = [[i < len(row) for i in range(length)] for row in rows]
        return Batch(tokens=torch.tensor(tokens), mask=torch.tensor(mask)).to(self.device)

    def _tokens(self, text: str) -> list[int]:
        with known_words(self.tokenizer, [text]):
            return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def __call__(self, batch: Batch, *, cache: bool = False) -> Output:
        """Run the model to its logits, under the edits in force.

        Args:
            batch: The input.
            cache: Whether to return the memory to continue from. A cache in the batch is then
                spent; otherwise the pass works on a copy of it.

        Raises:
            ModelError: The model has no language-model head, or cannot keep a cache.
            SiteError: An edit did not fire.
        """
        self._need_logits()
        if cache and not self.is_causal:
            raise ModelError(f"{self.name} reads whole contexts and keeps no cache.")
        result = self._run(batch, self._pass(batch), keep=cache)
        if not cache:
            return Output(result.logits)
        past = getattr(result, self.family.cache_argument)
        mask, before = batch.text_mask(), batch.cache
        positions = batch.absolute_positions().masked_fill(~mask, -1).amax(-1) + 1
        if before is not None:
            before.spent = True
            mask = torch.cat([before.mask, mask], 1)
            positions = torch.maximum(positions, before.next_position)
        step = 1 if before is None else before.step + 1
        return Output(result.logits, Cache(past, mask, positions, step))

    def read(self, batch: Batch, sites: SitePatterns, *, grad: bool = False) -> dict[Site, Tensor]:
        """The values at sites, from one forward pass that stops after the deepest of them.

        Values are as the edits in force leave them. Residual values have shape
        [batch, pos, model]; q, k, v and z [batch, pos, head, head_dim]; scores and pattern
        [batch, head, query, key]. A cache in the batch is left as it was.

        Args:
            batch: The input.
            sites: What to read.
            grad: Whether the values keep their gradient.

        Raises:
            SiteError: The model has not got a site, or it did not fire.
        """
        now = self._pass(batch, reads=self._asked(sites), grad=grad)
        with torch.set_grad_enabled(grad):
            self._run(batch, now)
        return {site: now.values[site] for site in now.reads}

    @contextmanager
    def edit(self, edits: Mapping[str | Site, EditFunction]) -> Iterator[None]:
        """Let functions stand at sites inside a `with` block.

        A function takes the value and an `At`, and returns the value to go on with. Functions
        at one site apply in order of entry and keep autograd. They come off when the block
        ends, whatever ends it.

        Args:
            edits: Functions by site; `mlp_out@*` puts one at every layer.

        Raises:
            SiteError: The model has not got a site.
        """
        placed = [(site, f) for pattern, f in edits.items() for site in self._asked([pattern])]
        with self._wiring.editing(placed):
            yield

    def rotations(self, batch: Batch) -> dict[int, Rotation]:
        """How each layer turns queries and keys of the first row; empty in models that do not.

        Costs a forward pass up to the last layer's attention.
        """
        layout = self.family.attention
        if layout is None:
            return {}
        blocks = enumerate(self._body.blocks)
        modules = {layer: block.get_submodule(layout.path) for layer, block in blocks}
        with watching_rotations(modules) as found:
            self.read(batch, [Site("attn_out", self.n_layers - 1)])
        return found

    @overload
    def resume(
        self, site: str | Site, value: Float[Tensor, "batch pos model"], batch: Batch
    ) -> Output: ...

    @overload
    def resume(
        self,
        site: str | Site,
        value: Float[Tensor, "batch pos model"],
        batch: Batch,
        read: SitePatterns,
        *,
        grad: bool = False,
    ) -> dict[Site, Tensor]: ...

    def resume(
        self,
        site: str | Site,
        value: Float[Tensor, "batch pos model"],
        batch: Batch,
        read: SitePatterns = (),
        *,
        grad: bool = False,
    ) -> Output | dict[Site, Tensor]:
        """Go on from a value of the residual stream, without computing the layers below it.

        Edits at the site and above it apply, so resuming from a clean value under edits equals
        the full pass under them.

        Args:
            site: A `resid_pre` or `resid_post`.
            value: What stands there.
            batch: The input that the value came from; its tokens say shapes, mask, positions.
            read: Sites to read; the pass then stops after the deepest and gives their values.
            grad: Whether read values keep their gradient.

        Raises:
            SiteError: The site is no residual one, an edit or a read lies below it, or the
                value's shape is not the batch's.
            ModelError: The batch continues a cache, or logits are asked of a model without.
        """
        (start,) = self.resolve([site])
        self._check_resume(start, value, batch)
        reads = self._asked(read) if read else ()
        if not reads:
            self._need_logits()
        now = self._pass(batch, reads=reads, grad=grad, start=start, given=value)
        n_skipped = (start.layer or 0) + (start.part == "resid_post")
        with self._skipping(n_skipped):
            if not reads:
                return Output(self._run(batch, now).logits)
            with torch.set_grad_enabled(grad):
                self._run(batch, now)
        return {site: now.values[site] for site in reads}

    def remember(
        self,
        batch: Batch,
        *,
        site: str | Site | None = None,
        value: Float[Tensor, "batch pos model"] | None = None,
    ) -> Memory:
        """Keys and values of a batch's tokens, under the edits in force, for passes that go on from them.

        Args:
            batch: The tokens.
            site: A `resid_pre` or `resid_post` to resume from; layers below it are then absent.
            value: What stands there.

        Raises:
            ModelError: The model has no attention, or sees what comes after.
            SiteError: As of `resume`.
        """
        if not self.is_causal or not self.n_heads:
            raise ModelError(
                f"{self.name} has no keys and values of a text that others go on from."
            )
        now, n_skipped = self._pass(batch, reads=(Site("attn_out", self.n_layers - 1),)), 0
        if site is not None and value is not None:
            (start,) = self.resolve([site])
            self._check_resume(start, value, batch)
            now.start, now.given = start, value
            n_skipped = (start.layer or 0) + (start.part == "resid_post")
        filled = empty_cache()
        with torch.no_grad(), self._skipping(n_skipped):
            self._run(batch, now, keep=True, past=filled)
        return memory_of(filled, self.n_layers, now.mask, now.positions)

    @contextmanager
    def open_attention(self) -> Iterator[None]:
        """Compute attention by the open function inside the block, as reading a pattern does.

        Its sums round otherwise than the usual implementation's, so a run with an edited
        pattern is compared to an unedited run inside this block.
        """
        release = self._body.switch.take()
        try:
            yield
        finally:
            release()

    def _asked(self, sites: SitePatterns) -> tuple[Site, ...]:
        if isinstance(sites, str | Site):
            sites = [sites]
        if not sites:
            raise SiteError("No site was asked for: name at least one, e.g. 'resid_post@0'.")
        return self.resolve(sites)

    def _need_logits(self) -> None:
        if not self.has_logits:
            raise ModelError(
                f"{self.name} has no language-model head, so it gives no logits: read sites instead."
            )

    def _pass(self, batch: Batch, **options: Any) -> Pass:
        if batch.cache is not None and batch.cache.spent:
            raise ModelError("This cache was continued already: use the one that pass returned.")
        batch = batch.to(self.device)
        step = 0 if batch.cache is None else batch.cache.step
        return Pass(batch.absolute_positions(), batch.text_mask(), batch.row_ids(), step, **options)

    def _run(self, batch: Batch, now: Pass, *, keep: bool = False, past: Any = None) -> Any:
        """The Hugging Face model's result, or None when the pass stopped at its last read."""
        arguments = self._arguments(batch.to(self.device), now, keep=keep)
        if past is not None:
            arguments[self.family.cache_argument] = past
        with self._wiring.running(now):
            return self.hf(**arguments)
        return None  # reached: `running` takes in the exception that ends a read

    def _arguments(self, batch: Batch, now: Pass, *, keep: bool) -> dict[str, Any]:
        held = batch.cache
        # A mask is always given: from positions alone transformers would cut packed documents.
        mask = now.mask
        if held is not None and self.family.attention is not None:
            mask = torch.cat([held.mask, mask], 1)
        self._check_length(mask.shape[1])
        arguments: dict[str, Any] = {"attention_mask": mask.long(), "use_cache": keep}
        if batch.tokens is not None:
            arguments["input_ids"] = batch.tokens.long()
        else:
            assert batch.embeds is not None
            arguments["inputs_embeds"] = batch.embeds.to(self.dtype)
        if self.family.positioned:
            arguments["position_ids"] = now.positions.long() + self.family.first_position
        if held is not None:
            past = held.past if keep else copy.deepcopy(held.past)
            arguments |= {self.family.cache_argument: past, "use_cache": True}
        return arguments

    def _check_length(self, length: int) -> None:
        if "pos_embed" in self.family.parts and length > (self.max_positions or length):
            raise ModelError(
                f"{self.name} has positions for {self.max_positions} tokens; {length} were given."
            )

    def _check_resume(self, start: Site, value: Tensor, batch: Batch) -> None:
        if start.part not in ("resid_pre", "resid_post"):
            raise SiteError(
                f"A pass resumes from a resid_pre or a resid_post; '{start}' was asked for."
            )
        if batch.cache is not None and not isinstance(batch.cache.past, HeldCache):
            raise ModelError("A pass that continues a cache cannot resume inside the model.")
        if tuple(value.shape) != (*batch.shape, self.d_model):
            raise SiteError(
                f"'{start}' holds shape {(*batch.shape, self.d_model)} for this batch; "
                f"the value given has {tuple(value.shape)}."
            )

    @contextmanager
    def _skipping(self, n_layers: int) -> Iterator[None]:
        """Let the first layers pass the stream on untouched."""
        skipped = list(self._body.blocks[:n_layers])
        usual: list[Callable[..., Any] | None] = [b.__dict__.get("forward") for b in skipped]
        try:
            for block in skipped:
                block.forward = _pass_on
            yield
        finally:
            for block, forward in zip(skipped, usual, strict=True):
                if forward is None:
                    block.__dict__.pop("forward", None)
                else:
                    block.forward = forward


def _pass_on(hidden_states: Tensor, *_args: Any, **_options: Any) -> Tensor:
    return hidden_states


def _begins_context(tokenizer: PreTrainedTokenizerBase) -> int | None:
    for token_id in (tokenizer.bos_token_id, tokenizer.cls_token_id):
        if isinstance(token_id, int):
            return token_id
    return None


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens with a name (BOS, padding) and all others that were added as special."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(tokenizer.all_special_ids) | {i for i, token in added if token.special}
