"""What a change of latents does to the prediction of the next token: measured, and by weights alone."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from lmscope.core.errors import DataError, ModelError
from lmscope.core.site import Site
from lmscope.dictionaries.steering import Steering
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel

ADDED_PARTS: Final = (
    *("embed", "pos_embed", "resid_pre", "mixer_out", "attn_out"),
    *("resid_mid", "mlp_out", "resid_post"),
)
"""Parts whose value is a sum in the residual stream, or added to it as it is."""


@dataclass(frozen=True)
class TokenEffect:
    """One token of the vocabulary before and after.

    Attributes:
        token: Vocabulary id.
        clean: Its probability in the unedited run.
        edited: Its probability in the edited run.
        log_ratio: log(edited / clean), nats.
    """

    token: int
    clean: float
    edited: float
    log_ratio: float


@dataclass(frozen=True, eq=False)
class LogitEffect:
    """The prediction after one position, clean and edited.

    Attributes:
        position: The position whose next token is predicted.
        clean: Log-probabilities of the unedited run, nats.
        edited: Those of the edited run.
    """

    position: int
    clean: Float32[np.ndarray, "vocab"]
    edited: Float32[np.ndarray, "vocab"]

    @property
    def kl(self) -> float:
        """KL divergence from the clean prediction to the edited one, nats."""
        clean = self.clean.astype(np.float64)
        return float((np.exp(clean) * (clean - self.edited)).sum())

    def raised(self, n: int = 10, *, lowered: bool = False) -> tuple[TokenEffect, ...]:
        """Tokens whose probability rises (or falls) most, as a difference; ties to the lower id."""
        gain = np.exp(self.edited.astype(np.float64)) - np.exp(self.clean.astype(np.float64))
        order = np.argsort(gain if lowered else -gain, kind="stable")[:n]
        return tuple(self.of(int(token)) for token in order)

    def of(self, token: int) -> TokenEffect:
        """One token."""
        clean, edited = float(self.clean[token]), float(self.edited[token])
        return TokenEffect(token, float(np.exp(clean)), float(np.exp(edited)), edited - clean)


@torch.no_grad()
def logit_effect(
    model: LanguageModel, batch: Batch, steering: Steering, position: int = -1
) -> LogitEffect:
    """The exact effect on one prediction: a clean and an edited forward pass.

    Args:
        model: A model with a language-model head.
        batch: One row.
        steering: What changes.
        position: The position whose next token is predicted; negative ones count from the end.

    Raises:
        DataError: The batch has several rows, or no such position.
        ModelError: The model has no language-model head.
    """
    rows, length = batch.shape
    if rows != 1:
        raise DataError(
            f"The effect on logits is measured on one row at a time; {rows} were given."
        )
    if not -length <= position < length:
        raise DataError(f"There is no position {position}: the text has {length} tokens.")
    clean = model(batch).logits[0, position].float().log_softmax(-1)
    with model.edit(steering.edits(batch)):
        edited = model(batch).logits[0, position].float().log_softmax(-1)
    return LogitEffect(position % length, clean.cpu().numpy(), edited.cpu().numpy())


@torch.no_grad()
def direct_logits(
    model: LanguageModel,
    site: Site,
    rows: Float[Tensor, "change write"],
    final_residual: Float[Tensor, "model"],
) -> Float[Tensor, "change vocab"]:
    """What vectors at a site add to the logits on the direct path, `W_U d` through the frozen final norm.

    The norm divides by what it divides by at the given residual value, as if the vector were small;
    layers in between are left out, and so is a softcap of the logits.

    Args:
        model: Whose unembedding and final norm.
        site: Where the vectors are written.
        rows: The vectors, raw.
        final_residual: The residual stream before the final norm, at the position that predicts.

    Raises:
        ModelError: The site is not added to the residual stream, or the model has no such head.
    """
    if site.part not in ADDED_PARTS:
        raise ModelError(
            f"'{site}' is not added to the residual stream, so it has no direct path to the logits: "
            "measure the effect with an edited pass (logit_effect)."
        )
    norm = model.weights.norm("final")
    d, x = rows.float(), final_residual.float()
    if norm.style.kind == "layer":
        d, x = d - d.mean(-1, keepdim=True), x - x.mean()
    scale = torch.rsqrt(x.pow(2).mean() + norm.eps)
    return (d * scale * norm.gain.float()) @ model.weights.W_U.float()
