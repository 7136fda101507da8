"""Family: what lmscope knows of one architecture: a table, not a class of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from transformers import PretrainedConfig

from lmscope.core.site import ATTENTION_PARTS, GLOBAL_PARTS, LAYER_PARTS, Site
from lmscope.models.layouts import AttentionLayout, MlpLayout
from lmscope.models.norms import NormStyle
from lmscope.models.taps import AttentionPart, Out, Tap

Arrangement = Literal["sequential", "parallel", "post_norm", "mixer"]
"""How a block adds to the stream.

| arrangement | resid_mid | resid_post |
|---|---|---|
| sequential | resid_pre + attn_out | resid_mid + mlp_out |
| parallel | none | resid_pre + attn_out + mlp_out |
| post_norm | norm(resid_pre + attn_out) | norm(resid_mid + mlp_out) |
| mixer | none | resid_pre + mixer_out |
"""

STATE_SPACE_PARTS = tuple(p for p in LAYER_PARTS if p == "conv" or p.startswith("ssm_"))
_NO_STATE = "it has no state-space layers"
_LOGITS = Out(field="logits")
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Family:
    """One architecture: where its parts and weights are.

    Attributes:
        name: What the family is called here.
        model_types: Hugging Face model types that it covers.
        blocks: Path of the list of layers, below the base model.
        arrangement: How a block adds to the stream.
        norm: How it normalises.
        parts: The tap of each part; layer parts are looked for in the block, the others in the
            base model. `logits` needs none: it is what the model returns.
        norms: Where the norms lie: `attn_norm`, `mlp_norm` and `final` are read through them;
            `attn_out`, `mlp_out` name norms that an output passes before it is added, and
            `resid_mid`, `resid_post`, `embed` norms that the sum passes.
        absent: Why some parts do not exist, as the end of a sentence.
        mlp: Its feed-forward layer.
        attention: Its attention.
        causal: Whether a position sees only what stands before it.
        positioned: Whether it takes position ids.
        first_position: The id of position 0.
        cache_argument: What the Hugging Face model calls its cache.
        head: Path, below the Hugging Face model, of a head that does more than unembed `final`.
        tiny: Sizes of its miniature, in the words of its configuration.
        adapt: What a configuration changes in this table.
    """

    name: str
    model_types: tuple[str, ...]
    blocks: str
    arrangement: Arrangement
    norm: NormStyle
    parts: Mapping[str, Tap]
    norms: Mapping[str, str]
    absent: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    mlp: MlpLayout | None = None
    attention: AttentionLayout | None = None
    causal: bool = True
    positioned: bool = True
    first_position: int = 0
    cache_argument: str = "past_key_values"
    head: str | None = None
    tiny: Mapping[str, Any] = field(default_factory=dict)
    adapt: Callable[["Family", PretrainedConfig], "Family"] = lambda family, _config: family

    def tap(self, site: Site) -> Tap:
        """The tap that gives a site."""
        return _LOGITS if site.part == "logits" else self.parts[site.part]

    def sites(self, n_layers: int, *, logits: bool) -> tuple[Site, ...]:
        """Every site of a model with so many layers, in forward order."""
        found = [Site(part) for part in self.parts if part in GLOBAL_PARTS]
        found += [Site("logits")] if logits else []
        for part in self.parts:
            if part not in GLOBAL_PARTS:
                found += [Site(part, layer) for layer in range(n_layers)]
        return tuple(sorted(found))

    def why_absent(self, part: str) -> str | None:
        """Why the family has not got a part; None when there is nothing to say."""
        if part in self.parts:
            return None
        return self.absent.get(part, _NO_STATE if part in STATE_SPACE_PARTS else None)


def attention_parts(path: str) -> dict[str, Tap]:
    """The taps of the attention-internal parts of the attention module at `path`."""
    return {part: AttentionPart(path, part) for part in ATTENTION_PARTS}
