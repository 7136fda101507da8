"""How well a model predicts its text: cross-entropy, and how far its predictions moved."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from lmscope.core.errors import ModelError
from lmscope.core.rng import numpy_generator
from lmscope.core.site import Site
from lmscope.evaluation.rows import TextRows, next_token_counts
from lmscope.models.batch import Batch
from lmscope.models.edit import Edits
from lmscope.models.language_model import LanguageModel

CHUNK = 256
"""Positions whose scores of the whole vocabulary are held in float32 at once."""


class Question(NamedTuple):
    """A batch of text with what the model is asked to predict.

    Attributes:
        batch: What the model reads; some tokens are masked for a masked language model.
        targets: The right token at each position.
        counted: Where the prediction is scored.
    """

    batch: Batch
    targets: Int[Tensor, "batch pos"]
    counted: Bool[Tensor, "batch pos"]


class Losses(NamedTuple):
    """One arm's losses at the counted positions, in the order of `counted.nonzero()`.

    Attributes:
        ce: Cross-entropy of the right token, nats.
        kl: KL divergence from the clean model's prediction to this one's, nats.
    """

    ce: Float64[Tensor, "token"]
    kl: Float64[Tensor, "token"]


def check_scorable(model: LanguageModel) -> None:
    """Refuse a model that predicts no tokens.

    Raises:
        ModelError: It has no logits, or is a masked language model without a mask token.
    """
    if not model.has_logits:
        raise ModelError(
            f"'{model.name}' has no language-model head, so its cross-entropy cannot be measured: "
            "use a model with one, or leave the loss out."
        )
    if not model.is_causal and mask_token(model) is None:
        raise ModelError(
            f"The tokenizer of '{model.name}' has no mask token, so no masked prediction can be "
            "scored: use the tokenizer that the model was trained with, or leave the loss out."
        )


def mask_token(model: LanguageModel) -> int | None:
    """The id that stands for a token to be guessed."""
    return getattr(model.tokenizer, "mask_token_id", None)


def ask(
    model: LanguageModel,
    rows: TextRows,
    keep: Bool[Tensor, "batch pos"],
    mask_fraction: float,
    seed: int,
) -> Question:
    """What the model shall predict: the next token, or for a masked model tokens that are hidden.

    Which tokens are hidden depends on the seed and the context's index alone, so that every arm
    and every batch size sees the same.

    Args:
        model: Causal or masked.
        rows: The text.
        keep: Where an input token may count.
        mask_fraction: Share of kept tokens to hide; for masked models only.
        seed: Of the hidden tokens.
    """
    tokens = rows.tokens
    if model.is_causal:
        counted = next_token_counts(rows, keep, model.special_ids)
        return Question(rows.batch, tokens.roll(-1, dims=1), counted)
    draws = [
        torch.from_numpy(numpy_generator(seed, "hidden tokens", row).random(tokens.shape[1]))
        for row in rows.batch.row_ids().tolist()
    ]
    hidden = keep & (torch.stack(draws).to(keep.device) < mask_fraction)
    mask_id = mask_token(model)
    assert mask_id is not None  # check_scorable refuses such a model
    masked = tokens.masked_fill(hidden, mask_id)
    return Question(replace(rows.batch, tokens=masked), tokens, hidden)


def resume_site(model: LanguageModel, edited: Iterable[str | Site]) -> Site | None:
    """The deepest residual site that no edit lies below; None when nothing is saved by it.

    Layers below the first edit compute the same in every arm; they need to run only once.
    """
    sites = model.resolve([*edited]) if (edited := [*edited]) else ()
    if not sites or sites[0].depth[0] == 0:
        return None
    first = sites[0]
    if first.part == "resid_post":
        return first
    layer = model.n_layers - 1 if first.layer is None else first.layer
    start = Site("resid_pre", layer)
    return start if layer and start in model.sites() else None


class CleanPass:
    """The unedited run over one batch, from which each arm departs.

    Args:
        model: The model.
        question: Text and targets.
        start: A residual site to resume every run from, with its clean value; None runs the
            whole model each time.
    """

    def __init__(
        self, model: LanguageModel, question: Question, start: tuple[Site, Tensor] | None
    ) -> None:
        self._model = model
        self._question = question
        self._start = start
        self._places = question.counted.flatten().nonzero().squeeze(-1)
        self._targets = question.targets.flatten()[self._places]
        self._logits = self._scores({})
        self.ce: Float64[Tensor, "token"] = self._compare(self._logits).ce

    @torch.no_grad()
    def losses(self, edits: Edits) -> Losses:
        """Run with edits in place and compare."""
        return self._compare(self._scores(edits))

    def _scores(self, edits: Edits) -> Float[Tensor, "batch_pos vocab"]:
        with torch.no_grad(), self._model.edit(edits):
            if self._start is None:
                output = self._model(self._question.batch)
            else:
                output = self._model.resume(*self._start, self._question.batch)
        return output.logits.flatten(0, 1)

    def _compare(self, logits: Float[Tensor, "batch_pos vocab"]) -> Losses:
        ce, kl = [], []
        for places, targets in zip(
            self._places.split(CHUNK), self._targets.split(CHUNK), strict=True
        ):
            log_q = logits[places].float().log_softmax(-1)
            log_p = self._logits[places].float().log_softmax(-1)
            ce.append(-log_q.gather(-1, targets[:, None].long()).squeeze(-1).double())
            kl.append((log_p.exp() * (log_p - log_q)).sum(-1).double())
        return Losses(torch.cat(ce), torch.cat(kl))
