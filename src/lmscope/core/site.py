"""Site: one named place in a language model that methods read and write.

A site is written `part@layer` (`mlp_out@6`), `part` where there is one only (`embed`, `final`,
`logits`), `conv[2]@3` for one tap of a state-space convolution, `chat.resid_post@8` for one of
several models. `@*` selects every layer; patterns become sites with `expand`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import total_ordering
from typing import Final

from lmscope.core.errors import SiteError, did_you_mean

GLOBAL_PARTS: Final = ("embed", "pos_embed", "final", "logits")
LAYER_PARTS: Final = (
    "resid_pre",
    "attn_norm",
    "attn_in",
    "mixer_in",
    "q",
    "k",
    "v",
    "scores",
    "pattern",
    "z",
    "ssm_x",
    "conv",
    "ssm_delta",
    "ssm_a",
    "ssm_b",
    "ssm_c",
    "ssm_write",
    "ssm_state",
    "ssm_out",
    "ssm_gate",
    "mixer_out",
    "attn_out",
    "resid_mid",
    "mlp_norm",
    "mlp_in",
    "mlp_gate",
    "mlp_hidden",
    "mlp_out",
    "resid_post",
)
"""Parts in the order in which a forward pass computes them."""
ATTENTION_PARTS: Final = ("q", "k", "v", "scores", "pattern", "z")
PARTS: Final = ("embed", "pos_embed", *LAYER_PARTS, "final", "logits")
_ORDER: Final = {part: i for i, part in enumerate(PARTS)}

_SITE = re.compile(
    r"(?:(?P<model>[A-Za-z_][\w-]*)\.)?(?P<part>[a-z_]+)(?:\[(?P<lag>\d+)\])?(?:@(?P<layer>\d+|\*))?",
    re.ASCII,
)
_MODEL = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_LLAMA_SCOPE = re.compile(r"L(?P<layer>\d+)(?P<position>R|A|M|TC)", re.ASCII)
_LLAMA_SCOPE_PART = {"R": "resid_post", "A": "attn_out", "M": "mlp_out", "TC": "mlp_norm"}
_TRANSFORMER_LENS = re.compile(r"blocks\.(?P<layer>\d+)\.(?P<hook>[\w.]+)", re.ASCII)
_TRANSFORMER_LENS_PART = {
    "hook_resid_pre": "resid_pre",
    "ln1.hook_normalized": "attn_norm",
    "attn.hook_q": "q",
    "attn.hook_k": "k",
    "attn.hook_v": "v",
    "attn.hook_attn_scores": "scores",
    "attn.hook_pattern": "pattern",
    "attn.hook_z": "z",
    "hook_attn_out": "attn_out",
    "hook_resid_mid": "resid_mid",
    "ln2.hook_normalized": "mlp_norm",
    "mlp.hook_post": "mlp_hidden",
    "hook_mlp_out": "mlp_out",
    "hook_resid_post": "resid_post",
}
_TRANSFORMER_LENS_GLOBAL = {
    "hook_embed": "embed",
    "hook_pos_embed": "pos_embed",
    "ln_final.hook_normalized": "final",
}
_TO_TRANSFORMER_LENS = {part: hook for hook, part in _TRANSFORMER_LENS_PART.items()}
_TO_TRANSFORMER_LENS_GLOBAL = {part: hook for hook, part in _TRANSFORMER_LENS_GLOBAL.items()}


@total_ordering
@dataclass(frozen=True, slots=True)
class Site:
    """One named place in a language model; ordered as a forward pass computes it.

    Attributes:
        part: One of `PARTS`.
        layer: Zero-based layer; None for the parts that exist once.
        lag: Which tap of a `conv` part, 0 being the present position.
        model: Which of several models, by the name it has in the run; None for the only one.
    """

    part: str
    layer: int | None = None
    lag: int | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if self.part not in _ORDER:
            raise SiteError(
                f"No part of a model is called '{self.part}'.{did_you_mean(self.part, PARTS)}"
            )
        if self.part in GLOBAL_PARTS and self.layer is not None:
            raise SiteError(
                f"'{self.part}' exists once in a model: write '{self.part}', not '{self.part}@{self.layer}'."
            )
        if self.part in LAYER_PARTS and self.layer is None:
            raise SiteError(f"'{self.part}' needs a layer: write '{self.part}@0' or another layer.")
        if self.layer is not None and self.layer < 0:
            raise SiteError(f"Layers count from 0; '{self.part}@{self.layer}' was asked for.")
        if self.lag is not None and self.part != "conv":
            raise SiteError(f"Only 'conv' has lags; '{self.part}[{self.lag}]' was asked for.")
        if self.lag is not None and self.lag < 0:
            raise SiteError(f"Lags count back from 0; 'conv[{self.lag}]' was asked for.")
        if self.model is not None and not _MODEL.fullmatch(self.model):
            raise SiteError(
                f"'{self.model}' cannot name a model in a site: use letters, digits, _ and -, "
                "a letter first."
            )

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Read one site from `part@layer`, a Llama Scope or a TransformerLens name.

        Args:
            text: `resid_post@12`, `L12R`, `L12TC` (the site that the transcoder reads),
                `blocks.6.hook_mlp_out`.

        Raises:
            SiteError: The text is no site; the message names near matches.
        """
        sites = parse_pattern(text)
        if isinstance(sites, Site):
            return sites
        raise SiteError(
            f"'{text}' selects many sites where one is needed: give one layer, e.g. '{sites.part}@0'."
        )

    def __str__(self) -> str:
        lag = "" if self.lag is None else f"[{self.lag}]"
        layer = "" if self.layer is None else f"@{self.layer}"
        model = "" if self.model is None else f"{self.model}."
        return f"{model}{self.part}{lag}{layer}"

    @property
    def slug(self) -> str:
        """The site as a word for file names and URLs: `resid_post-12`, `conv.2-3`."""
        lag = "" if self.lag is None else f".{self.lag}"
        layer = "" if self.layer is None else f"-{self.layer}"
        model = "" if self.model is None else f"{self.model}."
        return f"{model}{self.part}{lag}{layer}"

    @property
    def transformer_lens(self) -> str | None:
        """The TransformerLens name, `blocks.6.hook_mlp_out`; None where it has none."""
        if hook := _TO_TRANSFORMER_LENS.get(self.part):
            return f"blocks.{self.layer}.{hook}"
        return _TO_TRANSFORMER_LENS_GLOBAL.get(self.part)

    @property
    def depth(self) -> tuple[int, int, int]:
        """Where in a forward pass the site is computed; a smaller depth comes first."""
        phase = (
            0
            if self.part in ("embed", "pos_embed")
            else 2
            if self.part in ("final", "logits")
            else 1
        )
        return (phase, self.layer or 0, _ORDER[self.part])

    def of(self, model: str | None) -> "Site":
        """The same place in another model (None: the only model)."""
        return replace(self, model=model)

    def __lt__(self, other: "Site") -> bool:
        if not isinstance(other, Site):
            return NotImplemented
        return self._key < other._key

    @property
    def _key(self) -> tuple[str, tuple[int, int, int], int]:
        return (self.model or "", self.depth, -1 if self.lag is None else self.lag)


@dataclass(frozen=True, slots=True)
class SitePattern:
    """A part at every layer: `mlp_out@*`; `conv@*` is every lag too, `conv[2]@*` one lag."""

    part: str
    lag: int | None = None
    model: str | None = None

    def __str__(self) -> str:
        lag = "" if self.lag is None else f"[{self.lag}]"
        return f"{'' if self.model is None else self.model + '.'}{self.part}{lag}@*"

    def selects(self, site: Site) -> bool:
        """Whether the pattern stands for this site, among others."""
        same_lag = self.lag is None or self.lag == site.lag
        return (site.part, site.model) == (self.part, self.model) and same_lag


def parse_pattern(text: str) -> Site | SitePattern:
    """Read a site or a pattern over layers.

    Raises:
        SiteError: The text is neither.
    """
    text = text.strip()
    if foreign := _parse_foreign(text):
        return foreign
    match = _SITE.fullmatch(text)
    if match is None:
        raise SiteError(
            f"'{text}' is not a site: write part@layer, e.g. 'resid_post@12' or 'mlp_out@*'."
        )
    part, layer, lag, model = match["part"], match["layer"], match["lag"], match["model"]
    n_lag = None if lag is None else int(lag)
    if layer == "*":
        Site(part, 0, n_lag, model)  # the part must exist, and exist in layers
        return SitePattern(part, n_lag, model)
    return Site(part, None if layer is None else int(layer), n_lag, model)


def _parse_foreign(text: str) -> Site | None:
    if match := _LLAMA_SCOPE.fullmatch(text):
        return Site(_LLAMA_SCOPE_PART[match["position"]], int(match["layer"]))
    if text in _TRANSFORMER_LENS_GLOBAL:
        return Site(_TRANSFORMER_LENS_GLOBAL[text])
    if match := _TRANSFORMER_LENS.fullmatch(text):
        if match["hook"] not in _TRANSFORMER_LENS_PART:
            known = did_you_mean(match["hook"], _TRANSFORMER_LENS_PART)
            raise SiteError(f"The TransformerLens name '{text}' has no site here.{known}")
        return Site(_TRANSFORMER_LENS_PART[match["hook"]], int(match["layer"]))
    return None


def expand(patterns: Sequence[str | Site], available: Iterable[Site]) -> tuple[Site, ...]:
    """The sites that the patterns select among those available, in forward order, once each.

    Args:
        patterns: Sites or texts, `@*` allowed.
        available: What the model has.

    Raises:
        SiteError: A pattern selects nothing, or a site is not there.
    """
    known = set(available)
    chosen: set[Site] = set()
    for pattern in patterns:
        item = parse_pattern(pattern) if isinstance(pattern, str) else pattern
        if isinstance(item, Site):
            hits = {item} & known
        else:
            hits = {site for site in known if item.selects(site)}
        if not hits:
            names = [str(s) for s in sorted(known)]
            raise SiteError(f"This model has no site '{item}'.{did_you_mean(str(item), names)}")
        chosen |= hits
    return tuple(sorted(chosen))
