"""Replacement: a language model with dictionaries at some of its sites (ge2024circuits; he2024othello)."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import torch

from lmscope.circuits.config import ReplacementOptions
from lmscope.core.errors import ArtifactError, ModelError, SiteError
from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel

READS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "attn_out": ("attn_out",),
        "mlp_out": ("mlp_out", "mlp_norm", "mlp_in", "resid_mid"),
        "resid_pre": ("resid_pre",),
        "resid_mid": ("resid_mid",),
        "resid_post": ("resid_post",),
    }
)
"""By written part, what a dictionary may read; both of the same layer."""
_LINEAR: Final = ("sequential", "parallel")
_DEFAULTS: Final = ReplacementOptions()
DTYPES: Final = MappingProxyType({"float32": torch.float32, "float64": torch.float64})


class Replacement:
    """A model with dictionaries at any mix of sites, ready to be frozen on prompts.

    What no dictionary covers stays whole: embeddings, attention (whose patterns are frozen, so that it
    is linear), and feed-forward layers as `options.mlp` says.

    Args:
        model: A causal model with attention.
        dictionaries: SAEs of attention outputs, feed-forward outputs or the stream, and transcoders of
            feed-forward layers, at most one for each written site.
        options: How what is not covered becomes linear, and in what numbers.
        exclusion: Positions at which dictionaries do not stand: by default the first and special ones.

    Raises:
        ModelError: The model is an encoder, has no attention, or no language-model head, or a dictionary is
            of a model of another width.
        SiteError: A dictionary stands where none can.
        ArtifactError: Two dictionaries write the same site.

    Attributes:
        dictionaries: By the site that they write, in forward order.
    """

    def __init__(
        self,
        model: LanguageModel,
        dictionaries: Iterable[Dictionary] = (),
        options: ReplacementOptions = _DEFAULTS,
        *,
        exclusion: Exclusion | None = None,
    ) -> None:
        _check_model(model)
        self.model = model
        self.options = options
        self.exclusion = Exclusion() if exclusion is None else exclusion
        self.dtype = DTYPES[options.dtype]
        found: dict[Site, Dictionary] = {}
        for dictionary in dictionaries:
            _check_place(model, dictionary)
            check_fits(model, dictionary)
            site = dictionary.config.write_site
            if site in found:
                raise ArtifactError(f"Two dictionaries write '{site}': give one for each site.")
            found[site] = Dictionary.from_tensors(
                dictionary.config,
                {
                    name: t.to(model.device, self.dtype)
                    for name, t in dictionary.state_dict().items()
                },
            ).to(model.device)
        self.dictionaries: Mapping[Site, Dictionary] = MappingProxyType(dict(sorted(found.items())))

    def missing(self) -> tuple[Site, ...]:
        """Outputs of attention and feed-forward layers that no dictionary covers."""
        outputs = self.model.resolve(["attn_out@*", "mlp_out@*"])
        return tuple(site for site in outputs if site not in self.dictionaries)

    def __repr__(self) -> str:
        covered = ", ".join(map(str, self.dictionaries)) or "none"
        return f"Replacement({self.model.name}, dictionaries at {covered})"


def _check_model(model: LanguageModel) -> None:
    if not model.is_causal:
        raise ModelError(
            f"{model.name} is an encoder, in which each position sees all others: circuits are traced in "
            "causal models."
        )
    if model.family.attention is None or model.family.arrangement not in _LINEAR:
        raise ModelError(
            f"{model.name} ({model.family.name}) has blocks that circuits do not cover: take a model with "
            "attention and feed-forward layers whose norms stand inside the branches."
        )
    if not model.has_logits:
        raise ModelError(
            f"{model.name} has no language-model head, so there is nothing to trace from."
        )


def _check_place(model: LanguageModel, dictionary: Dictionary) -> None:
    reads, writes = dictionary.config.read_site, dictionary.config.write_site
    allowed = READS.get(writes.part, ())
    if reads.part not in allowed or reads.layer != writes.layer:
        hint = (
            f"one that writes '{writes.part}' reads {' or '.join(allowed)} of the same layer"
            if allowed
            else f"they write {', '.join(READS)}"
        )
        raise SiteError(
            f"A dictionary that reads '{reads}' and writes '{writes}' has no place in a circuit: {hint}."
        )
    model.resolve([reads, writes])
