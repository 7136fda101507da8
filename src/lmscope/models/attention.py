"""Attention in the open: one function, known to transformers by name, that shows its insides.

It computes what the eager functions of all families compute: grouped heads, softcapped scores,
sliding windows (through the mask), a softmax in float32. It runs only while someone reads or
edits an attention-internal part; otherwise the model keeps its own, faster implementation.
"""

from collections.abc import Callable, Mapping
from functools import partial
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from lmscope.core.errors import ModelError

NAME = "lmscope"
"""What the function is called among transformers' attention implementations."""

Watch = Callable[[Tensor], Tensor]
"""Sees one part of the attention and gives what to go on with."""

_WATCHES: "WeakKeyDictionary[nn.Module, dict[str, Watch]]" = WeakKeyDictionary()


def open_attention(
    module: nn.Module,
    query: Float[Tensor, "batch head query head_dim"],
    key: Float[Tensor, "batch kv_head key head_dim"],
    value: Float[Tensor, "batch kv_head key head_dim"],
    attention_mask: Float[Tensor, "batch #head query key"] | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: object,
) -> tuple[Float[Tensor, "batch query head head_dim"], Float[Tensor, "batch head query key"]]:
    """Scaled dot-product attention whose every part can be watched.

    Parts, in order: `q`, `k`, `v` (as attended with: after rotation and head norms, with
    everything a cache holds), `scores` (scaled and softcapped, before the mask), `pattern`
    (after the softmax), `z` (what each head passes on, before the output matrix).

    Raises:
        ModelError: The model gives the softmax an attention sink, which this function has not.
    """
    if options.get("s_aux") is not None:
        raise ModelError("Attention sinks cannot be opened: read sites outside attention instead.")
    parts = _WATCHES.get(module, {})
    query = _see(parts, "q", query.transpose(1, 2)).transpose(1, 2)
    key = _see(parts, "k", key.transpose(1, 2)).transpose(1, 2)
    value = _see(parts, "v", value.transpose(1, 2)).transpose(1, 2)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ _share(key, query.shape[1]).transpose(-1, -2) * scale
    if isinstance(cap := options.get("softcap"), float | int):
        scores = torch.tanh(scores / cap) * cap
    scores = _see(parts, "scores", scores)
    masked = scores if attention_mask is None else scores + attention_mask
    pattern = _see(parts, "pattern", masked.softmax(-1, dtype=torch.float32).to(query.dtype))
    mixed = nn.functional.dropout(pattern, dropout, module.training)
    z = (mixed @ _share(value, query.shape[1])).transpose(1, 2).contiguous()
    return _see(parts, "z", z), pattern


def watch(module: nn.Module, part: str, seen: Watch) -> Callable[[], object]:
    """Let `seen` stand at one part of an attention module; the result takes it away again."""
    parts = _WATCHES.setdefault(module, {})
    parts[part] = seen
    return partial(parts.pop, part)


class AttentionSwitch:
    """Turns a model to the open attention while anyone needs it, and back after the last."""

    def __init__(self, hf: PreTrainedModel) -> None:
        self._hf = hf
        self._users = 0
        self._usual = ""

    def take(self) -> Callable[[], None]:
        """Use the open attention until the result is called."""
        if self._users == 0:
            self._usual = self._hf.config._attn_implementation or "eager"
            self._hf.set_attn_implementation(NAME)
        self._users += 1
        return self._release

    def _release(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._hf.set_attn_implementation(self._usual)


def _see(parts: Mapping[str, Watch], part: str, value: Tensor) -> Tensor:
    return parts[part](value) if part in parts else value


def _share(
    x: Float[Tensor, "batch kv_head key head_dim"], n_heads: int
) -> Float[Tensor, "batch head key head_dim"]:
    """Each key or value head once for every query head that uses it."""
    return x if x.shape[1] == n_heads else x.repeat_interleave(n_heads // x.shape[1], 1)


AttentionInterface.register(NAME, open_attention)
AttentionMaskInterface.register(NAME, eager_mask)
