"""Logits of a few words at a few positions, without those of all the vocabulary."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.errors import ModelError
from lmscope.models.language_model import LanguageModel


def word_logits(
    model: LanguageModel, final: Float[Tensor, "row model"], words: Sequence[int]
) -> Float[Tensor, "row word"]:
    """What the model's head says of some tokens, in float32.

    Only their columns of the unembedding are multiplied. An encoder's head has a layer of its own
    before it, which runs on these rows alone.

    Args:
        model: Whose head.
        final: Values of the site `final` at the positions that are asked of.
        words: Token ids.

    Raises:
        ModelError: The model has no language-model head.
    """
    if not model.has_logits:
        raise ModelError(
            f"{model.name} has no language-model head, so it has no scores of words: choose a model that has."
        )
    chosen = torch.tensor(list(words), device=final.device)
    if model.family.head is not None:
        head = model.hf.get_submodule(model.family.head)
        return head(final[:, None])[:, 0, chosen].float()
    weights = model.weights
    found = final @ weights.W_U.index_select(1, chosen)
    if weights.b_U is not None:
        found = found + weights.b_U[chosen]
    found = found.float()
    cap = weights.logit_softcap
    return found if cap is None else cap * torch.tanh(found / cap)
