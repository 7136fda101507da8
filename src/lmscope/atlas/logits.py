"""Logit effects: which tokens a latent makes more and less probable by what it adds to the stream."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from lmscope.atlas.ranked import Keys, Ranked, RowsOf, extreme_products
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.models.weights_view import NormWeights

_STREAM: Final = (
    "embed",
    "pos_embed",
    "resid_pre",
    "resid_mid",
    "resid_post",
    "attn_out",
    "mlp_out",
    "mixer_out",
)
"""Parts that are the residual stream or are added to it as they are."""


@dataclass(frozen=True)
class LogitEffects:
    """For each latent of a range the tokens whose logits it changes most, by one unit of activation.

    Attributes:
        top: Tokens whose logit it raises most, largest effect first.
        bottom: Tokens whose logit it lowers most, lowest effect first.
    """

    top: Ranked
    bottom: Ranked


def has_logit_effects(model: LanguageModel, dictionary: Dictionary) -> bool:
    """Whether `logit_effects` has anything to say of what the dictionary writes."""
    return model.has_logits and dictionary.config.write_site.part in (*_STREAM, "final")


@torch.no_grad()
def final_scale(model: LanguageModel, batches: Iterable[Batch], exclusion: Exclusion) -> float:
    """What the final norm multiplies the stream with, 1 / its size, as the mean over positions that count.

    Differs: a single position's scale is often used, or none at all; with the mean, `logit_effects`
    gives the mean effect over the text, in logits.

    Args:
        model: Its last `resid_post` is read. 1 for a model without a final norm.
        batches: Text; some thousand tokens are enough.
        exclusion: Which positions count, by their tokens.

    Raises:
        DataError: Not one position counts.
    """
    norm = _final_norm(model)
    if norm is None:
        return 1.0
    site = Site("resid_post", model.n_layers - 1)
    total, n = 0.0, 0
    for batch in batches:
        x = model.read(batch, [site])[site].double()
        if norm.style.kind == "layer":
            x = x - x.mean(-1, keepdim=True)
        scale = torch.rsqrt(x.pow(2).mean(-1) + norm.eps)
        assert batch.tokens is not None, "text is read, not rows that stand in for it"
        keep = exclusion.keep_tokens(batch.tokens, batch.text_mask(), model.special_ids)
        total += float(scale[keep].sum())
        n += int(keep.sum())
    if n == 0:
        raise DataError(
            "The final norm cannot be measured: not one position counts; give other text."
        )
    return total / n


def logit_effects(
    model: LanguageModel,
    dictionary: Dictionary,
    scale: float,
    count: int,
    latents: range | None = None,
) -> LogitEffects:
    """The mean effect of one unit of each latent on the logits, directly, with the final norm frozen.

    The logits change by `W_U (gain * d) * scale` where d is the latent's decoder row, less its mean where
    the norm takes the mean away. What later layers make of the change is left out, and so is a softcap. An
    attention-internal site or one that a norm or a matrix stands behind has no such effect: nobody is listed.

    Differs: an encoder's head transforms the stream before the unembedding; that is left out too.

    Args:
        model: Whose head turns the stream into logits.
        dictionary: Whose decoder rows are written.
        scale: Of the final norm, from `final_scale`.
        count: Tokens to keep on each side; ties to the smaller id.
        latents: Which latents are asked for; all when None.
    """
    asked = range(dictionary.config.n_latents) if latents is None else latents
    if not has_logit_effects(model, dictionary):
        return LogitEffects(Ranked.nothing(asked), Ranked.nothing(asked))
    unembedding = model.weights.W_U.T

    def coarse(start: int, stop: int) -> Float[Tensor, "key model"]:
        return unembedding[start:stop].float()

    def exact(tokens: Int64[np.ndarray, "row"]) -> Float64[np.ndarray, "row model"]:
        return np.ascontiguousarray(unembedding[tokens.tolist()].double().cpu().numpy())

    steps = range(0, len(unembedding), 8192)
    norm = max(float(coarse(i, i + 8192).norm(dim=1).max()) for i in steps)
    keys = Keys(len(unembedding), coarse, exact, norm, absent=np.zeros(0, dtype=np.int64))
    queries = _directions(model, dictionary, scale)
    found = extreme_products(queries, asked, keys, count, smallest=True)
    assert found.smallest is not None
    return LogitEffects(found.largest, found.smallest)


def _directions(model: LanguageModel, dictionary: Dictionary, scale: float) -> RowsOf:
    """What the unembedding sees of one unit of a latent."""
    weights, write_site = dictionary.weights, dictionary.config.write_site
    unit = 1.0 / float(weights.scale_out)
    norm = None if write_site.part == "final" else _final_norm(model)
    gain = None if norm is None else norm.gain.double().cpu().numpy()

    def rows(latents: Int64[np.ndarray, "row"]) -> Float64[np.ndarray, "row model"]:
        found = weights.W_dec[latents.tolist()].double().cpu().numpy()
        found = np.ascontiguousarray(found) * unit
        if norm is None or gain is None:
            return found
        if norm.style.kind == "layer":
            found = found - found.mean(axis=1, keepdims=True)
        return found * gain * scale

    return rows


def _final_norm(model: LanguageModel) -> NormWeights | None:
    """None in families that normalise after each sum: their last stream is `final` itself."""
    return model.weights.norm("final") if "final" in model.family.norms else None
